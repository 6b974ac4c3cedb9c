"""What of a run could be checked, and what could not, as far as its records tell."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

# Samples of a stream below which the rules about many samples say nothing.
MANY_SAMPLES: Final = 16


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the records of one stream show: how many samples, and whether ever what the rules need.

    `whole` is whether one process had whole rows of logits, and no record was joined from parts.
    """

    stream: str
    samples: int
    inputs: bool
    positions: bool
    probabilities: bool
    loss: bool
    whole: bool = True


class Unchecked(NamedTuple):
    """Something that could not be checked, why, and in which streams."""

    what: str
    why: str
    streams: tuple[str, ...]


_NEEDS: Final[Sequence[tuple[str, str, Callable[[Coverage], bool]]]] = (
    ("whether labels are shifted correctly", "no inputs", lambda one: one.inputs),
    ("whether labels cross into another document", "no positions", lambda one: one.positions),
    ("what predictions and probabilities show", "no probabilities", lambda one: one.probabilities),
    ("whether the reported loss is that of the pair", "logits in shards", lambda one: one.loss or one.whole),
    (
        "whether the loss is that of the pair", "pass reported_loss=, as the callbacks do",
        lambda one: one.loss or not one.whole,
    ),
    (
        "what only many samples show", f"fewer than {MANY_SAMPLES} samples",
        lambda one: one.samples >= MANY_SAMPLES,
    ),
)  # fmt: skip


def unchecked(streams: Sequence[Coverage]) -> Iterator[Unchecked]:
    """Yield what could not be checked in some of the streams."""
    for what, why, is_met in _NEEDS:
        if without := tuple(one.stream for one in streams if not is_met(one)):
            yield Unchecked(what, why, without)
