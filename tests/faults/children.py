"""Programs of an experiment in fresh processes: what they tell, when and how they end, and that they do."""

import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from signal import SIGKILL, SIGUSR1
from typing import IO, Any, TypeVar

from tests import ROOT

Case = TypeVar("Case")
Outcome = TypeVar("Outcome")

_LAUNCHERS = (
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_", "TORCHELASTIC_", "SLURM_", "OMPI_", "PREDLOG_", "FORCE_COLOR",
    "NO_COLOR", "COLUMNS",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class End:
    """How a process ended: its exit code, negative for a signal, and when; one that hung was killed."""

    code: int
    at: float
    is_hung: bool


class Child:
    """A running program; `told` and `end` wait for it no longer than they are allowed to."""

    def __init__(self, process: subprocess.Popen[bytes], pipe: int, errors: IO[bytes]) -> None:
        self.process = process
        self._pipe = pipe
        self._errors = errors
        self._unread = b""
        self._end: End | None = None

    def told(self, what: str, within: float) -> dict[str, Any] | None:
        """Wait until the program tells this, passing over what else it tells; None where it does not in time."""
        deadline = time.monotonic() + within
        while (line := self._line(deadline)) is not None:
            message: dict[str, Any] = json.loads(line)
            if message["what"] == what:
                return message
        return None

    def go_on(self) -> None:
        """Say the word that `telling.wait_for_word` waits for."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(b"!")
            self.process.stdin.flush()

    def has_ended(self, within: float) -> bool:
        """Wait for the program's end no longer than this."""
        return self._end is not None or _has_ended(self.process.pid, within)

    def end(self, within: float) -> End:
        """Wait for the program's end; kill it, and all that it started, where it takes longer."""
        if self._end is None:
            is_hung = not _has_ended(self.process.pid, within)
            at = time.monotonic()
            # A program that hangs may be waited for by others that it started, and some outlive it.
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, SIGKILL)
            self._end = End(self.process.wait(), at, is_hung)
        return self._end

    def stderr(self) -> str:
        """Return all that it wrote to stderr so far."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def stuck(self) -> str:
        """Ask a program that hangs, and all that it started, where; and end it."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, SIGUSR1)
        self.end(1)
        return stuck_at(self.stderr())

    def _line(self, deadline: float) -> bytes | None:
        while b"\n" not in self._unread:
            if not _is_readable(self._pipe, deadline - time.monotonic()):
                return None
            if not (chunk := os.read(self._pipe, 1 << 16)):
                return None
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return line


@contextmanager
def started(
    program: str,
    *,
    stdout: int | None = subprocess.DEVNULL,
    through: Sequence[str] = (),
    environment: dict[str, str] | None = None,
    **arguments: Any,
) -> Iterator[Child]:
    """Start a program of `tests.faults.programs`, behind the command `through`; killed at the end if it still runs."""
    reader, writer = os.pipe()
    errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed below; a pipe would have to be drained
    command = [*through, sys.executable, "-m", f"tests.faults.programs.{program}", json.dumps(arguments), str(writer)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=stdout, stderr=errors, pass_fds=[writer], cwd=ROOT,
        env={**clean_environment(), **(environment or {})}, start_new_session=True,
    )  # fmt: skip
    os.close(writer)
    child = Child(process, reader, errors)
    try:
        yield child
    finally:
        child.end(0)
        os.close(reader)
        errors.close()
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()


def stuck_at(errors: str) -> str:
    """Return the places in which processes hung, and how many in each, from what they wrote when they were asked."""
    places = re.findall(r'most recent call first\):\n  File ".*?([^/"]+/[^/"]+)", line (\d+) in (\S+)', errors)
    return "; ".join(f"{many} in {file}:{line} {name}" for (file, line, name), many in Counter(places).items())


def clean_environment() -> dict[str, str]:
    """Return the environment without a launcher's or a user's settings; one thread, as others share the machine."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_LAUNCHERS)}
    return {**kept, "OMP_NUM_THREADS": "1"}


def side_by_side(do: Callable[[Case], Outcome], cases: Iterable[Case], many: int = 3) -> Iterator[Outcome]:
    """Do some cases at once, most of which wait; give their outcomes in order."""
    with ThreadPoolExecutor(many) as pool:
        yield from pool.map(do, cases)


def _has_ended(process: int, within: float) -> bool:
    handle = os.pidfd_open(process)
    try:
        return _is_readable(handle, within)
    finally:
        os.close(handle)


def _is_readable(file: int, within: float) -> bool:
    poll = select.poll()
    poll.register(file, select.POLLIN)
    return bool(poll.poll(max(within, 0) * 1000))
