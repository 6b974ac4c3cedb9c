"""What a terminal shows of predlog's tables: cells by their columns, measured by wcwidth and not by rich."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from wcwidth import wcwidth

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_HEADING = re.compile(r"step (\d+) · ")
_NAMES = ("position", "input", "label", "prediction", "p(label)", "rank")
_NAME = re.compile(rf" ({'|'.join(map(re.escape, _NAMES))}) ")
_NAMES_WIDTH = 12
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|([ntr\\]))")
_BYTES = re.compile("(?:<0x[0-9A-F]{2}>)+")
_RUN = re.compile(r"(.)\1{4,}", re.DOTALL)
_NAMED = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}


def without_colours(text: str) -> str:
    """Take out what may steer the terminal: colours alone."""
    return _COLOUR.sub("", text)


def columns_of(line: str) -> list[str]:
    """Return what is in each column: a letter with its marks, and nothing in the second column of a wide one."""
    columns: list[str] = []
    for letter in line:
        width = wcwidth(letter)
        if width < 1 and columns:
            columns[-1 if columns[-1] else -2] += letter
        else:
            columns += [letter, *[""] * (width - 1)]
    return columns


@dataclass(frozen=True, slots=True)
class Band:
    """A few tokens of one step side by side: for each of their positions the cell of each row."""

    step: int
    cells: dict[int, dict[str, str]]
    is_aligned: bool
    # Places of ticks where something else is, as a mark that joins whatever stands before it.
    spoilt: int


def bands(lines: list[str]) -> Iterator[Band]:
    """Find the bands of all tables in lines without colours."""
    step, rows = -1, dict[str, list[str]]()
    for line in [*lines, ""]:
        named = _NAME.match(line)
        if rows and (named is None or named[1] == "position"):
            yield _band(step, rows)
            rows = {}
        if (heading := _HEADING.match(line)) is not None:
            step = int(heading[1])
        elif named is not None:
            rows[named[1]] = columns_of(line)


def _band(step: int, rows: dict[str, list[str]]) -> Band:
    position = rows["position"]
    text = "".join(position)
    # Each cell begins with the place of its tick.
    starts = [found.start() - 1 for found in re.finditer(r"(?<=\s)\d+", text)]
    dividers = [place for place, letter in enumerate(position) if letter == "│"]
    edges = sorted([*starts, *dividers, len(position)])
    is_aligned = all(
        len(row) == len(position)
        and all(row[place][:1] in {" ", "✓"} for place in starts)
        and all(row[place] == "│" for place in dividers)
        for row in rows.values()
    )
    cells: dict[int, dict[str, str]] = {}
    for start in starts:
        end = edges[edges.index(start) + 1]
        number = int("".join(position[start:end]))
        cells[number] = {name: "".join(row[start:end]) for name, row in rows.items()}
    spoilt = sum(len(row[place]) > 1 for row in rows.values() for place in starts)
    return Band(step, cells, is_aligned, spoilt)


def shows(cell: str, text: str | None, number: int) -> bool:
    """Say whether a cell, less its tick, is the text, or begins it, marked as cut; the number where there is none."""
    shown = cell[1:].rstrip(" ")
    if text is None:
        return shown == str(number)
    if not text:
        return shown == '""'
    whole, is_cut = _told(shown)
    whole, text = (one.replace("␣", " ").replace("◌", "") for one in (whole, _short(text)))
    return text.startswith(whole) if is_cut else text == whole


def _short(text: str) -> str:
    """Return a text with the number of a character in place of five and more, and bytes in brackets."""
    parts, end = [], 0
    for found in _BYTES.finditer(text):
        parts += [_counted(text[end : found.start()]), f"⟨{found[0].replace('<0x', '').replace('>', ' ').rstrip()}⟩"]
        end = found.end()
    return "".join(parts) + _counted(text[end:])


def _counted(text: str) -> str:
    return _RUN.sub(lambda found: f"{found[1]}×{len(found[0])}", text)


def _told(shown: str) -> tuple[str, bool]:
    """Undo the escapes; a cut may go through one."""
    is_cut = shown.endswith("…")
    rest, told = shown.removesuffix("…") if is_cut else shown, ""
    rest = rest.removeprefix("◌")
    while rest:
        if (found := _ESCAPE.match(rest)) is not None:
            digits = found[1] or found[2] or found[3]
            told += chr(int(digits, 16)) if digits else _NAMED[found[4]]
            rest = rest[found.end() :]
        elif rest[0] == "\\":
            return told, is_cut
        else:
            told += " " if rest[0] == "␣" else rest[0]
            rest = rest[1:]
    return told, is_cut
