"""How much one line may hold, so that no line takes far more memory than it is long; no recorder comes near it."""

import re
from typing import Any, Final

# Bytes of a line. A longer one would fill the memory of whoever reads it, so it is neither written nor read.
LONGEST: Final = 1 << 24
# Levels of nested lists and objects in a line, as many as orjson writes. More would exceed Python's recursion limit
# wherever a record is written as JSON or drawn.
DEEPEST: Final = 254
# Lists and objects of a line, and commas between values. A list takes two bytes of the line, and 64 of memory or more.
_MOST_NESTED: Final = 100_000
_MOST_VALUES: Final = 1 << 20
# Shorter lines have no room for as many.
FEW: Final = 2 * _MOST_NESTED
_TEXT: Final = re.compile(rb'"[^"]*"')
_OTHERS: Final = bytes({*range(256)} - {*b'"[{,'})


def excess(line: bytes) -> str | None:
    """Return what a line of JSON has too many of, in words; None if it is within the bounds, as nearly all are."""
    if len(line) <= FEW or _counted(line) is None:
        return None
    # Texts may contain any of the characters that are counted. In place of a `sub` of all that is between quotation
    # marks, which takes thirty times the line's memory, as little as possible is left for it.
    plain = line.replace(rb"\\", b"").replace(rb"\"", b"")
    return _counted(_TEXT.sub(b"", plain.translate(None, _OTHERS).replace(b'""', b"")))


def _counted(line: bytes) -> str | None:
    nested = line.count(b"[") + line.count(b"{")
    if nested > _MOST_NESTED:
        return f"over {_MOST_NESTED:,} lists and objects"
    if line.count(b",") >= _MOST_VALUES:
        return f"over {_MOST_VALUES:,} values"
    return None


def is_deeper(values: list[Any], levels: int = DEEPEST) -> bool:
    """Return whether lists and mappings of plain values, itself one, are nested deeper than so many levels."""
    level: list[Any] = [values]
    for _ in range(levels):
        inside = (outer.values() if isinstance(outer, dict) else outer for outer in level)
        level = [inner for items in inside for inner in items if isinstance(inner, dict | list)]
        if not level:
            return False
    return True
