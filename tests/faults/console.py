"""Whatever stdout is, or becomes, the run goes on, its file is whole, and the process ends as it would have.

The rule: every record is in the file; descriptor 1 stays what it was; predlog's thread lives; the process ends with 0,
within 6 s of its loop, and no lock that a thread of predlog's holds stops a loop with a progress bar.
"""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.faults import stdouts
from tests.faults.accounting import of_sink, unaccounted
from tests.faults.children import Child, End, side_by_side, started
from tests.faults.experiment import Figure, Size, at_least, at_most, equals, told
from tests.faults.readback import contents

CASES = (
    "full pipe", "pipe without reader", "descriptor 1 closed", "sys.stdout closed", "terminal gone", "/dev/full",
    "stdout pointed elsewhere by dup2", "sys.stdout redirected by contextlib",
)  # fmt: skip
_PRINTED = re.compile(r"^predlog step=\d+ stream=text sample=0 .*$", re.MULTILINE)
# Seconds, of a loop that takes three quarters of one: a step that waits for the console's second is seen.
_SLOWER = 0.5


def run(size: Size) -> Iterator[Figure]:
    """Do each case in a process of its own."""
    pairs = 100

    def measured(case: str) -> list[Figure]:
        figures = _beside_a_bar(pairs) if case == "bar" else _recorded(case, pairs)
        return [replace(one, what=f"{case}: {one.what}") for one in figures]

    for figures in side_by_side(measured, ("bar", *CASES)):
        yield from figures


def _recorded(case: str, pairs: int) -> Iterator[Figure]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        printed, elsewhere = folder / "stdout", folder / "elsewhere"
        controller, stdout = None, None
        match case:
            case "full pipe":
                stdout = stack.enter_context(stdouts.full_pipe())
            case "pipe without reader":
                stdout = stack.enter_context(stdouts.pipe_without_reader())
            case "terminal gone":
                controller, stdout = stack.enter_context(stdouts.terminal())
            case "/dev/full":
                stdout = stack.enter_context(stdouts.file("/dev/full"))
            case _:
                stdout = stack.enter_context(stdouts.file(str(printed)))
        through = stdouts.CLOSED if case == "descriptor 1 closed" else ()
        child = stack.enter_context(
            started(
                "console", stdout=stdout, through=through, case=case, pairs=pairs, directory=str(folder / "run"),
                elsewhere=str(elsewhere),
            )
        )  # fmt: skip
        if controller is not None:
            child.told("half", 20)
            os.close(controller)
            child.go_on()
        done = child.told("done", 20)
        yield from _ended(child, done)
        yield equals("pairs in the file", len(contents(folder / "run").comparisons), pairs)
        if done is None:
            return
        yield equals("descriptor 1 is what it was", done["is_same"], 1, f"it is {done['stdout']}")
        yield at_least("threads of predlog's alive after the loop", done["workers"], 1)
        yield equals("the last pair's future resolved", done["is_last_resolved"], 1)
        yield equals("comparisons without a fate in stats()", unaccounted(done["stats"]), 0)
        if case in {"full pipe", "pipe without reader", "/dev/full"}:
            yield equals("pairs printed, as stats() says", of_sink(done["stats"], "Console", "written"), 0)
        if case in {"stdout pointed elsewhere by dup2", "sys.stdout redirected by contextlib"}:
            texts = [done["printed"], *(path.read_text() for path in (printed, elsewhere) if path.exists())]
            yield equals("pairs printed, in both places", sum(len(_PRINTED.findall(text)) for text in texts), pairs)


def _beside_a_bar(steps: int) -> Iterator[Figure]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stdout = stack.enter_context(stdouts.full_pipe())
        # As on a terminal: in a file there is no bar to clear, and its lock is left alone.
        environment = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
        child = stack.enter_context(
            started(
                "bar", stdout=stdout, environment=environment, steps=steps, directory=str(folder / "run"),
                beside=str(folder / "beside"),
            )
        )  # fmt: skip
        without, done = child.told("without", 20), child.told("done", 12)
        yield from _ended(child, done)
        yield equals("steps done in the loop", _steps_of_last_bar(child.stderr()), steps)
        yield equals("steps in the file", len(contents(folder / "run").steps()), steps)
        if without is not None:
            yield told("the loop without a console", without["seconds"], "s")
        if without is not None and done is not None:
            slower = done["seconds"] - without["seconds"]
            yield at_most("the loop was slower by", slower, _SLOWER, "s", f"it took {done['seconds']:.3g} s")


def _steps_of_last_bar(errors: str) -> int:
    bars = re.findall(r"(\d+)/\d+ \[", errors)
    return int(bars[-1]) if bars else 0


def _ended(child: Child, done: dict[str, Any] | None) -> Iterator[Figure]:
    yield equals("loops that came to their end", int(done is not None), 1)
    end: End = child.end(10 if done is not None else 0)
    errors = " ".join(child.stderr().split()[-12:])
    yield equals("exit code", end.code, 0, "" if end.code == 0 else f"hung and was killed: {end.is_hung}; …{errors}")
    if done is not None:
        yield at_most("from the loop's end to the process's", end.at - done["at"], 6, "s")
