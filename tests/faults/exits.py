"""However a program ends, what was queued is written, and its exit code is its own.

The rule: at a normal end, an exception, `sys.exit`, Ctrl-C, or a SIGTERM that Python handles, all of 50 pairs that wait
for a slow processor are in the file, which ends with their number, and the exit code is that of the same program
without predlog.
"""

from collections.abc import Iterator

from tests.faults.children import side_by_side
from tests.faults.experiment import Figure, Size, at_most, equals, told
from tests.faults.leaving import code_without, left

_WAYS = ("normal end", "exception", "sys.exit(3)", "SIGINT", "SIGTERM, handled")
_BEFORE, _QUEUED = 10, 50


def run(size: Size) -> Iterator[Figure]:
    """Leave in each way."""
    for figures in side_by_side(lambda how: list(_left(how)), _WAYS):
        yield from figures


def _left(how: str) -> Iterator[Figure]:
    outcome = left(how, "processors", "slow", before=_BEFORE, queued=_QUEUED)
    yield equals(f"{how}: pending when it began, as stats() says", outcome.told["stats"]["pending"], _QUEUED)
    yield at_most(f"{how}: begun by then, as the processor counts", outcome.told["begun"], 1)
    steps = outcome.files[0].steps()
    yield equals(f"{how}: queued pairs in the file", len([step for step in steps if step >= _BEFORE]), _QUEUED)
    yield equals(f"{how}: pairs in the file that were recorded before", len(steps & set(range(_BEFORE))), _BEFORE)
    yield equals(f"{how}: damaged, doubled and missing lines", outcome.files[0].faults, 0)
    said = [trailer["written"] for trailer in outcome.files[0].trailers]
    yield equals(f"{how}: pairs in the file, as its last line says", sum(said), len(outcome.files[0].comparisons))
    yield equals(f"{how}: exit code, and without predlog", outcome.end.code, code_without(how))
    yield told(f"{how}: the leaving took", outcome.seconds, "s", "a pair takes the processor 20 ms")
