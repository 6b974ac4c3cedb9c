"""What a capture hands to the worker: the pair's sizes, and the numbers that the host holds of it or will hold soon."""

import itertools
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from predlog.capture import counts as counting
from predlog.capture.rows import Statistics
from predlog.capture.window import Ends, as_bytes
from predlog.findings.special_tokens import SpecialTokens

Lane = dict[str, Any]


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
class Held:
    """Plain numbers, lane by lane: one lane for each sample and codebook.

    `shown` are the rows shown of each lane; `statistics`, `around` and `reads` theirs, one behind the other. `around`
    are four labels: the one before a row's own, that, and the two after; `reads` the input at the row and the one two
    positions on. Beyond an end stands whatever is nearest. `counts` are those of each lane by name, a list each.
    """

    shown: Sequence[Ends]
    statistics: Statistics
    around: Sequence[tuple[int, int, int, int]]
    reads: Sequence[tuple[int | None, int | None]]
    counts: Sequence[Lane]


@dataclass(frozen=True, slots=True)
class Capture:
    """What was captured of a pair: `hold`, called once, waits for it; None where it is lost for want of room."""

    sizes: Sizes
    hold: Callable[[], Held] | None


def held(
    sizes: Sizes, labels: Tensor, inputs: Tensor | None, shown: Sequence[Ends], statistics: Statistics,
    hits: Tensor | None,
) -> Held:  # fmt: skip
    """Make plain numbers of ids [sample, codebook, time] on the host, and of hits [sample, codebook, 1 or 2].

    The hits count the predictions that are the label, and those that are the input and not the label. No tensor is
    kept, and for pairs on the CPU this is done where the pair is: each call of torch's from the worker would hand the
    interpreter back and forth between the threads, which costs more than the call.
    """
    scored = labels[..., sizes.shift :]
    supervised = scored != sizes.ignore_index
    counts = counting.of_labels(scored, supervised)
    counts |= counting.of_specials(scored, sizes.specials, sizes.ignore_index)
    if inputs is not None:
        counts |= counting.of_inputs(scored, inputs, supervised, sizes.ignore_index)
    if hits is not None:
        counts["hits"] = hits
    lanes = list(_by_lane(counts))
    if any(lane["lowest"][0] < 0 or lane["highest"][0] >= sizes.vocabulary for lane in lanes):
        outside = _by_lane(counting.out_of_range(scored, supervised, sizes.vocabulary))
        lanes = [lane | more for lane, more in zip(lanes, outside, strict=True)]
    ids, read = _words(labels), None if inputs is None else _words(inputs)
    around, reads = [], []
    last = sizes.length - 1
    for number, (both, lane) in enumerate(zip(shown, lanes, strict=True)):
        start = number * sizes.length
        lane["fingerprint"] = [zlib.crc32(ids[start + sizes.shift : start + sizes.length])]
        if read is not None:
            lane["fingerprint"].append(zlib.crc32(read[start : start + sizes.length]))
        for row in itertools.chain(*both):
            at = row + sizes.shift
            before, after, after_next = max(at - 1, 0), min(at + 1, last), min(at + 2, last)
            around.append((ids[start + before], ids[start + at], ids[start + after], ids[start + after_next]))
            reads.append((None, None) if read is None else (read[start + row], read[start + min(row + 2, last)]))
    return Held(shown, statistics, around, reads, lanes)


def _words(ids: Tensor) -> memoryview:
    return memoryview(as_bytes(ids)).cast("q")


def _by_lane(counts: counting.Counts) -> Iterator[Lane]:
    widths = [column.shape[-1] for column in counts.values()]
    for row in torch.cat(list(counts.values()), -1).flatten(0, 1).tolist():
        values = iter(row)
        yield {name: list(itertools.islice(values, width)) for name, width in zip(counts, widths, strict=True)}
