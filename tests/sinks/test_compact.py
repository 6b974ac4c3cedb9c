"""The compact form: what a person sees first, in few lines, side by side where there is room."""

import io
import threading
from typing import Any

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console as RichConsole

import predlog
from predlog.sinks import Console
from tests import events
from tests.sinks.shown import ANSI, RAW, WORDS, drawn, drawn_together, event, texts

PREDICTED: list[str | None] = [" a", " lan", "s", " ref", "s", " de", "scribes", " a", " syntax", "."]


def wrong(labels: list[str | None], predictions: list[str | None] | None = None, **fields: Any) -> dict[str, Any]:
    """Return a comparison in which a prediction is correct where the texts are equal."""
    given = event(labels, predictions or PREDICTED, **fields)
    for token in given["tokens"]:
        token["match"] = token["label_text"] == token["prediction_text"]
    return given


def lines_of(*pair: dict[str, Any], width: int = 80, **how: Any) -> list[str]:
    return [line.rstrip() for line in ANSI.sub("", drawn_together(pair, width, **how)).splitlines()]


def test_four_lines() -> None:
    """A heading with the loss first, labels, a tick or what was predicted instead, and the labels' probabilities."""
    assert lines_of(wrong(WORDS, loss=2.3071), width=100) == [
        "step 120 · text · sample 0 · loss 2.31 · 41.2% correct · 388 of 512 supervised",
        " label  ␣the  ␣lan  guage  ␣ref  erence │ ␣de    scribes  ␣the    ␣syntax  .",
        " pred   ␣a    ✓     s      ✓     s      │ ✓      ✓        ␣a      ✓        ✓",
        " p      1.0   0.90  0.67   0.41  0.20   │ 0.082  0.027    7.4e-3  1.7e-3   3.0e-4",
    ]
    assert lines_of(wrong(WORDS, loss=None)) == lines_of(wrong(WORDS))
    assert "loss" not in lines_of(wrong(WORDS))[0]


@pytest.mark.parametrize("text", ["scribing", " a\x1bbc", "表示表示", " language"])
@pytest.mark.parametrize("width", [78, 80])
def test_ten_tokens_at_eighty_columns(text: str, width: int) -> None:
    """Long tokens are cut to six cells and moved together, and all ten are shown, in five lines with the heading."""
    lines = lines_of(wrong([text] * 10, [text[::-1]] * 10, loss=2.31, stream="a/longer/stream"), width=width)
    assert len(lines) == 5
    assert len(lines[2].replace("│", "").split()) == len(lines[4].replace("│", "").split()) == 1 + 10
    assert lines[2].index("│") == lines[3].index("│") == lines[4].index("│") or text == "表示表示"
    assert all(cell_len(one) <= width for one in lines)


def test_a_probability_is_not_cut() -> None:
    """Where a number is wider than the text may be, the column is as wide as the number."""
    one = wrong(["scribing"] * 10, ["x"] * 10)
    for token in one["tokens"]:
        token["label_logprob"] = -30.0
    *_, chances = lines_of(one, width=60)
    assert set(chances.split()[1:]) == {"9.4e-14", "…"}


def test_runs_and_bytes_are_short() -> None:
    """Five and more of one character are counted, bytes are in brackets, and a text has twelve cells at most."""
    labels: list[str | None] = [" " * 22, "\n" * 6, "----", "=====", "<0xF0><0x9F>", "<0xe2>", "a" * 400, "表" * 7]
    row = lines_of(wrong([*labels, "representation", "\u0301" * 5]), width=200)[1]
    shown = r"␣×22 \n×6 ---- =×5 ⟨F0 9F⟩ │ <0xe2> a×400 表×7 representat…".split()
    assert row.split() == ["label", *shown, "◌\u0301×5"]
    assert "⟨" not in drawn(wrong([*labels, None, None]), 200, encoding="ascii")
    assert "<F0 9F>" in drawn(wrong([*labels, None, None]), 200, encoding="ascii")


def test_samples_are_side_by_side_where_there_is_room() -> None:
    """At 200 columns a pair of samples takes the lines of one; at 80 they are under each other."""
    pair = wrong(WORDS, loss=1.0), wrong(WORDS, sample=1)
    heading, *rows = lines_of(*pair, width=200)
    assert heading.count("step 120 · text · sample") == 2
    assert [row.split()[0] for row in rows] == ["label", "pred", "p"]
    assert len({row.index(row.split()[0], 20) for row in rows}) == 1
    assert len(lines_of(*pair)) == 8


def test_a_note_of_one_sample_leaves_the_rows_of_both_in_line() -> None:
    """The rows of samples side by side begin in the same line, though only the first heading has a note."""
    stream = io.StringIO()
    sink = Console(RichConsole(file=stream, force_terminal=True, width=200, color_system=None))
    sink(None, "info", events.run())
    pair = wrong(WORDS), wrong(WORDS, sample=1)
    sink.expect(pair)
    for one in pair:
        sink(None, "info", one)
    _, _, note, *rows = stream.getvalue().splitlines()
    assert note.strip() == "inputs not known: the alignment is not checked; pass inputs="
    assert all(row.count(row.split()[0] + " ") >= 2 for row in rows)


@pytest.mark.parametrize("width", [20, 40, 80, 165, 200])
@given(
    samples=st.lists(st.tuples(texts, texts), min_size=1, max_size=3),
    encoding=st.sampled_from(["utf-8", "ascii"]),
    stream=st.text(max_size=20),
)
def test_no_line_is_wider_than_the_console(width: int, samples: Any, encoding: str, stream: str) -> None:
    """Whatever the texts, each line fits, nothing raw gets out, and the rows of samples are whole."""
    pair = [wrong(*both, sample=number, stream=stream) for number, both in enumerate(samples)]
    output = ANSI.sub("", drawn_together(pair, width, encoding=encoding))
    assert RAW.search(output) is None
    assert max(map(cell_len, output.splitlines())) <= width
    assert sum(line.count(" label ") for line in output.splitlines()) >= len(samples)


def test_columns_stand_in_line_on_a_terminal() -> None:
    """With CJK, emoji, combining marks and escapes, a terminal shows the columns in line."""
    labels: list[str | None] = ["表示", "👍", "e\u0301a", "\u0301", "\x1b[31m", "[/INST]", " ", "\u202e", "a\tb", "ﬁ"]
    for width in (120, 200):
        screen = pyte.Screen(width, 20)
        pyte.Stream(screen).feed(drawn_together([wrong(labels), wrong(WORDS, sample=1)], width).replace("\n", "\r\n"))
        names, ticks, chances = ([screen.buffer[row][column].data for column in range(width)] for row in (1, 2, 3))
        starts = [place for place in range(6, width) if chances[place] != " " == chances[place - 1]]
        assert len(starts) >= 11
        assert all(names[place] != "" and names[place - 1] in {" ", ""} for place in starts if chances[place] != "│")
        assert all(names[place] == ticks[place] == "│" for place in starts if chances[place] == "│")
        assert all(ticks[place - 1] in {" ", "✓"} for place in starts)


def test_a_line_is_between_steps_and_streams_have_colours() -> None:
    """A rule comes before each new step, not before the first; the name of each stream has a colour of its own."""
    stream = io.StringIO()
    sink = Console(RichConsole(file=stream, force_terminal=True, width=40, color_system="standard"))
    for step, name in ((0, "text"), (0, "audio"), (10, "text")):
        sink(None, "info", wrong(WORDS, step=step, stream=name))
        sink(None, "warning", events.finding(level="warning", step=step, stream=name))
    lines = stream.getvalue().splitlines()
    assert [number for number, line in enumerate(lines) if "─" * 40 in line] == [
        next(number for number, line in enumerate(lines) if "step 10 " in line) - 1
    ]
    assert lines[0].startswith("\x1b[1mstep 0 · \x1b[0m\x1b[1;36mtext\x1b[0m")
    assert any(line.startswith("\x1b[1mstep 0 · \x1b[0m\x1b[1;35maudio\x1b[0m") for line in lines)


def test_codebooks_of_two_samples_are_side_by_side() -> None:
    """Each sample has a heading and a row per codebook, with the loss where it is known."""
    pair = [
        event([None] * 10, codebook=codebook, sample=sample, stream="audio", vocabulary=64, loss=1.5 + codebook)
        for sample in range(2)
        for codebook in range(3)
    ]
    lines = lines_of(*pair, width=200)
    assert len(lines) == 5
    assert lines[0].split() == [*"step 120 · audio · sample 0".split(), *"step 120 · audio · sample 1".split()]
    assert lines[1].split()[:3] == ["loss", "correct", "of"]
    assert [line.split()[:4] for line in lines[2:]] == [[str(n), f"{1.5 + n:.2f}", "41.2%", "388"] for n in range(3)]
    assert len(lines_of(*pair)) == 10


def test_what_comes_alone_is_shown_at_once() -> None:
    """Without an announcement, as in a user's own structlog chain, nothing is held back."""
    stream = io.StringIO()
    sink = Console(RichConsole(file=stream, force_terminal=True, width=200))
    for sample in range(2):
        sink(None, "info", wrong(WORDS, sample=sample))
        assert f"sample {sample}" in stream.getvalue()


def test_what_was_announced_and_not_passed_is_not_lost() -> None:
    """If printing fails with the first sample, the next is printed by itself; none is printed twice."""
    stream = io.StringIO()
    console = RichConsole(file=stream, force_terminal=True, width=200)
    sink = Console(console)
    pair = wrong(WORDS), wrong(WORDS, sample=1)
    sink.expect(pair)
    stream.close()
    with pytest.raises(ValueError, match="closed"):
        sink(None, "info", pair[0])
    console.file = again = io.StringIO()
    sink(None, "info", pair[1])
    assert again.getvalue().count("sample 1") == 1
    assert "sample 0" not in again.getvalue()


def test_a_recorder_shows_the_samples_of_a_pair_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a flush, all of the pair is on the screen, side by side, and counted as written."""
    stream = io.StringIO()
    console = RichConsole(file=stream, force_terminal=True, width=200, color_system=None)
    sink = Console(console)
    with predlog.Recorder(console=False, sinks=[sink], every=1, samples=3, strict=True) as recorder:
        for step in range(2):
            recorder.compare(*events.pair(step), step)
            assert recorder.flush()
            assert stream.getvalue().count(f"step {step} · text · sample ") == 3
            assert recorder.stats()["sinks"]["Console"]["written"] == 3 * (step + 1)
    assert sum(line.count("sample") == 2 for line in stream.getvalue().splitlines()) == 2


def test_pairs_that_a_slow_console_cannot_take_are_counted() -> None:
    """A pair waits as one; what is dropped, failed and written adds up to all comparisons, and a line reports it."""
    entered, release = threading.Event(), threading.Event()

    class Slow(io.StringIO):
        def write(self, text: str) -> int:
            entered.set()
            assert release.wait(60)
            return super().write(text)

    stream = Slow()
    sink = Console(RichConsole(file=stream, force_terminal=True, width=100, color_system=None))
    with predlog.Recorder(console=False, sinks=[sink], every=1, samples=2, queue=2) as recorder:
        recorder.compare(*events.pair(0), 0)
        assert entered.wait(60)  # the first line is being written, and the pair waits
        for step in range(1, 6):
            future = recorder.compare(*events.pair(step), step)
            assert future is not None
            future.result(60)
        release.set()
        assert recorder.flush(60)
        counts = recorder.stats()["sinks"]["Console"]
    assert (counts["submitted"], counts["pending"]) == (12, 0)
    assert counts["written"] + counts["dropped"] == 12
    assert counts["dropped"] % 2 == 0 < counts["dropped"]
    assert f"{counts['dropped']} comparisons missing" in stream.getvalue()
