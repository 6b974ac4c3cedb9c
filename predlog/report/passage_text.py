"""A text around the tokens as the page shows it: harmless, at most so long; and where a place of it is there."""

from typing import Final

from predlog.records.text import visible

# Characters of each end of a longer text around the tokens.
_LONGEST_END: Final = 1000
_CUT: Final = " … "


def shown_text(text: str) -> str:
    """Return a text around the tokens with every character visible and harmless; only the ends of a very long one."""
    if len(text) > 2 * _LONGEST_END:
        return f"{shown_text(text[:_LONGEST_END])}{_CUT}{shown_text(text[-_LONGEST_END:])}"
    # Line by line, because a line of ASCII takes no look at each character.
    return "\\n".join(visible(line, " ") for line in text.split("\n"))


def shown_at(text: str, at: int) -> int:
    """Return where a place of a text is in what is shown of it, in characters."""
    if len(text) <= 2 * _LONGEST_END or at <= _LONGEST_END:
        return len(shown_text(text[:at]))
    end = text[-_LONGEST_END:]
    before = len(shown_text(text[:_LONGEST_END]))
    into = at - len(text) + _LONGEST_END
    return before if into < 0 else before + len(_CUT) + len(shown_text(end[:into]))
