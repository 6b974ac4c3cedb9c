"""A program that leaves in one of the ways while pairs are queued, in a process of its own."""

import signal
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.children import Child, End, started
from tests.faults.readback import Contents, contents

_SIGNALS = {"SIGINT": signal.SIGINT, "SIGTERM": signal.SIGTERM, "SIGTERM, handled": signal.SIGTERM}
# Longer than any of them may take.
_HANGS = 15.0


@dataclass(frozen=True)
class Left:
    """What was known when the leaving began, how and when it ended, and what is in the files and on stderr."""

    told: dict[str, Any]
    end: End
    files: Sequence[Contents]
    errors: str

    @property
    def seconds(self) -> float:
        """How long the leaving took."""
        return self.end.at - float(self.told["at"])


def left(how: str, place: str, manner: str, *, before: int, queued: int, recorders: int = 1) -> Left:
    """Record `before` pairs, queue others behind a sink or a processor that behaves in this manner, and leave."""
    with tempfile.TemporaryDirectory() as folder:
        directories = [Path(folder) / f"run{number}" for number in range(recorders)]
        with started(
            "leaving", how=how, place=place, manner=manner, before=before, queued=queued,
            directories=[str(directory) for directory in directories],
        ) as child:  # fmt: skip
            told, end = _let_go(child, how)
            return Left(told, end, [contents(directory) for directory in directories], child.stderr())


def code_without(how: str) -> int:
    """Return the exit code of a program that leaves in this way and knows nothing of predlog."""
    with started("endings", how=how) as child:
        return _let_go(child, how)[1].code


def _let_go(child: Child, how: str) -> tuple[dict[str, Any], End]:
    told = child.told("leaving", 30)
    if told is None:
        raise RuntimeError(f"the program did not come to its end: {child.stderr()[-500:]}")
    if how in _SIGNALS:
        child.process.send_signal(_SIGNALS[how])
    return told, child.end(_HANGS)
