"""What is slow is not waited for: a queue has its bound, memory does not grow, and the training thread passes.

A sink, or a processor and with it the file, takes 100 times as long as the producer. The rule: at most `queue` pairs
are under way, the process grows by no more than 5 MiB, 99 of 100 hand-overs take at most 100 µs, whatever a slow sink
does the file has everything, and every comparison that was submitted is in the file or in one of its gaps.

The microseconds are those of a clock that also runs while other processes have the core. So where they are too many,
the case is done again, at most three times in all; all its other figures are held each time.
"""

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults.accounting import of_sink, unaccounted
from tests.faults.children import started
from tests.faults.experiment import Figure, Size, at_least, at_most, equals, told
from tests.faults.readback import Contents, contents

_TIMED = "Worker.submit, p99"
_MOST_TRIES = 3


def run(size: Size) -> Iterator[Figure]:
    """Slow down a sink, then a processor."""
    for slow in ("sink", "processor"):  # one after the other, as they are timed
        for left in reversed(range(_MOST_TRIES)):
            figures = list(_slowed(slow, size.of(20_000, 1_500), size.of(256, 64)))
            late = [one for one in figures if one.what.endswith(_TIMED) and not one.holds]
            if not late or not left:
                break
            yield from (told(one.what, one.measured, "µs", f"{one.note}; done again") for one in late)
            yield from (one for one in figures if not one.holds and one not in late)
        yield from figures


def _slowed(slow: str, calls: int, queue: int) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "run"
        with started("bounded", directory=str(directory), calls=calls, queue=queue, slow=slow) as child:
            done = child.told("done", 600)
            errors = child.stderr()
        yield equals(f"slow {slow}: runs that ended", int(done is not None), 1, errors[-200:] if done is None else "")
        if done is not None:
            yield from _figures(f"slow {slow}", slow, queue, done, contents(directory))


def _figures(case: str, slow: str, queue: int, done: dict[str, Any], file: Contents) -> Iterator[Figure]:
    stats, calls = done["stats"], done["calls"]
    per_call = f"the producer took {1e6 * done['period']:.0f} µs a call"
    yield at_least(f"{case}: its time / the producer's", done["ratio"], 100, note=per_call)
    yield at_most(f"{case}: most pending, as stats() says", done["most_pending"], queue)
    yield at_most(f"{case}: most accepted and not processed, by its own count", done["most_unseen"], queue)
    yield at_most(f"{case}: growth of the process", done["growth"], 5, "MiB")
    yield from _times(case, done)
    yield equals(f"{case}: closed in time", done["in_time"], 1)
    yield equals(f"{case}: submitted, of calls", stats["submitted"], calls)
    yield equals(f"{case}: in the file and in its gaps", len(file.comparisons) + file.missing, calls)
    yield equals(f"{case}: written, as stats() says, of those in the file", stats["written"], len(file.comparisons))
    yield equals(f"{case}: damaged, doubled and missing lines", file.faults, 0)
    yield equals(f"{case}: comparisons without a fate in stats()", unaccounted(stats), 0)
    if slow == "sink":
        yield equals(f"{case}: in the file", len(file.comparisons), calls)
        yield at_most(f"{case}: most pending before it", done["most_pending_of_it"], queue)
        got = done["got"]
        yield equals(f"{case}: its written, as stats() says, of those it got", of_sink(stats, "slow", "written"), got)
        dropped = of_sink(stats, "slow", "dropped")
        yield equals(f"{case}: its dropped, of those it did not get", dropped, calls - got)
    else:
        yield told(f"{case}: in the file", len(file.comparisons))


def _times(case: str, done: dict[str, Any]) -> Iterator[Figure]:
    quantiles, counts = done["quantiles"], done["counts"]
    p99 = quantiles["submit"][1] if counts["submit"] else math.nan
    own = "thread's clock: p50 {:.1f}, p99 {:.1f}".format(*quantiles["submit, own time"])
    yield at_most(f"{case}: {_TIMED}", p99, 100, "µs", f"p50 {quantiles['submit'][0]:.1f}; {own}")
    for name in ("accepted", "refused"):
        if counts[name]:
            yield told(f"{case}: of these, {name}, p99", quantiles[name][1], "µs", f"{counts[name]} of them")
    own = "thread's clock: p50 {:.1f}, p99 {:.1f}".format(*quantiles["compare, own time"])
    yield told(f"{case}: compare, p99", quantiles["compare"][1], "µs", f"p50 {quantiles['compare'][0]:.1f}; {own}")
