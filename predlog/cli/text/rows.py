"""One row per run → aligned columns; a path that is too long loses its beginning, as its end tells runs apart."""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.style import Style

from predlog.cli.text.paper import Paper
from predlog.sinks.terminal.style import HEADING, NAME, padded

Cell = tuple[str, Style]
# Cells of a name, and of the last column, below which columns are not worth having; and between two columns.
_NARROWEST, _GAP = 12, "  "
# Words are to the left of their columns, and numbers to the right.
_WORDS = frozenset({"state"})


def add_rows(
    paper: Paper,
    names: Sequence[str],
    titles: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    short: tuple[str, Sequence[str]] | None = None,
) -> bool:
    """Add a title, and a row for each name, and return whether there is room: nothing is added if there isn't.

    The last column is of words, and cut if need be. `short` has a heading and shorter names, for where the names have
    no room.
    """
    *numbers, last = titles
    widths = [max(map(cell_len, [title, *(cell for cell, _ in column)])) for title, column in _columns(numbers, rows)]
    room = paper.width - sum(widths) - len(_GAP) * (len(widths) + 1)
    wanted = max(map(cell_len, [last, *(row[-1][0] for row in rows)]))
    most = max(room - wanted, room // 2)
    heading = ""
    if short is not None and max(map(cell_len, names)) > room - wanted:
        heading, names = short
    longest = max(map(cell_len, [heading, *names]))
    width = min(longest, most)
    if room - width < min(_NARROWEST, wanted) or width < min(_NARROWEST, longest):
        return False
    top = [(f"{_GAP}{cell}", NAME) for cell in (*_aligned(numbers, numbers, widths), last)]
    paper.line((padded(heading, width, paper.glyphs.ellipsis), NAME), *top)
    for name, row in zip(names, rows, strict=True):
        cells = _aligned(numbers, [cell for cell, _ in row[:-1]], widths)
        styled = [(f"{_GAP}{cell}", style) for cell, (_, style) in zip(cells, row, strict=False)]
        paper.line((end_of(name, width, paper.glyphs.ellipsis), HEADING), *styled, _GAP, row[-1])
    return True


def _columns(titles: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Sequence[tuple[str, Sequence[Cell]]]:
    return [(title, [row[place] for row in rows]) for place, title in enumerate(titles)]


def _aligned(titles: Sequence[str], cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        cell + " " * (width - cell_len(cell)) if title in _WORDS else " " * (width - cell_len(cell)) + cell
        for title, cell, width in zip(titles, cells, widths, strict=True)
    ]


def end_of(text: str, width: int, ellipsis: str) -> str:
    """Return a text in exactly `width` cells; of a longer one, its end."""
    if cell_len(text) <= width:
        return padded(text, width, ellipsis)
    while cell_len(text) > width - cell_len(ellipsis):
        text = text[1:]
    return padded(f"{ellipsis}{text}", width, ellipsis)
