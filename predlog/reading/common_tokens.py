"""Which tokens of one sample two runs have in common: all of them, if both runs kept all, or else those shown."""

from operator import attrgetter

from predlog.records.schema import AllTokens, Comparison, Token

TokenPair = tuple[Token, Token]
_position = attrgetter("position")


def have_all(a: Comparison, b: Comparison) -> bool:
    """Return whether both runs kept all tokens of a sample, or the first of them."""
    return a.all_tokens is not None and b.all_tokens is not None


def at_same_positions(a: Comparison, b: Comparison) -> list[TokenPair]:
    """Return the tokens that both have, by their positions in the labels.

    A token of `all_tokens` has no input and no probability of its prediction, unless it is also shown. Its texts are
    those that the same ids have among the tokens shown.
    """
    if a.all_tokens is not None and b.all_tokens is not None:
        ones, others = _every(a, a.all_tokens), _every(b, b.all_tokens)
        return [(ones[position], others[position]) for position in sorted(ones.keys() & others.keys())]
    if [*map(_position, a.tokens)] == [*map(_position, b.tokens)]:
        return list(zip(a.tokens, b.tokens, strict=True))
    shown = {token.position: token for token in b.tokens}
    return [(token, shown[token.position]) for token in a.tokens if token.position in shown]


def _every(one: Comparison, columns: AllTokens) -> dict[int, Token]:
    shown = (*one.tokens, *one.worst)
    texts = {token.prediction: token.prediction_text for token in shown}
    texts |= {token.label: token.label_text for token in shown}
    rows = zip(
        columns.positions, columns.labels, columns.predictions, columns.label_logprobs, columns.label_ranks, strict=True
    )
    made = {
        position: Token(
            slot=None, position=position, label=label, prediction=prediction, match=label == prediction,
            label_logprob=logprob, prediction_logprob=None, label_rank=rank, input=None, input_text=None,
            label_text=texts.get(label), prediction_text=texts.get(prediction),
        )
        for position, label, prediction, logprob, rank in rows
    }  # fmt: skip
    return made | {token.position: token for token in one.tokens}
