"""Show events to whoever watches the run: tables on a terminal, plain lines in a log or a pipe."""

import sys
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from io import StringIO
from typing import IO, Any, NoReturn

import rich
from rich.console import Console as RichConsole
from rich.console import Group, RenderableType
from rich.segment import Segment, Segments
from rich.style import Style
from rich.text import Text

from predlog._runtime import writable
from predlog._runtime.fork import ForkSafeLock
from predlog.records import codec
from predlog.records.schema import Event
from predlog.records.text import encodable, visible
from predlog.sinks.terminal.style import ERROR, NAME, PLAIN, RIGHT, WARNING, glyphs_of
from predlog.sinks.terminal.tables import NO_INPUTS, Draw, Drawn, codebook_row, plain_lines, token_table

# More codes than predlog has: only a crafted file has them, and each heading would list them all.
_MOST_CODES = 32
# Of so many streams, counted per rank, the open errors are remembered.
_MOST_STREAMS = 1024
# Seconds within which even a slow terminal takes a table.
_PATIENCE = 1.0
# Two recorders may print on the same rich console.
_printing = ForkSafeLock(inner=True)
_STUCK = "is it stopped, or a pipe that nobody reads?"


class Console:
    """Print predlog's events; pass every event on unchanged.

    Without `console` it prints through `rich.get_console()`, the one that a running `rich.progress` bar knows
    about; any other would be overwritten by the bar. A running tqdm bar is cleared and drawn again. If the
    stream accepts nothing for `patience` seconds, TimeoutError is raised; None waits without a limit.
    """

    def __init__(self, console: RichConsole | None = None, *, patience: float | None = _PATIENCE) -> None:
        self._console = console
        self._last: Event | None = None
        self._errors: dict[tuple[int, str], set[str]] = {}
        # Of the attempts whose beginning was seen, per rank, the streams whose first table was shown.
        self._headed: dict[int, set[str]] = {}
        self._most = self._patience = patience

    def __call__(self, _logger: Any, _name: str, event: Event) -> Event:
        """Print the event, if it is one that predlog shows."""
        if codec.is_ours(event):
            console = self._console or rich.get_console()
            self.remember(event)
            if drawn := self._draw(event, console):
                self._wait(console.file)
                with _tqdm_aside(console):
                    _print(console, drawn)
            self._last = event
        return event

    def _wait(self, stream: IO[str]) -> None:
        """Wait for a stream that is stuck, and not again before it has accepted something."""
        if self._patience is None:
            return
        patience, self._patience = self._patience, 0.0
        if not writable.wait(stream, patience):
            raise TimeoutError(f"the console has accepted nothing for {self._most:g} s or more: {_STUCK}")
        self._patience = self._most

    def remember(self, event: Event) -> None:
        """Remember which errors are open in a stream.

        The headings of its tables name them, so that ticks under a wrong pair are not taken for success. For an event
        that isn't printed, because it came before the first that is, nothing else is needed.
        """
        if event["event"] == "predlog.run" and event["stats"] is None:
            for key in [key for key in self._errors if key[0] == event["rank"]]:
                del self._errors[key]  # a new attempt: what was wrong in the last one may be fixed
            if len(self._headed) < _MOST_STREAMS:
                self._headed[event["rank"]] = set()
        elif event["event"] == "predlog.finding" and len(self._errors) < _MOST_STREAMS:
            errors = self._errors.setdefault((event["rank"], event["stream"]), set())
            if event["level"] != "error":
                errors.discard(event["code"])
            elif len(errors) < _MOST_CODES:
                errors.add(event["code"])

    def _draw(self, event: Event, console: RichConsole) -> RenderableType | None:
        match event["event"]:
            case "predlog.comparison":
                return self._comparison(event, console)
            case "predlog.finding":
                return _finding(event, console)
            case "predlog.run" if event["stats"] is not None:
                return _closing(event["stats"], console)
            case "predlog.run":
                version = event["versions"].get("predlog", "of an unknown version")
                return _line(f"predlog {version}: {_destination(event)}", NAME, console)
            case "predlog.gap":
                steps = f"steps {event['first_step']} to {event['last_step']}"
                missing = f"{event['count']} comparisons missing, {steps}: {event['reason']}"
                return _line(f"predlog: {missing}", WARNING, console)
        return None

    def _comparison(self, event: Event, console: RichConsole) -> RenderableType:
        errors = sorted(self._errors.get((event["rank"], event["stream"]), ()))
        note = self._note(event)
        draw: Draw = partial(plain_lines, note=note)
        if _is_screen(console):
            draw = partial(token_table, note=note)
            if event["codebook"] is not None:
                draw = partial(codebook_row, has_heading=not _continues(event, self._last), note=note)
        return Drawn(draw, event, errors)

    def _note(self, event: Event) -> str:
        """Return what the first heading of a stream says of its pair: that nobody knows what the model read."""
        headed = self._headed.get(event["rank"])
        if headed is None or event["stream"] in headed or len(headed) >= _MOST_STREAMS or not event["tokens"]:
            return ""
        headed.add(event["stream"])
        return NO_INPUTS if event["tokens"][0]["input"] is None else ""


def drawn(events: Iterable[Event], findings: Iterable[Event], *, width: int, encoding: str) -> str:
    """Return events as a terminal of that width shows them, without colours; headings name the open `findings`."""
    text = _Text(encoding)
    # It is a terminal wherever the program runs: no variable of the environment, and no notebook, changes that.
    console = RichConsole(
        file=text, force_terminal=True, force_jupyter=False, color_system=None, legacy_windows=False, width=width,
        _environ={},
    )  # fmt: skip
    show = Console(console, patience=None)
    for one in findings:
        show.remember(one)
    for one in events:
        show(None, "", one)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


class _Text(StringIO):
    """A text that is to be written to a stream of some encoding."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override] # a StringIO has none
        """The encoding of the stream."""
        return self._encoding


def _print(console: RichConsole, drawn: RenderableType) -> None:
    """Print; if that fails, leave console and process as they were.

    By default, rich redirects the standard output of the whole process to /dev/null when a pipe is broken, and
    prints what failed again with the next table.
    """
    with _printing.lock:
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


def _is_screen(console: RichConsole) -> bool:
    return console.is_terminal and not console.is_dumb_terminal


def _continues(event: Event, last: Event | None) -> bool:
    """Return whether the row above is of the same sample."""
    return (
        last is not None
        and last["event"] == "predlog.comparison"
        and all(event[key] == last[key] for key in ("step", "stream", "sample", "rank"))
        and last["codebook"] is not None
    )


def _finding(event: Event, console: RichConsole) -> RenderableType:
    glyphs = glyphs_of(console.options)
    sign, style = {
        "error": (glyphs.error, ERROR),
        "warning": (glyphs.warning, WARNING),
    }.get(event["level"], (glyphs.right, RIGHT))
    more = f" More: {event['help']}" if event["help"] and event["level"] != "info" else ""
    text = f"{event['message']}{more}"
    if not _is_screen(console):
        return _line(f"predlog step {event['step']} {sign} {event['code']}: {text}", PLAIN, console)
    shown = visible(f"{sign} predlog {event['code']}, step {event['step']}: {text}", " ")
    # Wrapped between words, so that a command can be copied in one piece.
    return Group(Text(encodable(shown, console.encoding), style))


def _destination(event: Event) -> str:
    """Return what is recorded and where; the schema promises no setting, and a processor may have removed one."""
    number, directory = (event["settings"].get(name) for name in ("every", "directory"))
    every = "" if number is None else "every step" if number == 1 else f"every {number} steps"
    if directory is None and every:
        return every
    return ", ".join(filter(None, (every, directory and f"to {directory}", f"attempt {event['attempt']}")))


def lacking(stats: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an attempt's last line counts as missing; if nothing is missing, the line is not shown."""
    return {name: stats[name] for name in ("dropped", "failed", "pending") if stats.get(name)}


def _closing(stats: Mapping[str, Any], console: RichConsole) -> RenderableType | None:
    """Return a line with the number of missing comparisons, if there are any."""
    missing = lacking(stats)
    if not missing:
        return None
    listed = ", ".join(f"{count} {name}" for name, count in missing.items())
    submitted = f"{stats['submitted']} comparisons" if "submitted" in stats else "the comparisons"
    return _line(f"predlog: closed; of {submitted} {listed}", WARNING, console)


def _line(text: str, style: Style, console: RichConsole) -> RenderableType:
    return Segments([Segment(encodable(visible(text, " "), console.encoding), style), Segment.line()])


def _tqdm_aside(console: RichConsole) -> AbstractContextManager[Any]:
    # A program that shows a tqdm bar has imported tqdm; for any other, the import would cost time. In a file there is
    # nothing to clear, and the blanks that clear a bar would precede our line.
    tqdm = sys.modules.get("tqdm")
    if tqdm is None or not console.is_terminal:
        return nullcontext()
    aside: AbstractContextManager[Any] = tqdm.tqdm.external_write_mode(file=console.file)
    return aside
