"""The report as a file: one page without the network, of known size, that says what it left out; and its command."""

import json
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bokeh")
pytest.importorskip("jinja2")

from predlog.cli import main
from predlog.reading.reader import Reading
from predlog.records.codec import from_event, to_line
from predlog.records.schema import Comparison, Record
from predlog.report import page as report
from tests import events, reported
from tests.reported import HOSTILE, STEPS, corpus, scored, trained


class Parsed(HTMLParser):
    """What a browser's parser would find: elements with their attributes, texts, and what is in scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        self.text += " "
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data

    def data(self, name: str) -> Any:
        """Return the data that is in the page under an id."""
        scripts = [attributes for tag, attributes in self.elements if tag == "script"]
        return json.loads(self.scripts[[one.get("id") for one in scripts].index(name)])


def records(told: Iterator[dict[str, Any]]) -> list[Record]:
    return [from_event(event) for event in told]


def page(told: Iterator[dict[str, Any]]) -> str:
    return reported.page_of(records(told))


@cache
def page_of(told: Callable[[], Iterator[dict[str, Any]]]) -> str:
    return page(told())


@pytest.mark.slow
def test_any_number_of_streams_makes_a_page() -> None:
    """At most 200 lines of curves are drawn, and the page tells how many are left out; so do all tables."""
    tokens = [events.token(1, 2, 3)]
    streams = [events.comparison(stream=f"s{number}", seq=number, tokens=tokens) for number in range(1200)]
    findings = [events.finding(stream=f"s{number}", seq=number + 1200) for number in range(1200)]
    gaps = [events.gap(reason=f"reason {number}", seq=number + 2400) for number in range(200)]
    made = Parsed(page(iter([*streams, *findings, *gaps])))
    curves = made.data("curves-data")
    assert len(curves["lanes"]) == 200
    assert len(curves["marks"]) == 1000
    assert len(re.findall(r"\bs\d+ ", made.text)) < 3000
    said = " ".join(made.text.split())
    assert "Of all streams and codebooks the first are drawn, 1,000 are not." in said
    assert "and 200 more: see predlog summary" in said
    assert "and 1,000 more: see predlog check" in said
    assert "and 100 more reasons: see predlog check" in said


def test_a_small_run_is_below_two_megabytes() -> None:
    """Beyond its data, the page with its plotting library is at most 2 MB."""
    made = page(iter([events.run(), events.comparison()]))
    parsed = Parsed(made)
    data = sum(len(json.dumps(parsed.data(name))) for name in ("strip-data", "plots-data", "curves-data"))
    assert len(made.encode()) - data <= 2_000_000
    assert len(page_of(trained).encode()) <= 2_000_000


@pytest.mark.parametrize("told", [corpus, trained])
def test_nothing_is_loaded(told: Any) -> None:
    """No element names anything outside the page: sources and links are data, or places in it."""
    for tag, attributes in Parsed(page_of(told)).elements:
        for name in ("src", "href", "srcset", "action", "data", "poster", "background", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
        assert not [name for name in attributes if name.startswith("on")]
    assert "url(" not in (report._HERE / "report.css").read_text("utf-8")


def test_no_text_becomes_an_element() -> None:
    """The elements of a page are the same whether its texts are hostile or harmless."""

    def harmless() -> Iterator[dict[str, Any]]:
        mild = {text: f"a{place:02}" for place, text in enumerate(HOSTILE)}

        def mildly(value: Any) -> Any:
            if isinstance(value, str):
                return mild.get(value, value)
            if isinstance(value, dict):
                return {mildly(key): mildly(one) for key, one in value.items()}
            return [mildly(one) for one in value] if isinstance(value, list) else value

        for event in corpus():
            yield mildly(event)

    shapes = [
        [(tag, sorted(attributes)) for tag, attributes in Parsed(page_of(told)).elements] for told in (corpus, harmless)
    ]
    assert shapes[0] == shapes[1]


def test_the_page_is_plain_to_see() -> None:
    """No invisible, steering or half character of a run is in the page's source."""
    made = page_of(corpus)
    made.encode()
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]", made.replace(BOKEH, "")
    )


BOKEH = report._BOKEH.read_text("utf-8")


def test_the_scripts_are_those_of_the_policy() -> None:
    """The policy comes before anything else that it could hold for, and knows both scripts."""
    made = page(iter([events.comparison()]))
    parsed = Parsed(made)
    names = [tag for tag, _ in parsed.elements]
    (policy,) = [one["content"] for tag, one in parsed.elements if one.get("http-equiv") == "Content-Security-Policy"]
    assert names.index("meta") < names.index("style") < names.index("script")
    assert (policy or "").count("'sha256-") == 2
    assert "unsafe-eval" not in (policy or "")
    assert made.index("Content-Security-Policy") < 200


def test_the_strip_is_in_the_page() -> None:
    """What is read out of the page's own data are the comparisons, and the curves have their values exactly."""
    told = [one for one in records(trained()) if isinstance(one, Comparison)]
    parsed = Parsed(page_of(trained))
    rows = parsed.data("strip-data")["rows"]
    assert rows["step"] == [one.step for one in told]
    assert rows["matched"] == [one.matched for one in told]
    curves = parsed.data("curves-data")
    assert [one["name"] for one in curves["streams"]] == ["text", "audio"]
    assert [(one["stream"], one["codebook"]) for one in curves["lanes"]] == [(0, None), (1, 0), (1, 1), (1, 2)]
    assert curves["axes"][0]["first"] == [*STEPS]
    assert curves["lanes"][0]["accuracy"] == pytest.approx([5 * number / 300 for number in range(60)], rel=1e-5)


def test_what_the_strip_leaves_out_is_said() -> None:
    """Where there are too many comparisons for the strip, the page says how many it shows; the rest counts all."""
    text = " ".join(Parsed(reported.page_of(records(trained()), most=100)).text.split())
    assert "the strip shows 5 of 60 logged steps (one in 16, and the last): 80 of 960 comparisons." in text
    assert "960 comparisons" in text
    assert "the strip shows" not in Parsed(page(iter([events.comparison()]))).text


def test_findings_that_are_gone_are_marked() -> None:
    """A finding that is gone says since when, one of an earlier attempt that it ended with that, and others stand."""

    def told() -> Iterator[dict[str, Any]]:
        yield events.comparison()
        yield events.finding(step=10, code="collapsed", level="warning")
        yield events.finding(step=20, code="same-batch", stream="audio", evidence={"codebooks": [0, 1]})
        yield events.finding(step=30, code="collapsed", level="info", evidence={"since": 10})
        yield events.finding(step=40, code="same-batch", stream="audio", level="info", evidence={"codebooks": [2]})
        yield events.finding(step=50, code="at-chance", rank=1)
        yield events.comparison(step=60, rank=1, attempt=2)
        yield events.finding(step=60, code="collapsed", level="warning", rank=1, attempt=2)

    parsed = Parsed(page(told()))
    levels = [
        (attributes["class"] or "").split() for tag, attributes in parsed.elements if tag == "li" and "id" in attributes
    ]
    assert levels == [["finding", level] for level in ("error", "warning", "info", "info")]
    marks = [(mark["step"], mark["level"]) for mark in parsed.data("curves-data")["marks"]]
    assert marks == [(10, "warning"), (30, "info"), (20, "error"), (50, "error"), (60, "warning")]
    text = " ".join(parsed.text.split())
    assert "collapsed gone at step 30" in text
    assert "at-chance of attempt 1, superseded by a later attempt" in text
    assert "2 open findings: same-batch (audio codebooks 0, 1, step 20); collapsed (text, rank 1, step 60)." in text


def test_ticks_under_an_error_are_no_success() -> None:
    """While an error is open, the strip says so over its ticks; a warning does not take them back."""
    told = [events.comparison(), events.finding(code="collapsed", level="warning")]
    assert "no success" not in Parsed(page(iter(told))).text
    text = " ".join(Parsed(page(iter([*told, events.finding()]))).text.split())
    assert "Open error: labels-are-inputs (text). Until it is fixed, correct predictions do not mean success." in text


def test_tokens_that_are_not_learnt_are_listed() -> None:
    """The most stubborn tokens and the most forgotten ones are there with their texts, counts and steps."""

    def told() -> Iterator[dict[str, Any]]:
        for step in range(0, 60, 10):
            never = events.token(0, 3, 4, label_text=" never")
            once = events.token(1, 5, 5 if step == 20 else 6, label_text=" once")
            always = events.token(2, 7, 7, label_text=" always")
            yield events.comparison(step=step, tokens=[never, once, always])

    made = page(told())
    text = " ".join(Parsed(made[made.index('id="tokens"') : made.index('id="run"')]).text.split())
    assert "label wrong at steps last at ␣never 3 6 6 50 " in text
    assert "label correct last correct at wrong since at steps ␣once 5 1 20 3 3" in text
    assert "always" not in text
    assert 'href="#stream=text&amp;sample=0&amp;rank=0&amp;attempt=1&amp;step=20&amp;token=1"' in made
    assert 'href="#stream=text&amp;sample=0&amp;rank=0&amp;attempt=1&amp;step=50&amp;token=0"' in made


def test_accuracy_of_the_tokens_shown_says_so() -> None:
    """Where the accuracy was switched off, that of the tokens shown is there, and is called that."""
    text = " ".join(Parsed(page(iter([events.comparison(matched=None)]))).text.split())
    assert "text accuracy of the tokens shown 50.0% 50.0% 50.0%" in text
    assert "accuracy of the tokens shown" not in Parsed(page(iter([events.comparison()]))).text


def test_first_last_and_best() -> None:
    """The table of streams has each measure at the first step, the last and the best, over all ranks and samples."""

    def told() -> Iterator[dict[str, Any]]:
        for step, matched, logprob, rank in ((0, 10, -8.0, 90), (10, 90, -1.0, 1), (20, 50, -2.0, 4)):
            tokens = [events.token(0, label_logprob=logprob, label_rank=rank)]
            yield events.comparison(step=step, supervised=100, matched=matched, tokens=tokens)

    text = " ".join(Parsed(page(told())).text.split())
    assert "text 10.0% 50.0% 90.0% -8.000 -2.000 -1.000 90 4 1 19.5% 3 3" in text


def shown_plots(made: Parsed) -> list[str]:
    figures = [attributes for tag, attributes in made.elements if tag == "figure"]
    return [(one["id"] or "").removeprefix("figure-") for one in figures if "hidden" not in one]


def test_the_loss_comes_first() -> None:
    """Its plot and its columns are the first, as means of ten records; a run without a score has neither."""
    made = Parsed(page_of(scored))
    assert shown_plots(made) == ["loss", "accuracy", "logprob", "rank", "entropy", "share"]
    text = " ".join(made.text.split())
    assert re.search(r"stream loss accuracy rank supervised", text)
    assert "text 6.88 3.38 3.38 33.3%" in text
    assert "Loss is the mean of all supervised tokens in nats, over 10 records" in text
    plain = Parsed(page_of(trained))
    assert shown_plots(plain) == ["accuracy", "logprob", "rank", "share"]
    assert "Loss is" not in plain.text
    assert "accuracy log-probability rank" in " ".join(plain.text.split())


def test_a_stream_without_a_loss_keeps_its_log_probability() -> None:
    """Beside a stream that has a loss, one that has none is shown with what it has."""
    told = [*scored(), events.comparison(stream="eval")]
    text = " ".join(Parsed(page(iter(told))).text.split())
    assert "stream loss accuracy log-probability rank supervised" in text
    assert "eval - - - 41.2% 41.2% 41.2% -1.375 -1.375 -1.375" in text


def test_what_is_missing_is_said() -> None:
    """Gaps and a run that was not closed are told at the top, and in full below."""
    text = " ".join(Parsed(page(iter([events.run(), events.comparison(), events.gap()]))).text.split())
    assert "Captured, but missing here: 12 comparisons." in text
    assert "12 queue full 130 to 180" in text
    assert "not closed: it is running, or was killed" in text


def test_what_is_damaged_is_said(tmp_path: Path) -> None:
    """Damage that the reader has met is counted at the top, all of it, and told place by place below, as text."""
    file = tmp_path / "<b>&amp;.jsonl"
    file.write_bytes(b"torn\n" * 1200 + to_line(events.comparison(seq=0)))
    parsed = Parsed(reported.page_of(Reading(file, warns=False)))
    text = " ".join(parsed.text.split())
    assert "Damaged in the files: 1,200 places." in text
    assert f"{file} 3 the checksum does not fit the line: it is torn or damaged" in text
    assert "and 1100 more" in text


# --- the command --------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "exp1"
    folder.mkdir()
    (folder / "predictions.jsonl").write_bytes(
        b"".join(map(to_line, [events.run(), events.comparison(), events.comparison(step=130)]))
    )
    return folder


def test_the_command_says_where_and_how_much(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line: the file, the comparisons and the size; the file is there, as others make theirs, and nothing else."""
    target = tmp_path / "out" / "report.html"
    target.parent.mkdir()
    assert main.main(["report", str(run), "-o", str(target)]) == 0
    said = capsys.readouterr().out
    assert re.fullmatch(rf"{re.escape(str(target))}: 2 comparisons, 1\.\d MB\n", said)
    assert target.read_text("utf-8").startswith("<!doctype html>")
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    assert [one.name for one in target.parent.iterdir()] == ["report.html"]


# Of another version of predlog.
OLD = '<!doctype html>\n<html lang="en">\n<meta name="generator" content="predlog 0.0.1">\n'


def test_an_old_page_stays_where_there_is_no_new_one(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run without a comparison is an error of one line, and what stood there is not touched."""
    (run / "predictions.jsonl").write_bytes(to_line(events.run()) + to_line(events.finding()))
    target = tmp_path / "report.html"
    target.write_text(OLD)
    assert main.main(["report", str(run), "-o", str(target)]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("predlog: ")
    assert "holds no comparison" in said.err
    assert "predlog check" in said.err
    assert said.err.count("\n") == 1
    assert target.read_text() == OLD
    assert {one.name for one in tmp_path.iterdir()} == {"exp1", "report.html"}


def test_nobody_sees_half_a_page(run: Path, tmp_path: Path) -> None:
    """A new page takes the place of the old one at once: who has the old one open still reads all of it."""
    target = tmp_path / "report.html"
    target.write_text(OLD)
    with target.open() as old:
        assert main.main(["report", str(run), "-o", str(target)]) == 0
        assert old.read() == OLD
    assert target.read_text("utf-8").endswith("</html>\n")


def test_a_folder_that_is_not_there(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An output that can't be written is an error of one line."""
    assert main.main(["report", str(run), "-o", str(tmp_path / "nowhere" / "report.html")]) == 2
    assert "nowhere" in events.said(capsys)


@pytest.mark.parametrize("package", ["bokeh", "jinja2"])
def test_a_missing_package_is_named(run: Path, tmp_path: Path, package: str) -> None:
    """Without the extra, one line says what to install; torch is not imported, with it or without."""
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from predlog.cli.main import main\n"
        f"status = main(['report', {str(run)!r}, '-o', {str(tmp_path / 'r.html')!r}])\n"
        "assert 'torch' not in sys.modules; sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    how = "pip install 'predlog[report]', or in a clone of predlog pip install '.[report]'"
    assert done.stderr == f"predlog: this needs {package}, which is not installed: {how}\n"


def test_torch_is_not_imported(run: Path, tmp_path: Path) -> None:
    """Making a page loads neither torch nor structlog."""
    code = (
        "import sys; from predlog.cli.main import main\n"
        f"main(['report', {str(run)!r}, '-o', {str(tmp_path / 'r.html')!r}])\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert {"bokeh", "jinja2"} <= loaded
    assert not loaded & {"torch", "structlog"}
