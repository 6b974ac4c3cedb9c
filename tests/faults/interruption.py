"""The program's own exceptions pass through `compare`: those of signals' handlers, and those of other threads.

The rule: each arrives where it would have without predlog, torch is as it was before the call, and of the interrupted
calls nothing is pending: each pair is in the file, or was never submitted.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.faults.accounting import unaccounted
from tests.faults.children import started
from tests.faults.experiment import Figure, Size, equals
from tests.faults.programs.interrupting import KINDS
from tests.faults.readback import contents


def run(size: Size) -> Iterator[Figure]:
    """Interrupt calls in each way, each in a process of its own."""
    many, within = size.of(5000, 200), size.of(300, 60)
    for case in KINDS:
        yield from _interrupted(case, many, within)


def _interrupted(case: str, many: int, within: float) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "run"
        with started("interrupting", directory=str(directory), case=case, many=many) as child:
            done = child.told("done", within)
            yield equals(f"{case}: hangs", int(done is None), 0, child.stuck() if done is None else "")
            if done is None:
                return
            yield equals(f"{case}: exit code", child.end(10).code, 0, " ".join(child.stderr().split())[-200:])
            stats, file = done["stats"], contents(directory)
            yield equals(f"{case}: exceptions that arrived, of {many:,}", done["passed"], many)
            yield equals(f"{case}: calls after which torch's state was another", done["changed"], 0)
            yield equals(f"{case}: comparisons pending after a flush", stats["pending"], 0)
            yield equals(f"{case}: places in the queue that were not given back", done["waiting"], 0)
            yield equals(f"{case}: steps that stay claimed", done["claims"], 0)
            yield equals(f"{case}: in the file and its gaps, of those submitted",
                         len(file.comparisons) + file.missing, stats["submitted"])  # fmt: skip
            yield equals(f"{case}: comparisons without a fate in stats()", unaccounted(stats), 0)
            yield equals(f"{case}: damaged, doubled and missing lines", file.faults, 0)
