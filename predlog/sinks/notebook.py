"""What a console shows in a notebook: one table that is updated in place, below the cell that compares."""

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final

from predlog._runtime import kernel
from predlog._runtime.failure import own_failure
from predlog._runtime.fork import ForkSafeLock
from predlog.records import html
from predlog.records.schema import Event
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
    thread: int = field(default_factory=threading.get_ident)

    def is_begun(self, cell: int, *, is_bound: bool) -> bool:
        """Return whether a thread that compares needs no other: one that is bound stays where it has begun."""
        return not self.is_gone and (self.cell == cell or (is_bound and self.thread == threading.get_ident()))


class Notebook:
    """The newest step of each stream as one table, below the open findings.

    The thread that compares calls `begin`, so that the table is below the cell that compares. The sink's thread calls
    `show` and `redraw`. When the cell has ended, its table is complete.

    Args:
        names: The rows of a sample.
        note: A line below the first heading of a stream whose inputs are not known.
        plain: Returns findings and comparisons as text, for a front end that shows no HTML.
    """

    def __init__(self, names: Sequence[str], note: str, plain: Callable[[Sequence[Event]], str]) -> None:
        # Whether whoever compares calls `begin`; if not, the table is below the cell that runs when an event comes.
        self._is_led = False
        self._catch_up: Callable[[], object] = self.redraw
        self._unwatch: Callable[[], None] = lambda: None
        self._names = names
        self._note = note
        self._plain = plain
        self._place: _Place | None = None
        self._beginning = ForkSafeLock(inner=True)
        self._cell: int | None = None
        self._title = "predlog"
        self._newest: dict[str, list[tuple[Event, SimpleNamespace]]] = {}
        self._colours: dict[str, str] = {}
        self._findings: dict[tuple[Any, ...], Event] = {}
        self._lines: list[str] = []
        self._is_stale = False
        self._shown_at = -INTERVAL

    def lead(self, catch_up: Callable[[], object]) -> None:
        """Note that whoever compares calls `begin`, and what waits for all that is on its way to the sink."""
        self._is_led, self._catch_up = True, catch_up

    def begin(self) -> None:
        """Begin a table below the cell that runs, unless it has one; never raise.

        A thread that cells have started begins one with its first call, and stays there while other cells run.
        """
        self._follow(is_bound=not kernel.runs_cells())

    def show(self, event: Event, *, is_last: bool) -> None:
        """Take an event, and show it at once if it is the last of a pair, and the last update is not too new."""
        if not self._is_led:
            self._follow(is_bound=False)
        place = self._place
        if place is not None and place.cell != self._cell:
            self._cell = place.cell
            self._newest.clear()
            self._lines.clear()
            for topic in [topic for topic, one in self._findings.items() if one["level"] == "info"]:
                del self._findings[topic]
        self._is_stale |= self._take(event)
        if is_last and time.monotonic() - self._shown_at >= INTERVAL:
            self.redraw()

    def redraw(self) -> None:
        """Show what has changed since the last update."""
        if not self._is_stale or (shell := kernel.shell()) is None:
            return
        # First, because another thread may begin a table meanwhile, which is stale again.
        self._is_stale = False
        try:
            place = self._place or self._begin(shell, kernel.cell(shell), is_bound=False)
            self._shown_at = time.monotonic()
            place.content = self._drawn()
            kernel.show(shell, place.content, place.name, is_new=False)
        except BaseException:
            self._is_stale = True
            raise

    def _follow(self, *, is_bound: bool) -> None:
        shell, place = kernel.shell(), self._place
        if shell is None or (place is not None and place.is_begun(kernel.cell(shell), is_bound=is_bound)):
            return
        try:
            self._begin(shell, kernel.cell(shell), is_bound=is_bound)
        except own_failure(Exception, shell):
            self._is_stale = True  # the sink's thread meets it, too, and what that meets is reported

    def _begin(self, shell: Any, cell: int, *, is_bound: bool) -> _Place:
        with self._beginning.lock:
            before = self._place
            if before is not None and before.is_begun(cell, is_bound=is_bound):
                return before
            is_again = before is not None and before.cell == cell
            place = _Place(uuid.uuid4().hex, cell, before.content if before is not None and is_again else None)
            kernel.show(shell, place.content or _WAITING, place.name, is_new=True)
            self._place = place
            if is_again:
                self._is_stale = True
            else:
                kernel.at_end_of_cell(shell, self._end)
                if kernel.runs_cells():
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
            self._catch_up()
            self._unwatch()
            place = self._place
            if shell is None or place is None or place.content is None:
                return
            if place.is_gone:
                self._begin(shell, place.cell, is_bound=False)
            else:
                kernel.show(shell, place.content, place.name, is_new=False)
        except own_failure(Exception, shell):
            self._is_stale = True  # as above

    def _take(self, event: Event) -> bool:
        """Remember what is shown of an event; return whether that is anything."""
        match event["event"]:
            case "predlog.comparison":
                self._add(event)
            case "predlog.finding":
                where = (event[key] for key in ("rank", "stream", "code", "codebook"))
                topic = *where, str(event["evidence"].get("codebooks"))
                self._findings[topic] = event
                if len(self._findings) > _MOST_REMEMBERED:
                    del self._findings[next(iter(self._findings))]
            case "predlog.run" if event["stats"] is None:
                self._title = run_title(event)
                # In another attempt, what was wrong may be fixed. This line may also come late, if showing it failed.
                for stream in [name for name, ones in self._newest.items() if _attempt(ones[0][0]) != _attempt(event)]:
                    del self._newest[stream]
                for topic in [topic for topic, one in self._findings.items() if _attempt(one) != _attempt(event)]:
                    del self._findings[topic]
            case "predlog.gap":
                self._lines = [*self._lines, gap_text(event)][-_MOST_LINES:]
            case _:
                return False
        return True

    def _add(self, event: Event) -> None:
        record = _record(event)
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
            *(html.finding(_record(one)) for one in found[:_MOST_FINDINGS]),
            *map(html.remark, more),
            html.comparisons(
                [record for _, record in shown], self._names, errors=errors, note=self._note, colours=self._colours
            ),
        ]
        plain = [self._title, *more, self._plain([*found[:_MOST_FINDINGS], *(event for event, _ in shown)])]
        return {"text/html": f"<div>{''.join(parts)}</div>", "text/plain": "\n".join(plain)}


def _attempt(event: Event) -> tuple[Any, ...]:
    return event["run"], event.get("recorder"), event["attempt"]


def _record(event: Event) -> SimpleNamespace:
    """Return an event as a record; one of a host's own chain may lack keys that nobody shows, and fits no schema."""
    tokens = [SimpleNamespace(**one) for one in event.get("tokens", ())]
    absent = dict.fromkeys(("loss", "sample_id", "missing_ids", "missing_rows"))
    return SimpleNamespace(**{**absent, **event, "tokens": tokens})


def _left_out(many: int, what: str) -> list[str]:
    return [f"… {many} more {what} in the file"] if many > 0 else []
