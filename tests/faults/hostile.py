"""Token texts that have broken terminals, logs and readers, by number; the same text for the same number, always."""

import random
import sys
import unicodedata

# Whatever is cut in a record is longer than this.
LONG = 1024

_PIECES = [
    # Terminals: colours, cursor, erasing, title, links, clipboard, device control, modes, bells, eight-bit controls.
    "\x1b[31m", "\x1b[2J\x1b[H", "\x1b[1A\x1b[2K", "\x1b]0;title\x07", "\x1b]2;title\x1b\\",
    "\x1b[?1049h", "\x1b[?25l",
    "\x1b]8;;http://example.invalid\x1b\\link\x1b]8;;\x1b\\", "\x1b]52;c;cm0gLXJm\x07",
    "\x1bP$qm\x1b\\", "\x1b_x\x1b\\",
    "\x1bc", "\x9b31m", "\x9d0;title\x9c", "\x90q\x9c", "\x07", "\x08\x08", "\x7f", "\x00", "\x1b",
    "\x1b[", "\x0e", "\x0f",
    # Lines.
    "\n", "\r", "\r\n", "\t", "\v", "\f", "\x85", "\u2028", "\u2029", "\x1c", "\x1d", "\x1e",
    # Directions, nothing to see, joiners, fillers, selectors, tags.
    "\u202e", "\u202d", "\u202a", "\u202b", "\u202c", "\u2066", "\u2067", "\u2068", "\u2069", "\u200e",
    "\u200f", "\u061c",
    "\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u180e", "\u034f", "\u115f", "\u3164",
    "\uffa0", "\u2800",
    "\ufe0f", "\ufe0e", "\U000e0100", "\U000e0041", "\U000e0001", "\ufff9", "\ufffb", "\u2062",
    "\u206a", "\u2000", "\u3000",
    # Halves, ends and the reader's own marks.
    "\ud800", "\udfff", "\ud83d", "\udca9", "\ud83d\ude00", "\uffff", "\ufffe", "\ufffd", "\U0010ffff", "\U0010fffd",
    "\U0010fffd\U0010fffd", "\U0010d800", "\ue000", "\u0378",
    # Markup, templates, quoting.
    "[/INST]", "[INST]", "[bold]", "[/]", "[link=file:///etc/passwd]x[/link]", "[@click=app.bell]",
    ":smile:", ":warning:",
    "</script>", "<!--", "<br>", "&lt;", "%s%n", "{0.__class__}", "${jndi}", "\\", "\\n", "\\x1b",
    "\\\\", '"', "'", "`", "'; --",
    '{"event":"predlog.gap"}', ',"crc":"00000000"}', "-100", "nan", "✓", "│", "step 1 ",
    # Marks that join, wide and tall letters, flags, families, skin tones, right-to-left letters.
    "e\u0301", "\u0301", "\u0301\u0302\u0303" * 9, "\u0e33", "\u093f", "\u20e3", "1\ufe0f\u20e3", "表示",
    "한국", "\u1100\u1161",
    "👩\u200d🚀", "👨\u200d👩\u200d👧\u200d👦", "🇩🇪", "🇩", "👍🏽", "🏽", "\U0001f9d1", "ﷺ", "שלום", "مرحبا",
    "\u0600", "\u06dd", "ﬃ", "ǆ",
    " ", "  ", "a", "word", "<0xE2>",
]  # fmt: skip
_FORMATS = [
    letter for letter in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(letter) in {"Cf", "Zs", "Cc"}
]


def text_of(number: int) -> str | None:
    """Return a text: a piece alone, some mixed at random, a megabyte of them, nothing; None where there is no text."""
    chance = random.Random(number)
    if number % 97 == 13:
        return None
    if number % 89 == 7:
        return ""
    if number % 100 == 50:
        return "".join(chance.choices(_PIECES, k=500)) * 700
    if number < len(_PIECES):
        return _PIECES[number]
    letters = chance.choices(_FORMATS, k=2) + [chr(chance.randrange(sys.maxunicode + 1)) for _ in range(2)]
    return "".join(chance.choices([*_PIECES, *letters], k=chance.randrange(1, 9)))


def name_of(number: int) -> str:
    """Return a short text, for the name of a stream."""
    return f"s{number}{random.Random(number).choice(_PIECES)}"


def harmful(text: str) -> list[str]:
    """Return the characters that steer a terminal, split a line, turn a direction or show nothing, but for newlines."""
    return [letter for letter in text if letter != "\n" and _is_harmful(letter)]


def _is_harmful(letter: str) -> bool:
    category = unicodedata.category(letter)
    # Of the format characters, Arabic's and others' number signs are seen.
    return category in {"Cc", "Cs", "Zl", "Zp"} or (category == "Cf" and unicodedata.bidirectional(letter) != "AN")
