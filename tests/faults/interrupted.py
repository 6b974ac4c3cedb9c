"""A training whose file fails for a while, as a process of its own.

It prints what it saw as JSON, and leaves a copy of the file: what lay on a file system of its own goes with that.
"""

import dataclasses
import json
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from predlog import Recorder
from tests.faults.lines import Lines
from tests.faults.outages import OUTAGES, Outage
from tests.faults.training import Training

_STEPS = 12
_PACE = 0.03


@dataclass(frozen=True, slots=True)
class Seen:
    """What the process itself knows in the end; `recovered_after` is null where nothing was written again.

    `slowest` is how long the slowest step took while the outage lasted.
    """

    steps: int
    fingerprint: str
    begun: bool
    recovered_after: float | None
    removed: int
    slowest: float
    closed: bool
    stats: dict[str, Any]


def main() -> None:
    """Train before, in and after the outage, at a pace at which no queue fills up.

    The arguments are the kind of outage, the run's folder, where to leave the copy, the seconds that the outage lasts,
    and how many to wait for its end to show.
    """
    kind, folder, kept, seconds, patience = sys.argv[1:]
    outage = OUTAGES[kind](Path(folder))
    outage.prepare()
    training = Training()
    recorder = Recorder(folder, every=1, console=False, sinks=outage.sinks(), first=2, last=2, **outage.settings)
    _train(training, recorder, _STEPS)
    begun = _begin(outage, training, recorder)
    until = time.monotonic() + float(seconds)
    slowest = 0.0
    while (start := time.monotonic()) < until:
        training.step(recorder)
        slowest = max(slowest, time.monotonic() - start)
        time.sleep(_PACE)
    outage.end()
    recovered_after = _recovered_after(outage.file, float(patience), training, recorder)
    _train(training, recorder, _STEPS)
    closed = recorder.close()
    if outage.file.exists():
        shutil.copy(outage.file, kept)
    seen = Seen(
        steps=training.steps,
        fingerprint=training.fingerprint(),
        begun=begun,
        recovered_after=recovered_after,
        removed=outage.removed,
        slowest=slowest,
        closed=closed,
        stats=dict(recorder.stats()),
    )
    print(json.dumps(dataclasses.asdict(seen)))


def _begin(outage: Outage, training: Training, recorder: Recorder) -> bool:
    until = time.monotonic() + 10
    recorder.flush()
    while not (begun := outage.begin()) and time.monotonic() < until:
        _train(training, recorder, 1)
        recorder.flush()
    return begun


def _recovered_after(file: Path, patience: float, training: Training, recorder: Recorder) -> float | None:
    start, there = time.monotonic(), len(Lines.of(file).all_of("comparison"))
    while (took := time.monotonic() - start) < patience:
        if len(Lines.of(file).all_of("comparison")) > there:
            return took
        _train(training, recorder, 1)
    return None


def _train(training: Training, recorder: Recorder, steps: int) -> None:
    for _ in range(steps):
        training.step(recorder)
        time.sleep(_PACE)


if __name__ == "__main__":
    main()
