"""Text ↔ text that JSON can hold and that every reader, terminal and editor shows safely."""

import json
import math
import re
import unicodedata
from functools import lru_cache

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
        space
        if character == " "
        else character.encode("unicode_escape").decode()
        if _is_unsafe(character)
        else character
        for character in text
    )
    return f"◌{shown}" if shown and _joins(shown[0]) else shown


_known = lru_cache(maxsize=65536)(_shown)


# Bytes as `Decode` writes them, or five and more of one character.
_SHORT = re.compile(r"(?P<bytes>(?:<0x[0-9A-F]{2}>)+)|(.)\2{4,}", re.DOTALL)
_BYTE = re.compile("(?<=x)[0-9A-F]{2}")


def brief(text: str, space: str = "␣", times: str = "×", brackets: str = "⟨⟩") -> str:
    """Return a token's text as `visible` does, but shorter: a run of a character as `␣×22`, bytes as `⟨F0 9F⟩`."""
    if len(text) <= _REMEMBERED:
        return _known_brief(text, space, times, brackets)
    shown = _brief(text[:_LONGEST], space, times, brackets)
    return shown if len(text) <= _LONGEST else f"{shown}…"


def _brief(text: str, space: str, times: str, brackets: str) -> str:
    parts, end = [], 0
    for found in _SHORT.finditer(text):
        parts.append(visible(text[end : found.start()], space))
        if found["bytes"]:
            parts.append(f"{brackets[0]}{' '.join(_BYTE.findall(found['bytes']))}{brackets[1]}")
        else:
            parts.append(f"{visible(found[2], space)}{times}{found.end() - found.start()}")
        end = found.end()
    return "".join(parts) + visible(text[end:], space)


_known_brief = lru_cache(maxsize=65536)(_brief)


def encodable(text: str, encoding: str) -> str:
    """Return `text` with the characters that a stream's encoding lacks escaped."""
    if encoding == "utf-8":
        return text  # `visible` has left nothing that it lacks
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return text.encode("ascii", "backslashreplace").decode()
    return text


def _joins(character: str) -> bool:
    """Return whether terminals draw a character into the one before: marks, later parts of a Hangul syllable."""
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


# Characters of an id in a heading.
_LONGEST_ID = 24


def sample_name(sample: int, sample_id: str | None) -> str:
    """Return a sample as a heading names it: its place in the batch, and its id if it has one, `3 (doc-17)`."""
    if sample_id is None:
        return str(sample)
    return f"{sample} ({visible(sample_id[:_LONGEST_ID], ' ')}{'…' * (len(sample_id) > _LONGEST_ID)})"


# So much is still a float, and so are sums of it.
HIGHEST = 1e300


def share(part: int, whole: int) -> float:
    """Return the share of a part."""
    try:
        return part / whole
    except OverflowError:
        return HIGHEST


def percent(part: float | None) -> str:
    """Return a share in percent; what is not all or nothing never reads as if it were."""
    if part is None:
        return "-"
    if 0 < part < 0.0005:
        return "<0.1%"
    if 0.9995 <= part < 1:
        return ">99.9%"
    return f"{100 * part:.1f}%"


def lacking(ids: int | None, rows: int | None) -> str:
    """Return what a joined comparison has no parts of, its ids and its positions; nothing if it has all."""
    parts = [f"{many} {what}" for many, what in ((ids, "ids"), (rows, "positions")) if many]
    return f"partial: no parts of {' and '.join(parts)}" if parts else ""


def probability(logprob: float | None) -> str:
    """Return the probability of a log-probability in two significant digits: 0.90, 0.083, 1.2e-3.

    It is at most 1, whatever a processor has put there. The page's `film.js` follows the same rule.
    """
    if logprob is None:
        return "-"
    value = math.exp(min(logprob, 0.0))
    if value >= 0.0995:
        return f"{value:.2f}" if value < 0.995 else "1.0"
    if value >= 0.00995:
        return f"{value:.3f}"
    return f"{value:.1e}".replace("e-0", "e-") if value >= 1e-99 else "<1e-99"


def nats(loss: float | None) -> str:
    """Return a loss in three significant digits; a dash if there is none, or it is not finite."""
    return "-" if loss is None or not math.isfinite(loss) else f"{loss:#.3g}".removesuffix(".")
