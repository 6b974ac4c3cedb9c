"""Whatever `compare` is called with, nothing is raised, changed or kept, and every comparison is accounted for."""

import contextlib
import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from structlog.typing import EventDict

from predlog import Recorder
from tests import nonsense
from tests.faults.experiment import Figure, Size, at_least, equals, told
from tests.faults.lines import Lines, Reading


@dataclass
class _Tally:
    calls: int = 0
    captured: int = 0
    changed: int = 0
    kept: int = 0
    raised: int = 0
    seen: int = 0
    said: str = ""

    def count_seen(self, _logger: Any, _name: str, event: EventDict) -> EventDict:
        """Count, as the first processor, the comparisons that come out of the captures."""
        self.seen += event["event"] == "predlog.comparison"
        return event


def run(size: Size) -> Iterator[Figure]:
    """Make the calls, with a decoder, a processor and a second sink that raise, too."""
    tally = _Tally()
    with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stderr(io.StringIO()) as stderr:
        recorder = Recorder(
            directory, every=1, console=False, queue=10**5, decode=nonsense.exploding_decoder,
            processors=[tally.count_seen, nonsense.exploding_processor], sinks=[nonsense.exploding_sink],
        )  # fmt: skip
        for number in range(size.of(50, 2)):
            _call(recorder, tally, seeded=number, times=size.of(2000, 1500))
        closed = recorder.close(60)
        file = Path(directory, "predictions.jsonl")
        lines, reading = Lines.of(file), Reading.of(file)
    yield from _judged(tally, size.of(100_000, 3000))
    yield from _accounted(dict(recorder.stats()), tally, lines)
    yield equals("recorders that did not close", not closed, 0)
    yield equals("damaged lines", len(lines.damaged), 0, note="; ".join(reading.warned))
    said = stderr.getvalue().splitlines()
    yield equals("lines on stderr that are not predlog's", sum(not line.startswith("predlog: ") for line in said), 0)
    yield told("lines on stderr", len(said))


def _call(recorder: Recorder, tally: _Tally, *, seeded: int, times: int) -> None:
    # In parts, because hypothesis remembers all that it has tried in one.
    @seed(seeded)
    @settings(
        max_examples=times,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(nonsense.calls)
    def call(drawn: dict[str, Any]) -> None:
        tally.calls += 1
        try:
            outcome = nonsense.make(recorder, drawn, tally.calls)
        except BaseException as error:  # noqa: BLE001 - counted
            tally.raised += 1
            tally.said = f"{type(error).__name__}: {error}"
            return
        tally.captured += outcome.captured
        tally.changed += outcome.changed
        tally.kept += outcome.kept

    call()


def _judged(tally: _Tally, times: int) -> Iterator[Figure]:
    yield at_least("calls", tally.calls, times)
    yield at_least("calls that were captured, as nonsense must not be all", tally.captured, times / 30)
    yield equals("exceptions", tally.raised, 0, note=tally.said)
    yield equals("tensors changed", tally.changed, 0)
    yield equals("tensors kept alive", tally.kept, 0)


def _accounted(stats: dict[str, Any], tally: _Tally, lines: Lines) -> Iterator[Figure]:
    present = len(lines.all_of("comparison"))
    counted = sum(stats[key] for key in ("written", "filtered", "dropped", "failed", "pending"))
    yield told("comparisons submitted", stats["submitted"])
    yield equals("submitted, less those that the first processor saw", stats["submitted"] - tally.seen, 0)
    yield equals("submitted, less those accounted for", stats["submitted"] - counted, 0)
    yield equals("claimed as written, less those in the file", stats["written"] - present, 0)
    yield equals(
        "missing by the gap records, less those that are", lines.missing - (tally.seen - stats["filtered"] - present), 0
    )
