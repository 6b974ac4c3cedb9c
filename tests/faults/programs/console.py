"""Record pairs while stdout is, or becomes, something that nobody would print to, and tell what became of both."""

import contextlib
import io
import os
import sys
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from predlog.recorder.recorder import Recorder
from tests import events
from tests.faults.telling import asked, tell, wait_for_word

PAIR = events.pair(samples=1, length=12, vocabulary=16)


def main(directory: str, case: str, pairs: int, elsewhere: str) -> None:
    """Record half of the pairs, bring the fault about where it is not there yet, and record the others."""
    before = _identity(1)
    recorder = Recorder(directory, every=1, samples=1, score=False)
    _record(recorder, range(pairs // 2))
    printed = io.StringIO()
    with contextlib.ExitStack() as until_the_end:
        if case == "stdout pointed elsewhere by dup2":
            file = os.open(elsewhere, os.O_WRONLY | os.O_CREAT, 0o666)
            os.dup2(file, 1)
            before = _identity(1)
        elif case == "sys.stdout closed":
            sys.stdout.close()
        elif case == "sys.stdout redirected by contextlib":
            until_the_end.enter_context(contextlib.redirect_stdout(printed))
        elif case == "terminal gone":
            tell("half")
            wait_for_word()
            before = _identity(1)  # Linux names one that is gone otherwise
        last = _record(recorder, range(pairs // 2, pairs))
    tell(
        "done", is_same=_identity(1) == before, stdout=_identity(1), is_last_resolved=last is not None and last.done(),
        workers=sum(thread.name.startswith("predlog") for thread in threading.enumerate()), stats=recorder.stats(),
        printed=printed.getvalue(),
    )  # fmt: skip


def _record(recorder: Recorder, steps: range) -> Future[Any] | None:
    """Record some, and wait for what can be waited for: a console that hangs is not."""
    last = None
    for step in steps:
        last = recorder.compare(*PAIR, step)
    recorder.flush(2)
    return last


def _identity(file: int) -> list[Any] | None:
    try:
        status = os.fstat(file)
    except OSError:
        return None
    return [status.st_dev, status.st_ino, str(Path(f"/proc/self/fd/{file}").readlink())]


if __name__ == "__main__":
    main(**asked())
