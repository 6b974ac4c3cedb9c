"""Two comparisons of the same sample at the same step → in what they differ."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from predlog.records.schema import Comparison, Token

Kind = Literal["labels", "inputs", "predictions", "logprobs", "ranks", "records", "steps"]
# In the order in which one follows from the other.
KINDS: Final[tuple[Kind, ...]] = ("labels", "inputs", "predictions", "logprobs", "ranks", "records", "steps")
# Log-probabilities are written with six decimals: what is the same may differ by one in the last.
ROUNDING: Final = 1.5e-6
TokenPair = tuple[Token, Token]


class Contrast(NamedTuple):
    """One kind of difference, and the first tokens that show it; None where none of those shown does."""

    kind: Kind
    tokens: TokenPair | None


def at_same_positions(a: Comparison, b: Comparison) -> list[TokenPair]:
    """Give the tokens that both show, by their positions in the labels."""
    if len(a.tokens) == len(b.tokens) and all(map(_same_position, a.tokens, b.tokens)):
        return list(zip(a.tokens, b.tokens, strict=True))
    others = {token.position: token for token in b.tokens}
    return [(token, others[token.position]) for token in a.tokens if token.position in others]


def contrasts(a: Comparison, b: Comparison, pairs: list[TokenPair]) -> Iterator[Contrast]:
    """Yield each kind of difference once, given the tokens at the same positions.

    What the settings show of a sample is no difference: other numbers of tokens, uncounted accuracy, texts, inputs that
    were not handed over. Where labels differ, what is predicted there says nothing, and is left out.
    """
    others = next((pair for pair in pairs if pair[0].label != pair[1].label), None)
    is_other_data = others is not None or (a.length, a.supervised) != (b.length, b.supervised)
    if is_other_data:
        yield Contrast("labels", others)
    same = [pair for pair in pairs if pair[0].label == pair[1].label]
    for kind, differ in _TELLS.items():
        tokens = next((pair for pair in same if differ(*pair)), None)
        if tokens is not None or (kind == "predictions" and not is_other_data and _count_differently(a, b)):
            yield Contrast(kind, tokens)


def _other_input(a: Token, b: Token) -> bool:
    return None not in {a.input, b.input} and a.input != b.input


def _other_prediction(a: Token, b: Token) -> bool:
    return a.prediction != b.prediction


def _other_logprob(a: Token, b: Token) -> bool:
    one, other = a.label_logprob, b.label_logprob
    return one is not other if one is None or other is None else abs(one - other) > ROUNDING


def _other_rank(a: Token, b: Token) -> bool:
    return a.label_rank != b.label_rank


def _count_differently(a: Comparison, b: Comparison) -> bool:
    """Say whether predictions differ among the supervised positions that are not shown."""
    return None not in {a.matched, b.matched} and a.matched != b.matched


def _same_position(a: Token, b: Token) -> bool:
    return a.position == b.position


_TELLS: Final[dict[Kind, Callable[[Token, Token], bool]]] = {
    "inputs": _other_input,
    "predictions": _other_prediction,
    "logprobs": _other_logprob,
    "ranks": _other_rank,
}


@dataclass(slots=True)
class Misses:
    """How often only one run had a label right, and the first such place: its step and what the other predicted."""

    label: int
    text: str | None
    count: int
    step: int
    other: Token


@dataclass(slots=True)
class Score:
    """How many tokens both runs, one alone or neither predicted right, and, by their labels, what one alone did."""

    both: int = 0
    only_a: int = 0
    only_b: int = 0
    neither: int = 0
    labels_a: dict[int, Misses] = field(default_factory=dict)
    labels_b: dict[int, Misses] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """How many tokens were held against each other."""
        return self.both + self.only_a + self.only_b + self.neither

    def add(self, a: Token, b: Token, step: int) -> None:
        """Take in what both predicted for the same label at the same place."""
        if a.match and b.match:
            self.both += 1
        elif a.match:
            self.only_a += 1
            _note(self.labels_a, a, b, step)
        elif b.match:
            self.only_b += 1
            _note(self.labels_b, b, a, step)
        else:
            self.neither += 1


def _note(misses: dict[int, Misses], right: Token, wrong: Token, step: int) -> None:
    known = misses.get(right.label)
    if known is None:
        misses[right.label] = Misses(right.label, right.label_text, 1, step, wrong)
    else:
        known.count += 1
        if known.text is None:
            known.text = right.label_text
