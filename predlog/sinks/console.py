"""Show events to whoever watches the run: tables on a terminal, plain lines in a log or a pipe."""

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn

import rich
from rich.console import Console as RichConsole
from rich.console import RenderableType
from rich.segment import Segment, Segments
from rich.style import Style

from predlog import records
from predlog.records import Event
from predlog.sinks.table import PlainLines, TokenTable
from predlog.sinks.visible import encodable, visible

_QUIET = Style.parse("dim")
_WARNING = Style.parse("yellow")


class Console:
    """Print predlog's events; pass every event on unchanged.

    Without `console` it prints through `rich.get_console()`, the one that a running `rich.progress` bar knows
    about; any other would be overwritten by the bar. A running tqdm bar is cleared and drawn again.
    """

    def __init__(self, console: RichConsole | None = None) -> None:
        self._console = console

    def __call__(self, _logger: Any, _name: str, event: Event) -> Event:
        """Print the event, if it is one that predlog shows."""
        if records.is_ours(event):
            console = self._console or rich.get_console()
            if drawn := _drawn(event, console):
                with _tqdm_aside(console):
                    _print(console, drawn)
        return event


def _print(console: RichConsole, drawn: RenderableType) -> None:
    """Print, and leave console and process as they were where that fails.

    Left to itself, rich points the standard output of the whole process at /dev/null when a pipe is broken, and
    prints what failed again with the next table.
    """
    console.on_broken_pipe = _raise  # type: ignore[method-assign]
    try:
        console.print(drawn, end="", crop=False)
    except BaseException:
        console.begin_capture()
        console.end_capture()
        raise
    finally:
        del console.on_broken_pipe


def _raise() -> NoReturn:
    raise  # noqa: PLE0704 - rich calls this while it handles the error


def _drawn(event: Event, console: RichConsole) -> RenderableType | None:
    match event["event"]:
        case "predlog.comparison":
            is_screen = console.is_terminal and not console.is_dumb_terminal
            return TokenTable(event) if is_screen else PlainLines(event)
        case "predlog.run":
            return _line(f"predlog {event['versions']['predlog']}: {_destination(event)}", _QUIET, console)
        case "predlog.gap":
            steps = f"steps {event['first_step']} to {event['last_step']}"
            return _line(
                f"predlog: {event['count']} comparisons missing, {steps}: {event['reason']}",
                _WARNING,
                console,
            )
    return None


def _destination(event: Event) -> str:
    directory = event["settings"]["directory"]
    number = event["settings"]["every"]
    every = "every step" if number == 1 else f"every {number} steps"
    if directory is None:
        return every
    return f"{every}, to {directory}, attempt {event['attempt']}"


def _line(text: str, style: Style, console: RichConsole) -> RenderableType:
    return Segments([Segment(encodable(visible(text, " "), console.encoding), style), Segment.line()])


def _tqdm_aside(console: RichConsole) -> AbstractContextManager[Any]:
    # Whoever shows a tqdm bar has imported it; importing it for those who don't would cost them. In a file there is
    # nothing to clear, and the blanks that clear a bar would stand before our line.
    tqdm = sys.modules.get("tqdm")
    if tqdm is None or not console.is_terminal:
        return nullcontext()
    aside: AbstractContextManager[Any] = tqdm.tqdm.external_write_mode(file=console.file)
    return aside
