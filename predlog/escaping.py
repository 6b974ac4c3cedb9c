"""Text ↔ text that JSON can hold and that no reader, terminal or editor stumbles over."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

# JSON has no way to hold half a surrogate pair that every reader takes (jq, orjson and msgspec refuse the line),
# and tokenizers produce them. So U+D800 to U+DFFF is written as a mark and a private character that stands for
# it, and the mark itself as two marks. Whatever holds neither is written as it is.
_MARK = "\U0010fffd"
_MARK_BYTES = _MARK.encode()
# One byte is found ten times as fast as four.
MARK_LEAD = _MARK_BYTES[:1]
_PRIVATE = 0x100000
_SURROGATE_OR_MARK = re.compile(f"[\ud800-\udfff{_MARK}]")
_MARKED = re.compile(f"{_MARK}(.?)", re.DOTALL)
_HIDDEN = re.compile(f"[{chr(_PRIVATE + 0xD800)}-{chr(_PRIVATE + 0xDFFF)}]")


def is_marked(json_text: bytes) -> bool:
    """Say whether UTF-8 text holds the mark."""
    return MARK_LEAD in json_text and _MARK_BYTES in json_text


def hide(text: str) -> str:
    """Write half surrogate pairs, and the mark itself, with the mark."""
    return _SURROGATE_OR_MARK.sub(
        lambda found: _MARK + (_MARK if found[0] == _MARK else chr(_PRIVATE + ord(found[0]))), text
    )


def reveal(text: str) -> str:
    """Give back what `hide` was given; raises ValueError for a text that it can't have written."""
    return _MARKED.sub(_revealed, text)


def _revealed(found: re.Match[str]) -> str:
    if found[1] == _MARK:
        return _MARK
    if not _HIDDEN.fullmatch(found[1]):
        raise ValueError("U+10FFFD stands before what it does not mark")
    return chr(ord(found[1]) - _PRIVATE)


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """Change every text in a JSON value, keys included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {mapped(key, change): mapped(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [mapped(item, change) for item in value]
    return value


# DEL and C1, soft hyphen, grapheme joiner, Arabic letter mark, Mongolian vowel separator, zero-width, line and
# paragraph separators, bidirectional controls, invisible operators, byte order mark, interlinear marks, language tags,
# and the format characters of Syriac, Kaithi, hieroglyphs, shorthand and music.
_INVISIBLE = re.compile(
    "[\x7f-\x9f\xad\u034f\u061c\u070f\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000110bd\U000110cd"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)


_HARMFUL = re.compile(f"[\x00-\x1f\ud800-\udfff]|{_INVISIBLE.pattern}")


def harmless(text: str) -> str:
    r"""Write the characters that steer or hide as backslash escapes: a newline as `\n`, half a pair as `\ud800`."""
    return _HARMFUL.sub(lambda found: json.dumps(found[0])[1:-1], text)


def escape(body: bytes) -> bytes:
    """Write the characters of JSON text that steer or hide as JSON escapes."""
    if body.isascii() and b"\x7f" not in body:
        return body  # nothing to escape, as in nearly all lines
    return _INVISIBLE.sub(lambda found: json.dumps(found[0])[1:-1], body.decode()).encode()
