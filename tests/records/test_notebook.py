"""In a notebook, records and what `read` gives show themselves, and nothing in them does anything else."""

from html import escape
from html.parser import HTMLParser
from pathlib import Path

import nbclient
import nbformat
import pytest
from hypothesis import given

import predlog
from predlog.records import codec
from predlog.records.schema import Comparison, Finding
from tests import events
from tests.records.test_records import text

HOSTILE = "<script>alert(1)</script>&amp;<img src=x onerror=alert(1)>\u202e\x00\ud800\"'`${1}"


class Parsed(HTMLParser):
    """What a browser would make of some HTML: its tags, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert {name for name, _ in attrs} <= {"style", "colspan"}

    def handle_data(self, data: str) -> None:
        self.text += data


def compared(**fields: object) -> Comparison:
    record = codec.from_event(events.comparison(**fields))
    assert isinstance(record, Comparison)
    return record


def found(**fields: object) -> Finding:
    record = codec.from_event(events.finding(**fields))
    assert isinstance(record, Finding)
    return record


@given(text, text)
def test_the_text_around_the_tokens_is_text(read: str, asked: str) -> None:
    """It is below the table, with a bar where labels begin; whatever is in it, it is no element."""
    passages = [{"left_out": 7, "read": f"a{read}", "asked": f"b{asked}"}, {"left_out": 0, "read": None, "asked": "c"}]
    parsed = Parsed(compared(recorder="0a", window=passages)._repr_html_())
    assert " … 7 tokens … a" in parsed.text
    assert "▏b" in parsed.text
    assert parsed.tags == {"div", "span", "table", "tr", "th", "td"}


def test_a_comparison_shows_what_it_holds() -> None:
    """Labels and predictions with a tick where they are equal, probabilities and ranks."""
    tokens = [
        events.token(5, label_text=" on", prediction_text=" on"),
        events.token(6, 7, 8, label_rank=12, slot="last"),
    ]
    parsed = Parsed(compared(tokens=tokens, loss=2.3, recorder="0a1b2c3d")._repr_html_())
    assert parsed.text.startswith("step 120 · text · sample 0 · loss 2.30 · 41.2% correct · 388 of 512 supervised")
    for row in ("position 5│  6", "label ␣on│  7", "prediction✓␣on│  8", "p(label) 0.78│  0.78", "rank 1│  12"):
        assert row in parsed.text


def test_what_is_unknown_is_a_dash() -> None:
    """A row of NaN predicts none; without counting, the tokens shown are counted."""
    tokens = [events.token(5, 3, None, label_logprob=None, label_rank=None)]
    parsed = Parsed(compared(tokens=tokens, matched=None, codebook=2)._repr_html_())
    assert "codebook 2 · sample 0 · 0 of 1 shown correct" in parsed.text
    for cell in ("prediction nan", "p(label) -", "rank -"):
        assert cell in parsed.text


def test_a_probability_is_at_most_one() -> None:
    """Whatever a processor has put in place of a log-probability, or of a count, the table is shown."""
    record = compared(tokens=[events.token(5, label_logprob=1000.0)], matched=2**63 - 1)
    assert "p(label) 1.0" in Parsed(record._repr_html_()).text


@pytest.mark.parametrize(
    ("matched", "said"), [(0, "0.0%"), (1, "&lt;0.1%"), (99_999, "&gt;99.9%"), (100_000, "100.0%")]
)
def test_what_is_not_all_is_not_said_to_be_all(matched: int, said: str) -> None:
    """A share close to all or nothing does not read as if it were, in a notebook as everywhere."""
    html = compared(matched=matched, supervised=100_000, length=100_000)._repr_html_()
    assert f" · {said} correct · " in html


def test_spaces_and_long_texts() -> None:
    """Spaces are visible, also several, line ends are escapes, bytes are bytes, and what is long is cut."""
    texts = ["  if", "\n", " " * 22, "<0xF0><0x9F>", "", "x" + "ab" * 30]
    tokens = [events.token(5 + number, label_text=one) for number, one in enumerate(texts)]
    html = compared(tokens=tokens)._repr_html_()
    for shown in ("␣␣if", r"\n", "␣×22", "⟨F0 9F⟩", '""', f"{'x' + 'ab' * 11}…"):
        assert f"> {escape(shown)}<" in html
    assert "monospace" in html


def test_many_tokens_are_cut_in_the_middle() -> None:
    """A row has at most forty tokens, from both ends; a mark is where some are left out."""
    tokens = [events.token(number, slot="first" if number < 100 else "last") for number in range(200)]
    text = Parsed(compared(tokens=tokens)._repr_html_()).text
    assert "position 0 1 2" in text
    assert " 19… │" not in text
    assert " 19…  180 181" in text
    assert text.count(" 0.78") == 40


@pytest.mark.parametrize(("level", "sign"), [("error", "✗"), ("warning", "!"), ("info", "✓")])
def test_a_finding_shows_what_to_do(level: str, sign: str) -> None:
    """Its sign, code, step, message and help."""
    parsed = Parsed(found(level=level, help="predlog explain labels-are-inputs")._repr_html_())
    assert parsed.text.startswith(f"{sign} labels-are-inputs, step 120: labels equal the inputs")
    assert parsed.text.endswith("More: predlog explain labels-are-inputs")


@given(text)
def test_no_text_becomes_a_tag(hostile: str) -> None:
    """Whatever a record contains is shown as text, with control and invisible characters escaped."""
    html = compared(stream=hostile, tokens=[events.token(1, label_text=hostile, prediction_text=hostile)])._repr_html_()
    html += found(code=hostile, message=hostile, help=hostile)._repr_html_()
    parsed = Parsed(html)
    assert parsed.tags <= {"div", "b", "table", "tr", "th", "td", "span", "code"}
    assert html.encode()
    assert not set(html) & set("\x00\x1b\u202e\u2028\ufeff\x85")


def test_a_real_kernel(tmp_path: Path) -> None:
    """In Jupyter, each of them is the cell's output as HTML; showing what `read` gives does not use it up."""
    with predlog.Recorder(tmp_path / HOSTILE[:9].replace("/", ""), every=1, console=False) as recorder:
        recorder.compare(*events.pair(), 7)
        folder = recorder.directory
    assert folder is not None
    cells = [
        f"import predlog; run = predlog.read({str(folder)!r}); run",
        "one = [r for r in run if isinstance(r, predlog.Comparison)][0]; one",
        "'torch' in __import__('sys').modules",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])  # type: ignore[no-untyped-call]
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    read, one, torch = ([output["data"] for output in cell["outputs"]] for cell in notebook.cells)
    assert "step 7" in Parsed(read[0]["text/html"]).text
    assert "1 file" in Parsed(read[0]["text/html"]).text
    assert Parsed(one[0]["text/html"]).text.startswith("step 7 · text · sample ")
    assert torch[0]["text/plain"] == "False"
