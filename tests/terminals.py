"""A terminal for pictures: runs a command in one of 80 columns, and draws what it shows as a page."""

import fcntl
import html
import os
import pty
import re
import struct
import termios
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import pyte
from pyte.screens import Char

COLUMNS = 80
# As many lines as a command may write: what has left the screen is not scrolled away.
ROOM = 3000
COLOURS = {
    "default": "#d7dae0", "black": "#3f4451", "red": "#ff7a85", "green": "#8fd174", "brown": "#e5c07b",
    "blue": "#6cb6ff", "magenta": "#d98cf0", "cyan": "#56c8d8", "white": "#d7dae0",
    "brightblack": "#7f8694", "brightred": "#ff9aa2", "brightgreen": "#a9e38f", "brightbrown": "#f2d694",
    "brightblue": "#8fc9ff", "brightmagenta": "#e5a9f7", "brightcyan": "#7fdbe8", "brightwhite": "#ffffff",
}  # fmt: skip
PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #1b1e24; }}
pre {{ margin: 0; padding: 16px 20px; width: max-content; color: {colour};
  font: 15px/1.32 "DejaVu Sans Mono", "Noto Sans Mono CJK SC", "Noto Color Emoji", monospace; }}
</style><pre>{lines}</pre>
"""


def typed(command: Sequence[str | Path], folder: Path, **environment: str) -> str:
    """Run a command in a pseudoterminal, and return what it has written."""
    child, terminal = pty.fork()
    if not child:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
        os.chdir(folder)
        os.execvpe(str(command[0]), list(map(str, command)), {**os.environ, "TERM": "xterm-256color", **environment})
    written = b""
    while more := _read(terminal):
        written += more
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit(f"{command} ended with status {status}:\n{written.decode(errors='replace')[-2000:]}")
    return written.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # on Linux: nobody has the other side open any more
        return b""


def drawn(written: str, begin: str | int = "", end: str = "") -> str:
    """Return a page of what a terminal shows after this: from the first line with `begin` to the last like `end`.

    A number for `begin` means that many steps: a line across the screen is between two steps. `end` is an expression.
    """
    screen = pyte.Screen(COLUMNS, ROOM)
    # pyte knows no dim text, and nothing here blinks: the one is drawn in the place of the other.
    pyte.Stream(screen).feed(re.sub(r"\x1b\[[\d;]*m", _blinking, written))
    texts = [line.rstrip() for line in screen.display]
    if isinstance(begin, int):
        first = [row for row, text in enumerate(texts) if text == "─" * COLUMNS][-begin] + 1
    else:
        first = next(row for row, text in enumerate(texts) if begin in text)
    last = max(row for row, text in enumerate(texts) if text and re.search(end, text))
    lines = ["".join(map(_span, groupby(_cells(screen, row), _style))) for row in range(first, last + 1)]
    return PAGE.format(colour=COLOURS["default"], lines="\n".join(lines))


def _blinking(match: re.Match[str]) -> str:
    return re.sub(r"(?<=[\[;])2(?=[;m])", "5", match[0])


def _cells(screen: pyte.Screen, row: int) -> list[Char]:
    cells = [screen.buffer[row][column] for column in range(COLUMNS)]
    while cells and cells[-1].data == " ":
        cells.pop()
    return cells


def _style(cell: Char) -> str:
    colour = COLOURS.get(cell.fg) or f"#{cell.fg}"
    marks = [f"color: {colour}"] if cell.fg != "default" else []
    if cell.bg != "default":
        marks.append(f"background: {COLOURS.get(cell.bg) or f'#{cell.bg}'}")
    for marked, mark in (
        (cell.bold, "font-weight: bold"), (cell.italics, "font-style: italic"), (cell.blink, "opacity: 0.6"),
        (cell.underscore, "text-decoration: underline"), (cell.reverse, "filter: invert(1)"),
    ):  # fmt: skip
        if marked:
            marks.append(mark)
    return "; ".join(marks)


def _span(styled: tuple[str, object]) -> str:
    style, cells = styled
    text = html.escape("".join(cell.data for cell in cells))  # type: ignore[attr-defined]
    return f'<span style="{style}">{text}</span>' if style else text
