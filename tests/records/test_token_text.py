"""A token is drawn alike on the console, on the page and in a notebook."""

import re
from html.parser import HTMLParser
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from rich.cells import cell_len
from rich.console import Console as RichConsole

from predlog.records import codec, html
from predlog.records.schema import Comparison
from predlog.records.text import visible
from predlog.records.token_text import WIDEST, cells, cut, token_text
from predlog.report.film_strip import Strip
from predlog.sinks.console import Console
from tests import events
from tests.records.test_records import text

# What is in vocabularies, and what a processor or a broken tokenizer makes of it.
TOKENS = {
    "BPE": " the", "a raw piece": "Ġthe", "sentencepiece": "▁the", "a piece that is cut": " internationalization",
    "one byte": "<0x0A>", "several bytes": "<0xF0><0x9F>", "bytes beside text": "a<0xE2><0x82>b", "no byte": "<0xZZ>",
    "CJK": "你好世界", "CJK that is cut": "深層学習による自然言語処理",
    "Hangul": "한국어", "Devanagari": "नमस्ते", "Arabic": "مرحبا",
    "an emoji": "🙂", "a family": "👨‍👩‍👧", "a skin tone": "👍🏽", "a flag": "🇩🇪", "a selector": "❤️",
    "indentation": "\n" + " " * 22, "four blanks": " " * 4, "five blanks": " " * 5, "tabs": "\t" * 7,
    "a rule": "-" * 80, "a run in a word": "a" + "=" * 9 + "b",
    "CRLF": "\r\n", "an escape": "\x1b[31mred", "a NUL": "\x00", "DEL": "\x7f",
    "an override": "\u202eabc", "a mark of its own": "\u0301", "half a pair": "\ud83d", "a joiner": "\u200d",
    "a backslash": "\\n", "markup": "<b>&amp;</b>", "a script": "</script><script>", "quotes": "\"'`", "nothing": "",
    "our own signs": "␣×22⟨F0⟩…", "none": None, "long": "x1" * 3000, "private": "\ue000", "unassigned": "\U000e0fff",
}  # fmt: skip


class Cells(HTMLParser):
    """The texts of a table's cells, row by row."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in {"th", "td"}:
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows:
            self.rows[-1][-1] += data


def compared(label_text: str | None) -> dict[str, Any]:
    token = events.token(9, 12_345, 678, label_text=label_text, prediction_text=label_text, input=5, input_text="x")
    return events.now(events.comparison(tokens=[token, events.token(10)]))


def on_console(event: dict[str, Any], form: str) -> str:
    """Return the label of the first token as a wide terminal shows it."""
    text = StringIO()
    console = RichConsole(file=text, force_terminal=True, color_system=None, width=200, legacy_windows=False)
    Console(console, form=form, patience=None)(None, "", event)  # type: ignore[arg-type] # either form
    (line,) = [line for line in text.getvalue().splitlines() if line.startswith(" label ")]
    return re.split(r" +(?=3 *$)", line.removeprefix(" label ").strip(" "))[0]


def in_notebook(markup: str) -> str:
    """Return the label of the first token in a table."""
    (label,) = [row[1] for row in Cells(markup).rows if row and row[0].strip() == "label"]
    return label.strip(" ")


def on_page(event: dict[str, Any]) -> tuple[str, str]:
    """Return the label of the first token as the page's cells show it, and as its panel does."""
    strip = Strip()
    strip.add(record(event))
    columns = strip.columns()
    place = columns["tokens"]["label"][0]
    whole = columns["ids"][place] if columns["texts"][place] is None else columns["texts"][place]
    return columns["cells"].get(str(place), whole), whole


def record(event: dict[str, Any]) -> Comparison:
    made = codec.from_event(event)
    assert isinstance(made, Comparison)
    return made


@pytest.mark.parametrize("name", TOKENS)
def test_all_displays_draw_the_same(name: str) -> None:
    """Console, page and notebook show the same text, in twelve cells or, in their full forms, in twice as many."""
    event = compared(TOKENS[name])
    short, long = on_console(event, "compact"), on_console(event, "full")
    page, whole = on_page(event)
    assert short == page == in_notebook(html.comparisons([record(event)], html.COMPACT, errors={}, colours={}))
    assert long == in_notebook(record(event)._repr_html_())
    for shown, widest in ((short, WIDEST), (long, 2 * WIDEST)):
        assert shown
        assert cell_len(shown) <= widest
        assert shown.isprintable()
        assert shown == whole or (shown.endswith("…") and whole.startswith(shown[:-1]))


def test_that_test_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A display that draws in a way of its own is noticed."""
    monkeypatch.setattr("predlog.records.html.token_text", lambda text, token: visible(text or str(token)))
    with pytest.raises(AssertionError):
        test_all_displays_draw_the_same("indentation")


@given(text)
def test_a_cut_fits_and_is_marked(value: str) -> None:
    """Whatever a text holds, its cut begins it, takes no more cells than there are, and ends in the mark."""
    whole = visible(value)
    for width in range(1, 14):
        shown = cut(whole, width)
        assert cells(shown) <= width
        assert shown == whole or (shown.endswith("…") and whole.startswith(shown[:-1]))


@pytest.mark.parametrize("name", TOKENS)
def test_cells_are_those_of_a_terminal(name: str) -> None:
    """The width that needs no terminal library is the one that rich measures."""
    whole = token_text(TOKENS[name], 12_345)
    assert cells(whole) == cell_len(whole)
