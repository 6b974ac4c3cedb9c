"""What never returns keeps no process alive, and what that cost is reported with a number.

The rule: the process ends within 5.5 s of the leaving, with the exit code that it would have had. What was lost is
named on stderr with a number, wherever a line can still be written. Where it is a foreign sink that never returns, the
file has everything; in each case it has what was recorded before, and no line is damaged.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.faults.children import side_by_side
from tests.faults.experiment import Figure, Size, at_most, equals, told
from tests.faults.leaving import Left, code_without, left

_BEFORE, _QUEUED = 10, 50
_LOST = re.compile(r"^predlog: closing .*?\b(\d+) did not reach", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Case:
    name: str
    how: str
    place: str
    manner: str
    queued: int = _QUEUED
    recorders: int = 1
    is_said: bool = True


_CASES = (
    _Case("sink never returns", "normal end", "sinks", "never returns"),
    _Case("sink spins", "exception", "sinks", "spins"),
    _Case("sink never closes", "normal end", "sinks", "never closes", is_said=False),
    _Case("processor never returns", "normal end", "processors", "never returns"),
    _Case("processors of two recorders never return", "sys.exit(3)", "processors", "never returns", recorders=2),
    _Case("nothing in the way", "normal end", "processors", "passes", queued=0, is_said=False),
    _Case("SIGTERM, not handled", "SIGTERM", "processors", "slow", is_said=False),
    _Case("os._exit", "os._exit", "processors", "slow", is_said=False),
)
_MORE = (_Case("sink never returns, one pair", "normal end", "sinks", "never returns", queued=1),)


def run(size: Size) -> Iterator[Figure]:
    """Leave in each case; no more at once than there are likely to be cores, as the ends are timed."""
    for figures in side_by_side(lambda case: list(_left(case)), _CASES + size.of(_MORE, ()), many=2):
        yield from figures


def _left(case: _Case) -> Iterator[Figure]:
    outcome = left(case.how, case.place, case.manner, before=_BEFORE, queued=case.queued, recorders=case.recorders)
    lost = [_BEFORE + case.queued - len(file.comparisons) for file in outcome.files]
    yield at_most(f"{case.name}: the leaving took", outcome.seconds, 5.5, "s")
    yield equals(f"{case.name}: exit code, and without predlog", outcome.end.code, code_without(case.how))
    recorded = [len(file.steps() & set(range(_BEFORE))) for file in outcome.files]
    yield equals(f"{case.name}: pairs in the file that were recorded before", min(recorded), _BEFORE)
    yield equals(f"{case.name}: damaged, doubled and missing lines", sum(file.faults for file in outcome.files), 0)
    if case.place == "sinks":
        yield equals(f"{case.name}: pairs that the file lacks", sum(lost), 0)
        lost = [case.queued]  # for the sink, which has taken none of them
    else:
        yield told(f"{case.name}: pairs that the file lacks", sum(lost))
    if case.is_said:
        said = _said(outcome)
        yield equals(f"{case.name}: lost, as stderr says", said, sum(lost), outcome.errors.splitlines()[-1][:100])


def _said(outcome: Left) -> float:
    numbers = [int(number) for number in _LOST.findall(outcome.errors)]
    return sum(numbers) if numbers else math.nan
