"""What can't be written of one stream costs that stream's events alone: of a healthy stream nothing is missing."""

import datetime as dt
import decimal
import enum
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from structlog.typing import EventDict, Processor

from predlog import Recorder
from tests import events
from tests.faults.accounting import unaccounted
from tests.faults.experiment import Figure, Size, equals
from tests.faults.lines import Lines

# More than a sink may fail in a row without being paused.
_SAMPLES = 6


class _Color(enum.Enum):
    RED = "red"


_endless: list[Any] = []
_endless += [_endless, _endless]
# Those that have a plain form, and those that have none.
_CONVERTED = [
    np.float32(0.5), np.int64(3), np.bool_(True), np.array(1.5), torch.tensor(2.5), Path("a/b"), _Color.RED,
    dt.datetime(2020, 1, 2, tzinfo=dt.timezone.utc),
]  # fmt: skip
_REFUSED = [
    object(), {1, 2}, b"bytes", 10**30, 1j, decimal.Decimal(1), np.ones(3), torch.ones(2, 2), _endless,
    torch.ones((), device="meta"), "x" * (1 << 24), lambda: None,
]  # fmt: skip


def run(size: Size) -> Iterator[Figure]:
    """Put each value into each field that a processor may write to; fail in a sink; refuse pairs without end."""
    steps = size.of(20, 3)
    for place in size.of(("context", "nested", "step", "tokens", "typed"), ("context", "step")):
        lacking, bad, kept = 0, 0, 0
        for value in (*_CONVERTED, *_REFUSED):
            there, unaccounted_for = _recorded(steps, processors=[_adding(value, place)])
            lacking += steps - there["text"]
            bad += unaccounted_for
            kept += there["audio"] if any(value is one for one in _CONVERTED) else 0
        what = f"{len(_CONVERTED) + len(_REFUSED)} values in {place}"
        yield equals(f"{what}: healthy records missing", lacking, 0)
        yield equals(f"{what}: comparisons without a fate or a gap", bad, 0)
        if place == "context":
            lost = len(_CONVERTED) * steps * _SAMPLES - kept
            yield equals(f"{len(_CONVERTED)} values that have a plain form: records missing", lost, 0)
    yield from _in_a_sink(steps)
    yield from _in_a_processor(steps)
    there, bad = _recorded(steps, shift=10**30)
    yield equals("a finding that can't be written as it is: healthy records missing", steps - there["text"], 0)
    yield equals("a finding that can't be written as it is: comparisons without a fate or a gap", bad, 0)


def _in_a_sink(steps: int) -> Iterator[Figure]:
    taken: list[str] = []

    def picky(_logger: Any, _name: str, event: EventDict) -> EventDict:
        if event.get("stream") == "audio" or event["event"] == "predlog.run":
            raise TypeError
        taken.append(event.get("stream", ""))
        return event

    there, _ = _recorded(steps, sinks=[picky])
    yield equals("a sink that can't take one stream: healthy records missing in it", steps - taken.count("text"), 0)
    lacking = steps * (1 + _SAMPLES) - sum(there.values())
    yield equals("a sink that can't take one stream: records missing in the file", lacking, 0)


def _in_a_processor(steps: int) -> Iterator[Figure]:
    """Let a processor fail always: each file begins with the attempt's first line, and has a gap."""
    headless, bad = 0, 0
    for fail in _FAILING:
        with tempfile.TemporaryDirectory() as folder, redirect_stderr(StringIO()):
            recorder = Recorder(folder, every=1, samples=1, console=False, processors=[fail], queue=4 * steps)
            for step in range(steps):
                recorder.compare(*events.pair(samples=1), step)
            recorder.close(60)
            lines, stats = Lines.of(Path(folder, "predictions.jsonl")), recorder.stats()
        headless += not lines.whole or lines.whole[0]["event"] != "predlog.run"
        bad += unaccounted(stats) + abs(steps - len(lines.all_of("comparison")) - lines.missing) + len(lines.damaged)
    yield equals(f"{len(_FAILING)} processors that always fail: files without a first line", headless, 0)
    yield equals(f"{len(_FAILING)} processors that always fail: comparisons without a fate or a gap", bad, 0)


def _raising(error: Callable[[], Exception]) -> Processor:
    def fail(_logger: Any, _name: str, _event: EventDict) -> EventDict:
        raise error()

    return fail


def _emptying(_logger: Any, _name: str, event: EventDict) -> EventDict:
    event.clear()
    return event


# Those that return what is no event are no processors by their types.
_FAILING: tuple[Any, ...] = (
    _raising(ValueError),
    _raising(MemoryError),
    _raising(RecursionError),
    _raising(lambda: OSError(28, "No space left on device")),
    lambda _logger, _name, _event: None,
    lambda _logger, _name, _event: "a line",
    lambda _logger, _name, _event: {},
    _emptying,
    lambda _logger, _name, event: {key: object() for key in event},
)


def _adding(value: Any, place: str) -> Callable[[Any, str, EventDict], EventDict]:
    def add(_logger: Any, _name: str, event: EventDict) -> EventDict:
        if event.get("stream") != "audio":
            return event
        match place:
            case "context":
                return {**event, "added": value}
            case "nested":
                return {**event, "context": {"a": [{"b": value}]}}
            case "tokens":
                return {**event, "tokens": [{**token, "input_text": value} for token in event["tokens"]]}
            case "typed":
                return {**event, "level": value, "message": value}
        return {**event, place: value}

    return add


def _recorded(
    steps: int, shift: int = 0, processors: Sequence[Processor] = (), sinks: Sequence[Processor] = ()
) -> tuple[dict[str, int], int]:
    """Record two streams; return how many lines each has, and how many comparisons nothing accounts for."""
    (audio, ids), text = events.pair(samples=_SAMPLES), events.pair(1, samples=1)
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(StringIO()):
        recorder = Recorder(
            folder, every=1, samples=_SAMPLES, console=False, processors=processors, sinks=sinks, queue=8 * (steps + 1)
        )  # fmt: skip
        for step in range(steps):
            recorder.compare(audio, ids, step, stream="audio", shift=shift)
            recorder.compare(*text, step, stream="text")
            if shift:
                recorder.flush()  # what a sink has missed is tried again
        recorder.close(600)  # lines of many megabytes take their time
        lines, stats = Lines.of(Path(folder, "predictions.jsonl")), recorder.stats()
    streams = [line["stream"] for line in lines.all_of("comparison")]
    lost = stats["submitted"] - stats["filtered"] - len(streams)
    counts = {name: streams.count(name) for name in ("audio", "text")}
    return counts, unaccounted(stats) + abs(lost - lines.missing) + len(lines.damaged)
