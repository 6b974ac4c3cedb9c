"""What every form draws: comparisons of one pair, and what the console knows of their stream."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.style import Style

from predlog.records.schema import Event
from predlog.sinks.terminal.style import PLAIN

# In the first heading of a stream.
NO_INPUTS = "inputs not known: the alignment is not checked; pass inputs="


class About(NamedTuple):
    """What the console knows when it draws: the stream's open errors, a note, its colour; and what was drawn last."""

    errors: Sequence[str] = ()
    note: str = ""
    colour: Style = PLAIN
    last: Event | None = None
    is_new_step: bool = False


Draw = Callable[[Sequence[Event], About, ConsoleOptions], Iterator[Segment]]


class Drawn(NamedTuple):
    """Comparisons that are drawn when rich prints them, and has found out its options, which takes time, anyway."""

    draw: Draw
    ones: Sequence[Event]
    about: About = About()

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        """Yield the segments."""
        return self.draw(self.ones, self.about, options)


def walk(ones: Sequence[Event], about: About) -> Iterator[tuple[Event, Event | None, About]]:
    """Yield each comparison, the event drawn before it, and what is to be said of it: the note only once."""
    before = about.last
    for one in ones:
        yield one, before, about
        before, about = one, about._replace(note="")


def continues(event: Event, last: Event | None) -> bool:
    """Return whether the row above is of the same sample."""
    return (
        last is not None
        and last["event"] == "predlog.comparison"
        and all(event[key] == last[key] for key in ("step", "stream", "sample", "rank"))
        and last["codebook"] is not None
    )


def run_title(event: Event) -> str:
    """Return what the first line of an attempt says: predlog's version, what is recorded, and where."""
    return f"predlog {event['versions'].get('predlog', 'of an unknown version')}: {_destination(event)}"


def gap_text(event: Event) -> str:
    """Return what is missing, and why."""
    steps = f"steps {event['first_step']} to {event['last_step']}"
    return f"predlog: {event['count']} comparisons missing, {steps}: {event['reason']}"


def _destination(event: Event) -> str:
    """Return what is recorded and where; the schema promises no setting, and a processor may have removed one."""
    number, directory = (event["settings"].get(name) for name in ("every", "directory"))
    every = "" if number is None else "every step" if number == 1 else f"every {number} steps"
    if directory is None and every:
        return every
    return ", ".join(filter(None, (every, directory and f"to {directory}", f"attempt {event['attempt']}")))
