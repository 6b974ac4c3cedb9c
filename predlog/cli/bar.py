"""How far a command is with its reading: a bar on stderr, for whoever waits in front of a terminal."""

import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID
    from typing_extensions import Self  # typing has it from Python 3.11 on

# Seconds that nobody minds.
_PATIENCE = 2.0


class Bar:
    """Show how much has been read, once that takes longer than two seconds, if stderr is a terminal.

    It disappears in the end, so that only the answer is left on the screen.

    Args:
        total: How many bytes there are to read, or, with a `unit`, how many of these; None if that is not known.
        unit: What is counted, in the plural, in place of bytes.
        since: When the waiting began, on the monotonic clock, if that was before.
    """

    def __init__(self, total: int | None = None, unit: str | None = None, since: float | None = None) -> None:
        self._total = total
        self._unit = unit
        self._due = (time.monotonic() if since is None else since) + _PATIENCE
        self._is_seen = sys.stderr is not None and sys.stderr.isatty()
        self._done = 0
        self._shown: tuple[Progress, TaskID] | None = None

    def __enter__(self) -> "Self":
        """Return the bar, which is not shown yet."""
        return self

    def told(self, more: int) -> None:
        """Count what has been read; show it, if it is time."""
        self._done += more
        if self._shown is None and self._is_seen and time.monotonic() >= self._due:
            self._shown = self._show()
        if self._shown is not None:
            progress, task = self._shown
            if self._total is not None and self._done > self._total:
                self._total = progress.tasks[task].total = None  # a file of several attempts is read more than once
            progress.update(task, completed=self._done)

    def __exit__(self, *_: object) -> None:
        """Erase the bar."""
        if self._shown is not None:
            self._shown[0].stop()

    def _show(self) -> "tuple[Progress, TaskID]":
        import_module("predlog._runtime.first_imports")  # before rich is imported
        from rich import console, progress  # noqa: PLC0415 - few wait

        columns: list[ProgressColumn] = [progress.TextColumn("reading"), progress.BarColumn(None)]
        if self._unit is None:
            columns += [progress.DownloadColumn(), progress.TransferSpeedColumn()]
        else:
            columns.append(progress.TextColumn(f"{{task.completed:.0f}} {self._unit}"))
        if self._total is not None:
            columns.append(progress.TimeRemainingColumn())
        bar = progress.Progress(*columns, console=console.Console(stderr=True), transient=True, expand=True)
        task = bar.add_task("reading", total=self._total)
        bar.start()
        return bar, task
