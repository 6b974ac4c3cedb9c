"""Which part of a pair is shown, and the rows of a sample that this makes."""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a pair is shown, and whether all rows of the samples shown are scored.

    `samples` are how many of a batch, or their places in it, and `follow` the ids of those that come before them.
    `worst` is how many tokens of the largest loss are shown, `alternatives` how many predictions of each token. Of
    `all_tokens` supervised tokens the labels, predictions and ranks are kept. None of these is there without a score.
    Of the text around the tokens shown `text` characters are kept, and processors see `beyond` more on each side.
    """

    samples: int | tuple[int, ...] = 2
    first: int = 5
    last: int = 5
    codebooks: int = 8
    score: bool = True
    worst: int = 5
    alternatives: int = 0
    all_tokens: int = 0
    text: int = 0
    beyond: int = 0
    follow: frozenset[str] = frozenset()


class Chosen(NamedTuple):
    """The rows shown of one sample and codebook, each once: of both ends in order, of the worst the worst first."""

    first: list[int]
    last: list[int]
    worst: list[int]
