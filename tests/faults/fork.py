"""A fork at any moment: the child runs on, and the parent's file is the parent's.

The rule: no child hangs, whether `os.fork`, multiprocessing or a DataLoader made it, whatever it prints through and
however it leaves; nothing that it compares comes into the file; and the parent's records are all there, once.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.faults import stdouts
from tests.faults.accounting import unaccounted
from tests.faults.children import Child, started, stuck_at
from tests.faults.experiment import Figure, Size, at_least, at_most, equals, told
from tests.faults.readback import contents

_SEED = 20260101
# Seconds; no promise names it, but a training that forks must not stand.
_LONGEST_FORK = 2
_BATCHES = 16


def run(size: Size) -> Iterator[Figure]:
    """Do all in one process that writes to a terminal."""
    counts: dict[str, Any] = {
        "forks": size.of(1000, 60), "processes": size.of(20, 3), "spawned": size.of(3, 1), "epochs": size.of(10, 1),
        "patience": 20.0, "seed": _SEED,
    }  # fmt: skip
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        terminal = stack.enter_context(stdouts.drained_terminal())
        child = stack.enter_context(
            started(
                "forking", stdout=terminal, environment={"TERM": "xterm-256color"}, directory=str(folder / "run"),
                **counts,
            )
        )  # fmt: skip
        within = size.of(900, 60)
        stages: list[tuple[str, Callable[[dict[str, Any]], Iterator[Figure]]]] = [
            ("forked", lambda facts: _forked(facts, counts["forks"], child)),
            ("fork of multiprocessing", lambda facts: _processes(facts, "multiprocessing, fork")),
            ("spawn of multiprocessing", lambda facts: _processes(facts, "multiprocessing, spawn")),
            ("loaded", lambda facts: _loaded(facts, _BATCHES * counts["epochs"])),
            ("closed", lambda facts: _file(facts, folder / "run")),
            ("beside what hangs", _beside_what_hangs),
        ]
        for what, figures in stages:
            facts = child.told(what, within)
            if facts is None:
                yield equals(f"stage {what!r}: the parent came to it", 0, 1, child.stuck())
                return
            yield from figures(facts)


def _forked(facts: dict[str, Any], forks: int, child: Child) -> Iterator[Figure]:
    yield equals("os.fork: children", facts["forks"], forks)
    yield equals("os.fork: children that hung", facts["hung"], 0, stuck_at(child.stderr()))
    ends = facts["ends"]
    yield equals("os.fork: children that did all and ended with 0", ends.get("0", 0), forks, f"exit codes {ends}")
    yield at_least("os.fork: forks while something was to be written", facts["busy"], forks / 4)
    median, most, longest = facts["took"]
    yield told("os.fork: the call took, p50", median, "ms", f"p99 {most:.3g}, longest {longest:.3g}")


def _processes(facts: dict[str, Any], what: str) -> Iterator[Figure]:
    yield equals(f"{what}: children that hung", facts["hung"], 0, f"of {facts['many']}")
    yield equals(f"{what}: children that ended with another code than 0", facts["otherwise"], 0)


def _loaded(facts: dict[str, Any], batches: int) -> Iterator[Figure]:
    yield equals("DataLoader: batches", facts["batches"], batches, facts["failure"])
    yield equals("DataLoader: calls in workers that recorded", facts["recorded"], 0)


def _file(facts: dict[str, Any], directory: Path) -> Iterator[Figure]:
    file = contents(directory)
    streams = Counter(one.stream for one in file.comparisons)
    yield equals("the parent closed in time", facts["in_time"], 1)
    yield equals("records of the parent's in the file, of its calls", streams.pop("text"), facts["calls"])
    yield equals("records of children's in the file", streams.total(), 0)
    yield equals("damaged, doubled and missing lines", file.faults, 0)
    yield equals("attempts in the file", len({one.attempt for one in file.runs}), 1)
    yield equals("comparisons without a fate in stats()", unaccounted(facts["stats"]), 0)


def _beside_what_hangs(facts: dict[str, Any]) -> Iterator[Figure]:
    yield equals("beside a sink that never returns: children that hung", facts["hung"], 0)
    yield at_most("beside a sink that never returns: os.fork took", facts["seconds"], _LONGEST_FORK, "s")
