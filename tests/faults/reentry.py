"""Compare may be called from anywhere: a signal handler, garbage collection, a processor, two threads at once.

The rule: it never hangs, a step of a stream is recorded once, whoever is first, and the counts are exact: what returned
a future is what the file holds, and what was submitted is in the file or in one of its gaps.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults.accounting import unaccounted
from tests.faults.children import side_by_side, started
from tests.faults.experiment import Figure, Size, at_least, equals
from tests.faults.readback import Contents, contents

_SAMPLES = 2
# Which streams get how many calls at least, in times of the number asked for.
_CASES = {
    "signal handler": {"signal": 1, "text": 1},
    "garbage collection": {"collected": 1, "text": 1},
    "processor": {"echo": 1, "text": 1},
    "two threads": {"text": 2},
    "two threads, the same step": {"text": 2},
}


def run(size: Size) -> Iterator[Figure]:
    """Call from everywhere, each in a process of its own."""
    many, within = size.of(1000, 500), size.of(120, 15)
    for figures in side_by_side(lambda case: list(_called(case, many, within)), _CASES, many=2):
        yield from figures


def _called(case: str, many: int, within: float) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "run"
        with started("reentry", directory=str(directory), case=case, many=many) as child:
            done = child.told("done", within)
            yield equals(f"{case}: hangs", int(done is None), 0, child.stuck() if done is None else "")
            if done is not None:
                yield equals(f"{case}: exit code", child.end(10).code, 0, " ".join(child.stderr().split())[-200:])
                yield from _counts(case, many, done, contents(directory))


def _counts(case: str, many: int, done: dict[str, Any], file: Contents) -> Iterator[Figure]:
    stats, lines = done["stats"], len(file.comparisons)
    for stream, times in _CASES[case].items():
        yield at_least(f"{case}: calls, stream {stream}", done["calls"][stream], times * many)
    yield equals(f"{case}: calls that recorded a step again", done["doubled"], 0)
    yield equals(f"{case}: steps of streams that were recorded", done["recorded"], done["distinct"])
    yield equals(f"{case}: in the file, of those that returned a future", lines, _SAMPLES * done["recorded"])
    yield equals(f"{case}: submitted, of steps called with", stats["submitted"], _SAMPLES * done["distinct"])
    yield equals(f"{case}: in the file and in its gaps, of those submitted", lines + file.missing, stats["submitted"])
    yield equals(f"{case}: written, as stats() says, of those in the file", stats["written"], lines)
    yield equals(f"{case}: comparisons without a fate in stats()", unaccounted(stats), 0)
    yield equals(f"{case}: damaged, doubled and missing lines", file.faults, 0)
    yield equals(f"{case}: closed in time", done["in_time"], 1)
