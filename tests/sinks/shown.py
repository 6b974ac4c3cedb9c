"""Comparisons, and what a console prints of them: shared by the tests of its forms."""

import io
import re
from collections.abc import Sequence
from typing import Any, Literal

import pyte
from hypothesis import strategies as st
from rich.console import Console as RichConsole

from predlog.sinks import Console
from tests import events

RAW = re.compile(
    "[\x00-\x09\x0b-\x1a\x1c-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufe00-\ufe0f\ud800-\udfff]"
)
ANSI = re.compile(r"\x1b\[[0-9;]*m")
TOKENS = [
    " the",
    "[/INST]",
    "[bold]x[/bold]",
    "[link=file:///etc]",
    "表示",
    "👩‍🚀",
    "é",
    "e\u0301",
    "\x1b[31mred",
    "\x1b]8;;x\x07",
    "\n",
    "\u202ed",
    "\x00",
    "\x85",
    ":smile:",
    "\ud83d",
    "representation" * 20,
    "",
    " ",
]
texts = st.lists(st.sampled_from(TOKENS) | st.text(max_size=12), min_size=10, max_size=10)


def event(
    labels: list[str | None], predictions: list[str | None] | None = None, **fields: Any
) -> dict[str, Any]:  # fmt: skip
    """Return a comparison of ten tokens: every second prediction is correct, and probabilities fall."""
    tokens = [
        events.token(
            position=60 + n if n < 5 else 500 + n,
            slot="first" if n < 5 else "last",
            label=100 + n,
            prediction=(100 if n % 2 else 200) + n,
            label_text=text,
            prediction_text=(predictions or labels)[n],
            label_logprob=-0.1 * n * n,
            label_rank=n * n + 1,
        )
        for n, text in enumerate(labels)
    ]
    return events.comparison(tokens=tokens, **fields)


def drawn(given: dict[str, Any], width: int = 80, **how: Any) -> str:
    """Return what a sink prints of one event."""
    return drawn_together([given], width, **how)


def drawn_together(
    given: Sequence[dict[str, Any]], width: int = 80, *, terminal: bool = True, encoding: str = "utf-8",
    form: Literal["compact", "full"] = "compact", **how: Any,
) -> str:  # fmt: skip
    """Return what a sink prints of the comparisons of one pair, which a recorder announces."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    sink = Console(RichConsole(file=stream, force_terminal=terminal, width=width, **how), form=form)
    sink.expect(given)
    for one in given:
        assert sink(None, "info", one) is one
    stream.flush()
    return raw.getvalue().decode(encoding)


def on_screen(output: str, width: int) -> list[str]:
    """Return the lines that a terminal of this width shows."""
    screen = pyte.Screen(width, 60)
    pyte.Stream(screen).feed(output.replace("\n", "\r\n"))
    return [line.rstrip() for line in screen.display if line.strip()]


WORDS: list[str | None] = [" the", " lan", "guage", " ref", "erence", " de", "scribes", " the", " syntax", "."]
