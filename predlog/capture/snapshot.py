"""What a capture hands to the worker: the pair's sizes, and the numbers that the host holds of it or will hold soon."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from predlog.capture.rows import Statistics
from predlog.capture.window import Ends
from predlog.findings.special_tokens import SpecialTokens

Counts = dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class Sizes:
    """What is known of a pair without a look at its values."""

    samples: int
    codebooks: int
    length: int
    vocabulary: int
    shift: int
    ignore_index: int
    specials: SpecialTokens
    has_codebooks: bool
    is_trained: bool
    has_probabilities: bool = True

    @property
    def count(self) -> int:
        """The number of comparisons: one a sample and codebook."""
        return self.samples * self.codebooks


@dataclass(frozen=True, slots=True)
class Numbers:
    """Plain numbers, sequence by sequence: there is one sequence for each sample and codebook.

    `shown` are the rows shown of each sequence; `statistics`, `around` and `reads` theirs, one behind the other.
    `around` are four labels: the one before a row's own, that, and the two after; `reads` the input at the row and the
    one two positions on. Beyond an end stands whatever is nearest. `counts` are those of each sequence by name, a list
    each.
    """

    shown: Sequence[Ends]
    statistics: Statistics
    around: Sequence[tuple[int, int, int, int]]
    reads: Sequence[tuple[int | None, int | None]]
    counts: Sequence[Counts]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was captured of a pair: `numbers`, called once, waits for it; None where it is lost for want of room."""

    sizes: Sizes
    numbers: Callable[[], Numbers] | None

    @property
    def hold(self) -> Callable[[], Numbers] | None:
        """The recorder's word for `numbers`."""
        return self.numbers


Capture = Snapshot  # the recorder's word for it
