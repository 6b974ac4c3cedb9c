"""Show events to whoever watches the run: tables on a terminal, plain lines in a log or a pipe."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from io import StringIO
from types import MappingProxyType
from typing import IO, Any, Final, Literal, NoReturn

import rich
from rich.console import Console as RichConsole
from rich.console import Group, RenderableType
from rich.segment import Segment, Segments
from rich.style import Style
from rich.text import Text

from predlog._runtime import kernel, line_start, writable
from predlog._runtime.fork import ForkSafeLock
from predlog.errors import SettingError
from predlog.records import codec, html
from predlog.records.schema import Event
from predlog.records.text import encodable, visible
from predlog.sinks.notebook import Notebook
from predlog.sinks.terminal.compact import compact
from predlog.sinks.terminal.drawn import NO_INPUTS, About, Draw, Drawn, gap_text, run_title
from predlog.sinks.terminal.log_lines import log_lines
from predlog.sinks.terminal.style import ERROR, HEADING, NAME, PLAIN, RIGHT, STREAMS, WARNING, glyphs_of
from predlog.sinks.terminal.tables import full

FORMS: Final[Mapping[str, Draw]] = MappingProxyType({"compact": compact, "full": full})
# Of one pair, so many comparisons are printed at once: the check whether the stream accepts text is made for each.
_MOST_TOGETHER = 16
# More codes than predlog has: only a crafted file has them, and each heading would list them all.
_MOST_CODES = 32
# Of so many streams, counted per rank, the open errors are remembered.
_MOST_STREAMS = 1024
# Columns of the text beside a notebook's table.
_PLAIN_WIDTH = 100
# Seconds within which even a slow terminal takes a table.
_PATIENCE = 1.0
# Two recorders may print on the same rich console.
_printing = ForkSafeLock(inner=True)
_STUCK = "is it stopped, or a pipe that nobody reads?"


class Console:
    """Print predlog's events; pass every event on unchanged.

    Without `console` it prints through `rich.get_console()`, the one that a running `rich.progress` bar knows
    about; any other would be overwritten by the bar. A running tqdm bar is cleared and drawn again. `form` is "compact"
    or "full"; a log or a pipe gets lines in either case. If the stream accepts nothing for `patience` seconds,
    TimeoutError is raised; None waits without a limit. In a notebook, without `console`, it prints nothing, and shows
    one table that it updates.

    Raises:
        SettingError: There is no such form.
    """

    def __init__(
        self,
        console: RichConsole | None = None,
        *,
        form: Literal["compact", "full"] = "compact",
        patience: float | None = _PATIENCE,
    ) -> None:
        if form not in FORMS:
            raise SettingError(f"form={form!r} must be {' or '.join(map(repr, FORMS))}")
        self._console = console
        self._form = form
        # Events that were announced, and those of them that were printed beside another one.
        self._coming: Sequence[Event] = ()
        self._ahead: Sequence[Event] = ()
        self._last: Event | None = None
        self._step: int | None = None
        self._errors: dict[tuple[int, str], set[str]] = {}
        # Of the attempts whose beginning was seen, per rank, the streams whose first table was shown.
        self._headed: dict[int, set[str]] = {}
        self._colours: dict[str, Style] = {}
        self._most = self._patience = patience
        self.notebook: Notebook | None = None
        if console is None and kernel.shell() is not None:
            self.notebook = Notebook(html.FULL if form == "full" else html.COMPACT, NO_INPUTS, _plain)

    def __call__(self, _logger: Any, _name: str, event: Event) -> Event:
        """Print the event, if it is one that predlog shows."""
        if codec.is_ours(event):
            self.remember(event)
            if self.notebook is not None and kernel.shell() is not None:
                self.notebook.show(event, is_last=not any(one is event for one in self._coming[:-1]))
            elif any(one is event for one in self._ahead):  # it was printed beside the one before
                self._ahead = [one for one in self._ahead if one is not event]
            else:
                console = self._console or rich.get_console()
                together = self._together(event, console)
                if drawn := self._draw(together, console):
                    self.show(drawn, console)
                self._ahead, self._last = together[1:], together[-1]
                if event["event"] == "predlog.comparison":
                    self._step = event["step"]
        return event

    def flush(self) -> None:
        """Show in a notebook what has changed since its last update; there is nothing else to wait for."""
        if self.notebook is not None:
            self.notebook.redraw()

    close = flush

    def expect(self, events: Sequence[Event]) -> None:
        """Note which events will come next, all comparisons of one pair, so that they can be printed together.

        The first that comes is printed with those after it; each must be passed as well, and is the same object.
        """
        self._coming, self._ahead = events, ()

    def _together(self, event: Event, console: RichConsole) -> Sequence[Event]:
        """Return an event, and those that are printed with it; full tables need no neighbour."""
        if self._form == "compact" or not _is_screen(console):
            for place, one in enumerate(self._coming):
                if one is event:
                    return self._coming[place : place + _MOST_TOGETHER]
        return (event,)

    def show(self, drawn: RenderableType, console: RichConsole) -> None:
        """Print something, when the stream accepts it, and leave the bars around it whole."""
        self._wait(console.file)
        with _bars_aside(console):
            if not console.is_terminal and line_start.is_open(console.file):
                drawn = Group(Segments([Segment.line()]), drawn)
            _print(console, drawn)

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

    def _draw(self, together: Sequence[Event], console: RichConsole) -> RenderableType | None:
        event = together[0]
        match event["event"]:
            case "predlog.comparison":
                return self._comparisons(together, console)
            case "predlog.finding":
                return _finding(event, console)
            case "predlog.run" if event["stats"] is None:
                return one_line(run_title(event), NAME, console)
            case "predlog.gap":
                return one_line(gap_text(event), WARNING, console)
        return None

    def _comparisons(self, together: Sequence[Event], console: RichConsole) -> RenderableType:
        first = together[0]
        about = About(
            errors=sorted(self._errors.get((first["rank"], first["stream"]), ())),
            note=next(filter(None, map(self._note, together)), ""),
            colour=self._colour(first["stream"]),
            last=self._last,
            is_new_step=self._step not in {None, first["step"]},
        )
        return Drawn(FORMS[self._form] if _is_screen(console) else log_lines, together, about)

    def _colour(self, stream: str) -> Style:
        """Return the colour of a stream: the next that is free, as long as there is one."""
        if stream not in self._colours and len(self._colours) < len(STREAMS):
            self._colours[stream] = STREAMS[len(self._colours)]
        return self._colours.get(stream, HEADING)

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


def _plain(events: Sequence[Event]) -> str:
    return drawn(events, (), width=_PLAIN_WIDTH, encoding="utf-8")


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


def _finding(event: Event, console: RichConsole) -> RenderableType:
    glyphs = glyphs_of(console.options)
    sign, style = {
        "error": (glyphs.error, ERROR),
        "warning": (glyphs.warning, WARNING),
    }.get(event["level"], (glyphs.right, RIGHT))
    more = f" More: {event['help']}" if event["help"] and event["level"] != "info" else ""
    text = f"{event['message']}{more}"
    if not _is_screen(console):
        return one_line(f"predlog step={event['step']} {sign} {event['code']}: {text}", PLAIN, console)
    shown = visible(f"{sign} predlog {event['code']}, step {event['step']}: {text}", " ")
    # Wrapped between words, so that a command can be copied in one piece.
    return Group(Text(encodable(shown, console.encoding), style))


def one_line(text: str, style: Style, console: RichConsole) -> RenderableType:
    """Return one line."""
    return Segments([Segment(encodable(visible(text, " "), console.encoding), style), Segment.line()])


def _bars_aside(console: RichConsole) -> AbstractContextManager[Any]:
    """Clear tqdm's bars, and draw them again after that; in a log, only keep them from writing meanwhile."""
    # A program that shows a tqdm bar has imported tqdm; for any other, the import would cost time. In a file there is
    # nothing to clear, and the blanks that clear a bar would precede our line.
    tqdm = sys.modules.get("tqdm")
    if tqdm is None:
        return nullcontext()
    if not console.is_terminal:
        return line_start.bars_quiet()
    aside: AbstractContextManager[Any] = tqdm.tqdm.external_write_mode(file=console.file)
    return aside
