"""Events, sample by sample → what a tracker shows: whole steps, their curves and rows, and findings in words."""

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, NamedTuple

from predlog.records import codec
from predlog.records.figures import of_step
from predlog.records.schema import Comparison, Finding, Run, Token
from predlog.records.text import harmless

# Streams that may wait for the rest of their step.
_MOST_OPEN: Final = 1024
_OF_COMPARISON: Final = ("step", "stream", "codebook", "sample")
_OF_TOKEN: Final = tuple(name for name in Token.__struct_fields__ if name != "slot")
# The columns of a table of tokens, under the names that they have in the file.
COLUMNS: Final = (*_OF_COMPARISON, *_OF_TOKEN)
_codebook = attrgetter("codebook")
_of_comparison = attrgetter(*_OF_COMPARISON)
_of_token = attrgetter(*_OF_TOKEN)


class Step(NamedTuple):
    """All that was recorded of one stream at one step."""

    number: int
    stream: str
    comparisons: tuple[Comparison, ...]

    @property
    def name(self) -> str:
        """The group that its curves are in: `predlog/text`."""
        return f"predlog/{harmless(self.stream)}"

    def curves(self) -> dict[str, float | None]:
        """Give accuracy, mean log-probability and supervised share, of each codebook over all samples.

        They are named `predlog/text/accuracy` and `predlog/audio/codebook 3/accuracy`; None is what no token tells.
        """
        curves: dict[str, float | None] = {}
        for codebook, ones in groupby(sorted(self.comparisons, key=_codebook_first), key=_codebook):
            name = self.name if codebook is None else f"{self.name}/codebook {codebook}"
            point = of_step(list(ones))
            curves[f"{name}/accuracy"] = point.accuracy
            curves[f"{name}/logprob"] = point.logprob
            curves[f"{name}/supervised"] = point.share
        return curves

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield a row for each token, with the `COLUMNS`; texts hold nothing that steers, hides or can't be encoded."""
        for one in self.comparisons:
            above = _of_comparison(one)
            for token in one.tokens:
                yield tuple(
                    harmless(value) if isinstance(value, str) else value for value in (*above, *_of_token(token))
                )


class Steps:
    """Collect comparisons until their step is whole, then `show` it; `tell` findings at once.

    A stream's step is whole when the stream's next one comes, or a later step of any other stream, or a run begins or
    ends. So each is shown once, and none is kept for long.
    """

    def __init__(self, show: Callable[[Step], None], tell: Callable[[Finding], None]) -> None:
        self._show = show
        self._tell = tell
        self._open: dict[str, list[Comparison]] = {}

    def add(self, event: Mapping[str, Any]) -> None:
        """Take in an event; one that is not predlog's is ignored.

        Raises RecordError where one of predlog's was changed so that it does not fit the schema any more.
        """
        if not codec.is_ours(event):
            return
        record = codec.from_event(codec.conform(event))
        if isinstance(record, Comparison):
            whole = self._whole(record)
            self._open.setdefault(record.stream, []).append(record)
            for step in whole:
                self._show(step)
        elif isinstance(record, Finding):
            self._tell(record)
        elif isinstance(record, Run):
            self.end()

    def end(self) -> None:
        """Show the steps that wait for more."""
        for stream in list(self._open):
            self._show(self._close(stream))

    def _whole(self, record: Comparison) -> list[Step]:
        """Take out what is whole now that this one comes."""
        streams = [
            stream
            for stream, ones in self._open.items()
            if ones[0].step < record.step or (stream == record.stream and ones[0].step != record.step)
        ]
        if len(self._open) - len(streams) >= _MOST_OPEN and record.stream not in self._open:
            streams.append(next(stream for stream in self._open if stream not in streams))
        return [self._close(stream) for stream in streams]

    def _close(self, stream: str) -> Step:
        ones = self._open.pop(stream)
        return Step(ones[0].step, stream, tuple(ones))


def title(finding: Finding) -> str:
    """Name a finding and what it is about in one line of a tracker's: `labels-are-inputs, audio codebook 3`."""
    codebook = "" if finding.codebook is None else f" codebook {finding.codebook}"
    return harmless(f"{finding.code}, {finding.stream}{codebook}")


def text(finding: Finding) -> str:
    """Say in one line what was found, or that it is gone, and where more is told."""
    more = f" More: {finding.help}" if finding.help and finding.level != "info" else ""
    return harmless(f"step {finding.step}: {finding.message}{more}")


def _codebook_first(one: Comparison) -> tuple[int, int]:
    return (-1 if one.codebook is None else one.codebook, one.sample)
