"""Comparisons as the console's compact form has them, in cells: for trackers whose tables show text."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from predlog.records import html
from predlog.records.schema import Comparison, Token
from predlog.records.text import harmless, nats, probability
from predlog.records.token_text import UNKNOWN, token_cell

_MARK, _ARROW = "✓", "→"
# Between a line, or `…`, and the cell that it is at the left of: a blank at which no line is broken.
_BLANK: Final = "\N{NO-BREAK SPACE}"


class Sample(NamedTuple):
    """A sample: its step and stream, its figures, and rows whose first cell is their name, the others one token each.

    Without codebooks the rows are label, pred and p; else there is one per codebook, named with its loss and accuracy.
    """

    place: str
    figures: str
    rows: Sequence[Sequence[str]]


def samples(comparisons: Sequence[Comparison], errors: Sequence[str]) -> Iterator[Sample]:
    """Yield the samples of one step and stream; `errors` are the stream's open errors, which each heading names."""
    for sample, group in groupby(comparisons, lambda one: (one.rank, one.sample, one.codebook is None)):
        ones = list(group)
        if sample[-1]:
            for one in ones:
                yield _sample(one, html.figures(one), [*_rows(one)], errors)
        else:
            yield _sample(ones[0], [html.partial(ones[0]), html.CODEBOOKS], [*map(_of_codebook, ones)], errors)


def _sample(one: Comparison, figures: Sequence[str], rows: Sequence[Sequence[str]], errors: Sequence[str]) -> Sample:
    step, stream, *parts = map(harmless, html.heading([*html.where(one), *figures], errors))
    return Sample(f"{step} · {stream}", " · ".join(parts), rows)


def _rows(one: Comparison) -> Iterator[list[str]]:
    """Yield the three rows; a line or `…` is at the left of the cell where it is on the console."""
    tokens, edges = html.shown(one.tokens)
    left = [f"{edges[place]}{_BLANK}" if place in edges else "" for place in range(len(tokens))]
    if tokens:
        yield ["label", *(f"{edge}{_label(token)}" for edge, token in zip(left, tokens, strict=True))]
        yield ["pred", *(f"{edge}{_predicted(token)}" for edge, token in zip(left, tokens, strict=True))]
        yield ["p", *(f"{edge}{probability(token.label_logprob)}" for edge, token in zip(left, tokens, strict=True))]


def _of_codebook(one: Comparison) -> list[str]:
    tokens, edges = html.shown(one.tokens)
    loss = "" if one.loss is None else f" · loss {nats(one.loss)}"
    correct = html.correct(one).removesuffix(" correct").removesuffix(" shown") or UNKNOWN
    cells = [_MARK + _label(one) if one.match else f"{_label(one)}{_ARROW}{_predicted(one)}" for one in tokens]
    marked = [f"{edges[place]}{_BLANK}{cell}" if place in edges else cell for place, cell in enumerate(cells)]
    return [f"codebook {one.codebook}{loss} · {correct} of {one.supervised}", *marked]


def _label(token: Token) -> str:
    return token_cell(token.label_text, token.label)


def _predicted(token: Token) -> str:
    if token.match:
        return _MARK
    if token.match is None:
        return UNKNOWN
    return token_cell(token.prediction_text if token.prediction is not None else None, token.prediction)
