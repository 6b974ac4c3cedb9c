"""Any text → text that is harmless on a terminal, of a known display width.

Token texts are hostile input: a vocabulary holds escape sequences, bidirectional controls and half characters.
"""

import unicodedata
from functools import lru_cache

from rich.cells import cell_len

_NAMED = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\"}
# Letters and symbols that show nothing: the grapheme joiner, the Hangul fillers and the blank Braille pattern.
_BLANK = "\u034f\u115f\u1160\u3164\uffa0\u2800"


# Enough for a message; of what is longer, nobody reads the rest on a terminal.
_LONGEST = 4096
# Tokens are shorter, and come again.
_REMEMBERED = 64


def visible(text: str, space: str = "␣") -> str:
    r"""Escape each character that is invisible, moves the cursor or changes its neighbour's width.

    A newline reads `\n`, an escape `\x1b`, a right-to-left override `\u202e`, a backslash `\\`, a space as `space`.
    Of a longer text, its first 4096 characters are shown.
    """
    if len(text) <= _REMEMBERED:
        return _known(text, space)
    return _shown(text, space) if len(text) <= _LONGEST else f"{_shown(text[:_LONGEST], space)}…"


def _shown(text: str, space: str) -> str:
    if text.isascii() and text.isprintable():
        return text.replace("\\", "\\\\").replace(" ", space)
    shown = "".join(
        space if character == " " else _escaped(character) if _is_unsafe(character) else character for character in text
    )
    return f"◌{shown}" if shown and _joins(shown[0]) else shown


_known = lru_cache(maxsize=65536)(_shown)


def shorten(text: str, width: int, ellipsis: str = "…") -> str:
    """Cut visible text to at most `width` terminal cells, marking the cut; wide characters are never halved."""
    if cell_len(text) <= width:
        return text
    kept, used = [], cell_len(ellipsis)
    for character in text:
        used += cell_len(character)
        if used > width:
            break
        kept.append(character)
    return "".join(kept) + ellipsis[: max(width, 0)]


def encodable(text: str, encoding: str) -> str:
    """Give `text` with the characters that a stream's encoding lacks escaped."""
    if encoding == "utf-8":
        return text  # `visible` has left nothing that it lacks
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return text.encode("ascii", "backslashreplace").decode()
    return text


def _joins(character: str) -> bool:
    """Say whether terminals draw a character into the one before: marks, and the later parts of a Hangul syllable."""
    return (
        unicodedata.category(character).startswith("M")
        or "\u1160" <= character <= "\u11ff"
        or "\ud7b0" <= character <= "\ud7ff"
    )


def _is_unsafe(character: str) -> bool:
    # Controls, formats, surrogates, unassigned and private characters; separators other than the space; and
    # what terminals merge with the character before it: variation selectors, skin tones, flags.
    return (
        unicodedata.category(character) in {"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp", "Zs"}
        or character == "\\"
        or character in _BLANK
        or "\ufe00" <= character <= "\ufe0f"
        or "\U0001f1e6" <= character <= "\U0001f1ff"
        or "\U0001f3fb" <= character <= "\U0001f3ff"
        or "\U000e0100" <= character <= "\U000e01ef"
    )


def _escaped(character: str) -> str:
    if character in _NAMED:
        return _NAMED[character]
    return (
        character.encode("ascii", "backslashreplace").decode() if ord(character) > 0x7F else f"\\x{ord(character):02x}"
    )
