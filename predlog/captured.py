"""What a capture hands to the worker: the pair's sizes, and what the host holds of it or will hold in a moment."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from predlog.rows import Statistics
from predlog.specials import SpecialTokens
from predlog.window import Ends


@dataclass(frozen=True, slots=True)
class Held:
    """Tensors in host memory that are nobody else's.

    `labels` and `inputs` [sample, codebook, time] are whole, as handed; `shown` are the rows shown of each lane, and
    `statistics` theirs, lane by lane. `hits` [sample, codebook, 1 or 2] count the predictions that are the label, and
    those that are the input and not the label.
    """

    labels: Tensor
    inputs: Tensor | None
    shown: list[Ends]
    statistics: Statistics
    hits: Tensor | None


@dataclass(frozen=True, slots=True)
class Capture:
    """What was captured of a pair, in `samples` × `codebooks` lanes: `hold`, called once, waits for it and gives it.

    `hold` is None where there was no room for it, so that it is lost.
    """

    hold: Callable[[], Held] | None
    samples: int
    codebooks: int
    length: int
    vocabulary: int
    shift: int
    ignore_index: int
    specials: SpecialTokens
    has_codebooks: bool
    is_trained: bool

    @property
    def count(self) -> int:
        """The number of comparisons it holds: one a sample and codebook."""
        return self.samples * self.codebooks
