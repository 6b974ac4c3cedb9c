"""How a token is drawn wherever a person reads it: on the console, on the page and in a notebook."""

import unicodedata
from collections.abc import Callable

from predlog.records.text import brief

# Stands for a prediction that is not known, because parts of some ids are missing.
UNKNOWN = "?"
# Terminal cells of a token that stands among others; a wide character takes two.
WIDEST = 12


def token_text(text: str | None, token: int | None, space: str = "␣", times: str = "×", brackets: str = "⟨⟩") -> str:
    """Return a token's text with nothing hidden, runs and bytes shortened, or its id if it has no text."""
    return token_id(token) if text is None else brief(text, space, times, brackets) or '""'


def token_id(token: int | None) -> str:
    """Return an id as text; `nan` without one, because a row with a NaN predicts nothing."""
    return "nan" if token is None else str(token)


def token_cell(text: str | None, token: int | None) -> str:
    """Return a token as it is drawn among others: in at most `WIDEST` cells."""
    return cut(token_text(text, token), WIDEST)


def cells(text: str) -> int:
    """Return how many terminal cells a visible text takes, without the tables of a terminal library."""
    return len(text) if text.isascii() else sum(map(_width, text))


def cut(text: str, width: int, ellipsis: str = "…", measure: Callable[[str], int] = cells) -> str:
    """Return visible text cut to at most `width` cells, the cut marked; wide characters are never halved."""
    if measure(text) <= width:
        return text
    kept, used = [], measure(ellipsis)
    for character in text:
        used += measure(character)
        if used > width:
            break
        kept.append(character)
    return "".join(kept) + ellipsis[: max(width, 0)]


def _width(character: str) -> int:
    if unicodedata.category(character).startswith("M") or "\u1160" <= character <= "\u11ff":
        return 0
    if "\ud7b0" <= character <= "\ud7ff":
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1
