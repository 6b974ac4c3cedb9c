"""Events, sample by sample → what a tracker shows: whole steps, their curves and rows, and findings in words."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, NamedTuple

from predlog.records import codec, html
from predlog.records.figures import of_step
from predlog.records.schema import Comparison, Event, Finding, Run, Token
from predlog.records.text import harmless
from predlog.sinks.cells import Sample, samples

# Streams that may wait for the rest of their step at the same time.
_MOST_OPEN: Final = 1024
# Open errors of a stream that are named; predlog has fewer, a crafted file may have more.
_MOST_CODES: Final = 32
_OF_COMPARISON: Final = ("step", "stream", "codebook", "sample", "sample_id")
_OF_TOKEN: Final = tuple(name for name in Token.__struct_fields__ if name not in {"slot", "alternatives"})
# The columns of a table of tokens, under the names that they have in the file.
COLUMNS: Final = (*_OF_COMPARISON, *_OF_TOKEN)
_ALERT_LEVELS: Final = {"error": "ERROR", "warning": "WARN"}
_codebook = attrgetter("codebook")
_of_comparison = attrgetter(*_OF_COMPARISON)
_of_token = attrgetter(*_OF_TOKEN)
Row = tuple[Any, ...]


class Step(NamedTuple):
    """All that was recorded of one stream at one step, and which errors are open in the stream."""

    number: int
    stream: str
    comparisons: tuple[Comparison, ...]
    errors: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return the group that its curves are in: `predlog/text`."""
        return f"predlog/{harmless(self.stream)}"

    def curves(self) -> dict[str, float | None]:
        """Return loss, entropy, accuracy, mean log-probability and supervised share, over all samples.

        They are named `predlog/text/loss`. Codebooks have curves of their own, `predlog/audio/codebook 3/loss`, beside
        those of all. What this step does not have is None; what comes with a score is left out without one.
        """
        curves: dict[str, float | None] = {}
        by_codebook = sorted(
            self.comparisons, key=lambda one: (-1 if one.codebook is None else one.codebook, one.sample)
        )
        groups = [(codebook, list(group)) for codebook, group in groupby(by_codebook, key=_codebook)]
        if groups[-1][0] is not None:
            groups = [(None, by_codebook), *((codebook, ones) for codebook, ones in groups if codebook is not None)]
        for codebook, ones in groups:
            name = self.name if codebook is None else f"{self.name}/codebook {codebook}"
            point = of_step(ones)
            is_partial = any(one.missing_ids or one.missing_rows for one in ones)
            if is_partial or point.loss is not None or any(one.matched is not None for one in ones):
                curves[f"{name}/loss"] = point.loss
                if point.entropy is not None or point.loss is None:
                    curves[f"{name}/entropy"] = point.entropy
            curves[f"{name}/accuracy"] = point.accuracy
            curves[f"{name}/logprob"] = point.logprob
            curves[f"{name}/supervised"] = point.share
        return curves

    def known_curves(self) -> dict[str, float]:
        """Return the curves that have a value at this step."""
        return {name: value for name, value in self.curves().items() if value is not None}

    def samples(self) -> Iterator[Sample]:
        """Yield what the console's compact form shows of each sample, in cells."""
        return samples(self.comparisons, self.errors)

    def html(self) -> str:
        """Return what the console's compact form shows, as HTML without a page around it; empty without tokens."""
        if not any(one.tokens for one in self.comparisons):
            return ""
        return html.comparisons(self.comparisons, html.COMPACT, errors={self.stream: self.errors}, colours={})

    def rows(self) -> Iterator[Row]:
        """Yield a row for each token, with the `COLUMNS`; in texts, control and invisible characters are escaped."""
        for one in self.comparisons:
            above = _of_comparison(one)
            for token in one.tokens:
                yield tuple(
                    harmless(value) if isinstance(value, str) else value for value in (*above, *_of_token(token))
                )


class Tracker(ABC):
    """What all trackers share: a processor that shows whole steps and findings, and passes every event on unchanged.

    A stream's step is whole when the stream's next one comes, or a later step of any other stream, or a run begins or
    ends. So each is shown once, and none is kept for long.

    A tracker defines how it shows a step and reports a finding, and, if it collects rows of tokens, how it logs them.
    One that holds back something else extends `flush`.
    """

    def __init__(self) -> None:
        self._open: dict[str, list[Comparison]] = {}
        self._errors: dict[str, list[str]] = {}
        self._waiting: list[Row] = []

    def __call__(self, _logger: Any, _name: str, event: Event) -> Event:
        """Show what is whole now, if the event is one of predlog's.

        Raises RecordError if one of predlog's was changed so that it no longer fits the schema.
        """
        if codec.is_ours(event):
            record = codec.from_event(codec.conform(event))
            if isinstance(record, Comparison):
                whole = self._remove_whole(record)
                self._open.setdefault(record.stream, []).append(record)
                for step in whole:
                    self._show(step)
            elif isinstance(record, Finding):
                self._remember(record)
                self._report(record)
            elif isinstance(record, Run):
                self._end()
                self._errors.clear()
        return event

    def flush(self) -> None:
        """Show the steps that wait for more, and log the rows that wait for others."""
        self._end()
        self._log_waiting()

    def close(self) -> None:
        """Flush; the tracker's own run or writer stays open."""
        self.flush()

    def _remember(self, finding: Finding) -> None:
        """Remember which errors are open, so that ticks under a wrong pair are not taken for success."""
        errors = [code for code in self._errors.pop(finding.stream, ()) if code != finding.code]
        if finding.level == "error":
            errors.append(finding.code)
        if errors and len(self._errors) < _MOST_OPEN:
            self._errors[finding.stream] = errors[-_MOST_CODES:]

    def _end(self) -> None:
        for stream in list(self._open):
            self._show(self._close(stream))

    def _remove_whole(self, record: Comparison) -> list[Step]:
        """Remove and return the steps that are whole now that this one comes."""
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
        return Step(ones[0].step, stream, tuple(ones), tuple(self._errors.get(stream, ())))

    def _collect(self, rows: Iterable[Row], most: int) -> None:
        """Take in the rows of a step, which stay together, and log all that wait as soon as there are `most`."""
        self._waiting += rows
        if len(self._waiting) >= most:
            self._log_waiting()

    def _log_waiting(self) -> None:
        rows, self._waiting = self._waiting, []  # a failure drops them, so that they don't pile up
        if rows:
            self._log_rows(rows)

    def _log_rows(self, rows: list[Row]) -> None:
        """Log the rows of several steps together."""
        raise NotImplementedError

    @abstractmethod
    def _show(self, step: Step) -> None:
        """Show the curves and tokens of a step."""

    @abstractmethod
    def _report(self, finding: Finding) -> None:
        """Report a finding, or that it is gone."""


def title(finding: Finding) -> str:
    """Return the code of a finding and what it is about, in one line: `labels-are-inputs, audio codebook 3`."""
    codebook = "" if finding.codebook is None else f" codebook {finding.codebook}"
    return harmless(f"{finding.code}, {finding.stream}{codebook}")


def text(finding: Finding) -> str:
    """Return in one line what was found, or that it is gone, and where to read more."""
    more = f" More: {finding.help}" if finding.help and finding.level != "info" else ""
    return harmless(f"step {finding.step}: {finding.message}{more}")


def alert_level(finding: Finding) -> str:
    """Return the level of an alert, by the name that W&B and Trackio have for it."""
    return _ALERT_LEVELS.get(finding.level, "INFO")
