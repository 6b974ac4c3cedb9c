"""What a console shows in a notebook: one table that is updated in place, below the cell that compares."""

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from predlog._runtime import kernel
from predlog._runtime.failure import own_failure
from predlog._runtime.fork import ForkSafeLock
from predlog.records import codec, html
from predlog.records.schema import Event, Record
from predlog.sinks.terminal.drawn import gap_text, run_title

# Seconds between two updates: servers drop what a kernel shows beyond a megabyte per second.
INTERVAL: Final = 0.25
# What a table has at most: streams, samples with their codebooks, findings, lines about missing comparisons.
_MOST_STREAMS, _MOST_COMPARISONS, _MOST_FINDINGS, _MOST_LINES = 8, 48, 8, 3
_MOST_REMEMBERED = 256
_ORDER: Final = {"error": 0, "warning": 1, "info": 2}
_WAIT: Final = "predlog: the first comparison of this cell is on its way"
_WAITING: Final = {"text/html": html.remark(_WAIT), "text/plain": _WAIT}


@dataclass(eq=False)
class _Place:
    """A table that was begun: its name, below which cell, what it shows, and whether it was cleared away."""

    name: str
    cell: int
    content: dict[str, str] | None = None
    is_gone: bool = False


class Notebook:
    """The newest step of each stream as one table, below the open findings.

    The thread that runs cells calls `begin`, so that a table is below the cell that compares. The sink's thread calls
    `show` and `redraw`. When the cell has ended, its table is complete: `catch_up` waits for what is on its way to the
    sink.

    Args:
        names: The rows of a sample.
        note: What is said of a stream whose inputs are not known.
        plain: Returns findings and comparisons as text, for a front end that shows no HTML.
    """

    def __init__(self, names: Sequence[str], note: str, plain: Callable[[Sequence[Event]], str]) -> None:
        self.catch_up: Callable[[], object] = self.redraw
        self._unwatch: Callable[[], None] = lambda: None
        self._names = names
        self._note = note
        self._plain = plain
        self._place: _Place | None = None
        self._beginning = ForkSafeLock(inner=True)
        self._cell: int | None = None
        self._title = "predlog"
        self._newest: dict[str, list[tuple[Event, Record]]] = {}
        self._colours: dict[str, str] = {}
        self._findings: dict[tuple[Any, ...], Event] = {}
        self._lines: list[str] = []
        self._is_stale = False
        self._shown_at = -INTERVAL

    def begin(self) -> None:
        """Begin a table below the cell that runs, unless it has one. Another thread moves none. It never raises."""
        shell, place = kernel.shell(), self._place
        if shell is None or (place is not None and _is_begun(place, kernel.cell(shell))):
            return
        try:
            self._begin(shell, kernel.cell(shell))
        except own_failure(Exception, shell):
            self._is_stale = True  # the sink's thread meets it, too, and what that meets is reported

    def show(self, event: Event, *, is_last: bool) -> None:
        """Take an event, and show it at once if it is the last of a pair, and the last update is not too new."""
        if kernel.runs_cells():
            self.begin()
        place = self._place
        if place is not None and place.cell != self._cell:
            self._cell = place.cell
            self._newest.clear()
            self._lines.clear()
            for topic in [topic for topic, one in self._findings.items() if one["level"] == "info"]:
                del self._findings[topic]
        self._take(event)
        self._is_stale = True
        if is_last and time.monotonic() - self._shown_at >= INTERVAL:
            self.redraw()

    def redraw(self) -> None:
        """Show what has changed since the last update."""
        if not self._is_stale or (shell := kernel.shell()) is None:
            return
        place = self._place or self._begin(shell, kernel.cell(shell))
        self._shown_at = time.monotonic()
        place.content = self._drawn()
        kernel.show(shell, place.content, place.name, is_new=False)
        self._is_stale = False

    def _begin(self, shell: Any, cell: int) -> _Place:
        with self._beginning.lock:
            before = self._place
            if before is not None and _is_begun(before, cell):
                return before
            is_cleared = before is not None and before.cell == cell
            place = _Place(uuid.uuid4().hex, cell, before.content if before is not None and is_cleared else None)
            kernel.show(shell, place.content or _WAITING, place.name, is_new=True)
            self._place = place
            if not is_cleared:
                kernel.at_end_of_cell(shell, self._end)
                self._unwatch = kernel.watch_clearing(shell, self._note_cleared)
            return place

    def _note_cleared(self) -> None:
        if self._place is not None:
            self._place.is_gone = True

    def _end(self) -> None:
        """Complete the table of a cell that has ended.

        It is shown once more by the thread that runs cells: programs that run a notebook without anybody who watches
        may take nothing else for this cell's.
        """
        shell = kernel.shell()
        try:
            self.catch_up()
            self._unwatch()
            place = self._place
            if shell is None or place is None or place.content is None:
                return
            if place.is_gone:
                self._begin(shell, place.cell)
            else:
                kernel.show(shell, place.content, place.name, is_new=False)
        except own_failure(Exception, shell):
            self._is_stale = True  # as above

    def _take(self, event: Event) -> None:
        match event["event"]:
            case "predlog.comparison":
                self._add(event)
            case "predlog.finding":
                where = (event[key] for key in ("rank", "stream", "code", "codebook"))
                topic = *where, str(event["evidence"].get("codebooks"))
                self._findings[topic] = event
                if len(self._findings) > _MOST_REMEMBERED:
                    del self._findings[next(iter(self._findings))]
            case "predlog.run" if event["stats"] is None:  # a new attempt: what was wrong may be fixed
                self._title = run_title(event)
                self._newest.clear()
                self._findings.clear()
            case "predlog.gap":
                self._lines = [*self._lines, gap_text(event)][-_MOST_LINES:]

    def _add(self, event: Event) -> None:
        record = codec.from_event(event)  # raises if a processor has put something else there
        stream = event["stream"]
        if len(self._colours) < len(html.STREAMS):
            self._colours.setdefault(stream, html.STREAMS[len(self._colours)])
        ones = self._newest.get(stream)
        if ones is not None and ones[0][0]["step"] == event["step"]:
            ones.append((event, record))
            return
        self._newest[stream] = [(event, record)]
        if len(self._newest) > _MOST_STREAMS:
            del self._newest[min(self._newest, key=lambda name: self._newest[name][0][0]["timestamp"])]

    def _drawn(self) -> dict[str, str]:
        """Return all that is shown, as HTML and as text."""
        every = [both for ones in self._newest.values() for both in ones]
        shown = every[:_MOST_COMPARISONS]
        found = sorted(self._findings.values(), key=lambda one: _ORDER.get(one["level"], 1))
        errors: dict[str, list[str]] = {}
        for one in found:
            if one["level"] == "error" and one["code"] not in (codes := errors.setdefault(one["stream"], [])):
                codes.append(one["code"])
        more = [
            *self._lines,
            *_left_out(len(found) - _MOST_FINDINGS, "findings"),
            *_left_out(len(every) - len(shown), "comparisons"),
        ]
        parts = [
            html.remark(self._title),
            *(html.finding(codec.from_event(one)) for one in found[:_MOST_FINDINGS]),
            *map(html.remark, more),
            html.comparisons(
                [record for _, record in shown], self._names, errors=errors, note=self._note, colours=self._colours
            ),
        ]
        plain = [self._title, *more, self._plain([*found[:_MOST_FINDINGS], *(event for event, _ in shown)])]
        return {"text/html": f"<div>{''.join(parts)}</div>", "text/plain": "\n".join(plain)}


def _is_begun(place: _Place, cell: int) -> bool:
    return not place.is_gone and (place.cell == cell or not kernel.runs_cells())


def _left_out(many: int, what: str) -> list[str]:
    return [f"… {many} more {what} in the file"] if many > 0 else []
