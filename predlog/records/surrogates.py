"""Half surrogate pairs in texts, and how a line holds them.

JSON has no way to hold half a surrogate pair that every reader takes (jq, orjson and msgspec refuse the line), and
tokenizers produce them. So U+D800 to U+DFFF is written as a mark and a private character that represents it, and the
mark itself as two marks. Text without either is written as it is.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

_MARK = "\U0010fffd"
_MARK_BYTES = _MARK.encode()
# One byte is found ten times as fast as four.
MARK_LEAD = _MARK_BYTES[:1]
_PRIVATE = 0x100000
_SURROGATE_OR_MARK = re.compile(f"[\ud800-\udfff{_MARK}]")
_MARKED = re.compile(f"{_MARK}(.?)", re.DOTALL)
_HIDDEN = re.compile(f"[{chr(_PRIVATE + 0xD800)}-{chr(_PRIVATE + 0xDFFF)}]")


def is_marked(json_text: bytes) -> bool:
    """Return whether UTF-8 text contains the mark."""
    return MARK_LEAD in json_text and _MARK_BYTES in json_text


def hide(text: str) -> str:
    """Return text with half surrogate pairs, and the mark itself, written with the mark."""
    return _SURROGATE_OR_MARK.sub(
        lambda found: _MARK + (_MARK if found[0] == _MARK else chr(_PRIVATE + ord(found[0]))), text
    )


def reveal(text: str) -> str:
    """Return what `hide` was given; raise ValueError for a text that it can't have written."""
    return _MARKED.sub(_revealed, text)


def _revealed(found: re.Match[str]) -> str:
    if found[1] == _MARK:
        return _MARK
    if not _HIDDEN.fullmatch(found[1]):
        raise ValueError("U+10FFFD precedes what it does not mark")
    return chr(ord(found[1]) - _PRIVATE)


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """Return a JSON value with every text in it changed, keys included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {mapped(key, change): mapped(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [mapped(item, change) for item in value]
    return value
