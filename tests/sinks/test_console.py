"""The table and the plain lines: what a person sees, at any width, in any encoding, whatever the tokens hold."""

import io
import re
from pathlib import Path
from typing import Any

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console as RichConsole

from predlog.errors import SettingError
from predlog.records.text import visible
from predlog.sinks import Console
from predlog.sinks.terminal.style import shorten
from tests import events, fresh
from tests.sinks.shown import ANSI, RAW, TOKENS, WORDS, drawn, event, on_screen, texts

FORMS = ["compact", "full"]


def test_the_table() -> None:
    """A heading and five rows: position, label, prediction with a tick if correct, probability and rank."""
    first, *rows = drawn(event(WORDS), 100, color_system=None, form="full").splitlines()
    assert first == "step 120 · text · sample 0 · 41.2% correct · 388 of 512 supervised"
    assert [row.rstrip() for row in rows] == [
        " position    60    61    62     63    64     │ 505    506      507     508      509",
        " label       ␣the  ␣lan  guage  ␣ref  erence │ ␣de    scribes  ␣the    ␣syntax  .",
        " prediction  ␣the ✓␣lan  guage ✓␣ref  erence │✓␣de    scribes ✓␣the    ␣syntax ✓.",
        " p(label)    1.0   0.90  0.67   0.41  0.20   │ 0.082  0.027    7.4e-3  1.7e-3   3.0e-4",
        " rank        1     2     5      10    17     │ 26     37       50      65       82",
    ]


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (60, " text        …f a list?\\n<assistant>│A list is a mutable se…"),
        (100, " text        <user>\\nWhat is, please, the use of a list?\\n<assistant>│A list is a mutable sequence."),
    ],
)
def test_the_full_form_has_a_line_of_text(width: int, line: str) -> None:
    """One line has the end of what the model read, a bar, and the answer's beginning; the compact form has none."""
    read, asked = "<user>\nWhat is, please, the use of a list?\n<assistant>", "A list is a mutable sequence."
    window = [{"left_out": 5, "read": read, "asked": asked}, {"left_out": 99, "read": "", "asked": "The end."}]
    rows = drawn(event(WORDS, window=window), width, color_system=None, form="full").splitlines()
    assert [row for row in rows if row.startswith(" text ")] == [line]
    assert "mutable" not in drawn(event(WORDS, window=window), width, form="compact")


@pytest.mark.parametrize("width", [1, 12, 20, 21, 60, 200])
@given(read=st.none() | st.text() | st.sampled_from(TOKENS), asked=st.text() | st.sampled_from(TOKENS))
def test_the_line_of_text_fits_and_is_harmless(width: int, read: str | None, asked: str) -> None:
    """Whatever the text is, the line is one, no wider than the console, and has no character that steers it."""
    window = [{"left_out": 0, "read": read, "asked": asked}]
    text = ANSI.sub("", drawn(event(WORDS, window=window), width, form="full"))
    before = ANSI.sub("", drawn(event(WORDS), width, form="full"))
    assert len(text.splitlines()) == len(before.splitlines()) + 1
    assert max(map(cell_len, text.splitlines())) <= max(width, *map(cell_len, before.splitlines()))
    assert not RAW.search(text)


def test_a_band_each_where_ten_do_not_fit() -> None:
    """Longer tokens are in two bands, the first and the last; wide consoles have room for one, narrow ones cut."""
    long: list[str | None] = [f" representation{n}" for n in range(10)]
    at_80, at_200, at_60 = (on_screen(drawn(event(long), width, form="full"), width) for width in (80, 200, 60))
    assert [line.split()[0] for line in at_80[1:]] == ["position", "label", "prediction", "p(label)", "rank"] * 2
    assert at_80[1].split() == ["position", "60", "61", "62", "63", "64"]
    assert at_80[6].split() == ["position", "505", "506", "507", "508", "509"]
    assert "␣represent…" in at_80[2]
    assert len(at_200) == 6
    assert "␣representation9" in at_200[2]
    assert "␣repre…" in at_60[3]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
@given(labels=texts, predictions=texts)
def test_no_line_is_wider_than_the_console(width: int, labels: list[Any], predictions: list[Any]) -> None:
    """Whatever the texts, each line fits, and each row of a band ends where the others do."""
    lines = ANSI.sub("", drawn(event(labels, predictions), width, form="full")).splitlines()
    assert max(map(cell_len, lines)) <= width
    first = next(number for number, line in enumerate(lines) if line.startswith(" position"))
    assert first == (1 if width >= 80 else 2)
    bands = [lines[start : start + 5] for start in range(first, len(lines), 5)]
    assert all(len({cell_len(line) for line in band}) == 1 for band in bands)


@pytest.mark.parametrize("width", [80, 200])
def test_columns_stand_in_line_on_a_terminal(width: int) -> None:
    """With CJK, emoji, combining marks and escapes, a terminal shows the columns of a band in line."""
    labels: list[str | None] = ["表示", "👍", "e\u0301a", "\u0301", "\x1b[31m", "[/INST]", " ", "\u202e", "a\tb", "ﬁ"]
    lines = on_screen(drawn(event(labels), width, form="full"), width)
    assert any("[/INST]" in line for line in lines)
    starts = []
    screen = pyte.Screen(width, 60)
    pyte.Stream(screen).feed(drawn(event(labels), width, form="full").replace("\n", "\r\n"))
    for row in range(1, 1 + 5):
        cells = [screen.buffer[row][column].data for column in range(width)]
        gaps = {column for column in range(12, width) if cells[column - 1] == " " and cells[column] not in {" ", ""}}
        starts.append(gaps)
    # Every column starts at the same place in the rows without blanks inside: positions, probabilities, ranks.
    assert starts[0] == starts[3] == starts[4]
    assert starts[1] <= starts[0]


@pytest.mark.parametrize("terminal", [True, False])
@given(labels=texts, stream=st.sampled_from(TOKENS) | st.text())
def test_nothing_raw_reaches_the_terminal(terminal: bool, labels: list[Any], stream: str) -> None:
    """No control, bidi, zero-width or broken character of a token or a name gets out as such."""
    output = drawn(event(labels, stream=stream), terminal=terminal)
    assert RAW.search(ANSI.sub("", output)) is None
    assert ANSI.sub("", output).count("\x1b") == 0


@pytest.mark.parametrize("text", ["[/INST]", "[bold]", "[link=file:///etc]", ":smile:", "</s>"])
@pytest.mark.parametrize("terminal", [True, False])
def test_markup_is_text(text: str, terminal: bool) -> None:
    """What looks like rich markup or an emoji code looks like itself."""
    assert text in drawn(event([text] * 10), 200, terminal=terminal, form="full")


def test_without_text_there_are_ids() -> None:
    """Where nothing was decoded, labels and predictions are ids."""
    rows = on_screen(drawn(event([None] * 10), form="full"), 80)
    assert rows[2].split()[1:6] == ["100", "101", "102", "103", "104"]
    assert rows[3].split()[1:6] == ["200", "✓101", "202", "✓103", "204"]


def test_a_correct_prediction_is_seen_without_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR leaves no colour, and the tick."""
    monkeypatch.setenv("NO_COLOR", "1")
    for form, tick in (("compact", "✓   "), ("full", "✓␣lan")):
        output = drawn(event(WORDS), form=form)
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]", output)
        assert tick in output


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_a_stream_without_the_characters_degrades(encoding: str, terminal: bool, form: Any) -> None:
    """An encoding that lacks a character gets its escape; nothing fails, and the tick has a substitute."""
    output = drawn(event(["表", " é", "👍", *WORDS[3:]]), 100, terminal=terminal, encoding=encoding, form=form)
    assert "\\u8868" in output
    assert "\\U0001f44d" in output
    assert "?" not in output
    if terminal:
        assert ("=\\sref" if form == "full" else "=     ") in output


@pytest.mark.parametrize("terminal", [True, False])
def test_fewer_tokens(terminal: bool) -> None:
    """Three tokens are three; if there are none, that is reported with its reason."""
    three = event(WORDS)
    three["tokens"] = three["tokens"][:3]
    assert "guage" in drawn(three, terminal=terminal)
    none = events.comparison(tokens=[], supervised=0, matched=0)
    assert re.search("nothing supervised: every label (of 512 )?is ignored", drawn(none, terminal=terminal))


@pytest.mark.parametrize("terminal", [True, False])
def test_without_accuracy_the_tokens_shown_are_counted(terminal: bool) -> None:
    """Where matches were not counted, the heading speaks of the tokens shown only."""
    shown = drawn(event(WORDS, matched=None), terminal=terminal)
    assert ("5 of 10 shown correct" if terminal else " shown_correct=5/10 ") in shown


@pytest.mark.parametrize("form", [*FORMS, "log"])
def test_what_is_unknown_is_a_dash(form: Any) -> None:
    """A NaN row has no prediction, rank or probability, shows none, and the heading counts them."""
    given = event([None] * 10, nonfinite=20)
    for token in given["tokens"]:
        token.update(prediction=None, match=False, label_logprob=None, label_rank=None)
    if form == "log":
        (line,) = drawn(given, terminal=False).splitlines()
        assert " nonfinite=20 " in line
        assert "100→nan -" in line
        return
    lines = ANSI.sub("", drawn(given, form=form)).splitlines()
    assert "20 probabilities not finite" in "".join(lines[:2])
    wanted = {"compact": {"pred", "p"}, "full": {"prediction", "p(label)", "rank"}}[form]
    rows = {line.split()[0]: line.split()[1:6] for line in lines}
    assert {name: rows[name] for name in wanted} == {name: ["nan" if "pred" in name else "-"] * 5 for name in wanted}


def test_a_run_and_a_gap_are_a_line_each() -> None:
    """The start says where the records go; a gap says how many are missing, and why."""
    assert drawn(events.run(), 200, terminal=False) == "predlog 0.1.0: every 10 steps, to runs/exp1, attempt 1\n"
    assert drawn(events.gap(), 200, terminal=False) == (
        "predlog: 12 comparisons missing, steps 130 to 180: queue full\n"
    )


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (events.run(settings={}, versions={}), "predlog of an unknown version: attempt 1\n"),
        (events.run(settings={"directory": "a\x1b"}), "predlog 0.1.0: to a\\x1b, attempt 1\n"),
        (events.run(settings={"every": []}), "predlog 0.1.0: every [] steps\n"),
        (events.run(stats={"dropped": 3}), ""),
    ],
)
def test_no_setting_or_count_is_taken_for_granted(given: dict[str, Any], says: str) -> None:
    """The schema promises none of them: what a processor has removed is not shown, what it replaced as it is."""
    assert drawn(given, 200, terminal=False) == says


@pytest.mark.parametrize(("form", "terminal"), [("compact", True), ("full", True), ("compact", False)])
def test_a_probability_is_at_most_one(form: Any, terminal: bool) -> None:
    """Whatever a processor has put in place of a log-probability, or of a count, the table is drawn."""
    tokens = [events.token(1, label_logprob=number) for number in (1000.0, -1000.0)]
    shown = drawn(events.comparison(tokens=tokens, matched=10**400), 80, terminal=terminal, form=form)
    assert re.search(r"1\.0 .*<1e-99", ANSI.sub("", shown))


def rows_of_codebooks(count: int = 8, **how: Any) -> str:
    """Return what a sink shows of one sample of so many codebooks, and of the next sample's first."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=how.pop("encoding", "utf-8"))
    sink = Console(RichConsole(file=stream, **how))
    for codebook in range(count):
        given = event([None] * 10, codebook=codebook, stream="audio", vocabulary=1024, supervised=388 - codebook)
        sink(None, "info", given)
    sink(None, "info", event([None] * 10, codebook=0, sample=1, stream="audio", vocabulary=1024))
    stream.flush()
    return raw.getvalue().decode(stream.encoding)


def test_a_codebook_is_a_row() -> None:
    """Eight codebooks are a heading and eight rows under it; beside a wrong label is what was predicted."""
    lines = ANSI.sub("", rows_of_codebooks(force_terminal=True, width=200)).splitlines()
    assert lines[0] == "step 120 · audio · sample 0"
    assert lines[1].split() == ["correct", "of", "label→prediction,", *"one row per codebook".split()]
    assert [line.split()[:3] for line in lines[2:10]] == [
        [str(n), f"{100 * 160 / (388 - n):.1f}%", str(388 - n)] for n in range(8)
    ]
    assert "100→200   ✓101        102→202" in lines[2]
    assert len({line.index("│") for line in lines[2:10]}) == 1
    assert lines[10] == "step 120 · audio · sample 1"
    assert len(lines) == 13


@pytest.mark.parametrize("width", range(20, 201, 9))
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_codebooks_row_fits_any_width(width: int, encoding: str) -> None:
    """No line is wider than the console; where there is no room for predictions, labels and ticks remain."""
    lines = ANSI.sub("", rows_of_codebooks(force_terminal=True, width=width, encoding=encoding)).splitlines()
    assert len(lines) == 13
    assert all(cell_len(line) <= width for line in lines)
    if width >= 80:
        tick = "=" if encoding == "ascii" else "✓"
        assert lines[2].count(tick) == 5
        assert all(str(label) in lines[2] for label in range(100, 110))


def test_texts_of_codes_are_harmless_and_short() -> None:
    """Decoded codes are escaped and cut, so that columns stay columns."""
    for text in TOKENS:
        given = event([text] * 10, codebook=0, vocabulary=1024)
        output = drawn(given, 120)
        assert not RAW.search(ANSI.sub("", output).replace("\n", ""))
        assert max(map(cell_len, ANSI.sub("", output).splitlines())) <= 120


def test_inputs_have_a_row_of_their_own() -> None:
    """Where the inputs are known, the full table shows what the model read."""
    given = event(WORDS)
    for number, token in enumerate(given["tokens"]):
        token.update(input=7 + number, input_text=f" in{number}")
    rows = [line.split() for line in ANSI.sub("", drawn(given, 100, form="full")).splitlines()]
    assert [row[0] for row in rows[1:]] == ["position", "input", "label", "prediction", "p(label)", "rank"]
    assert rows[2][1:6] == ["␣in0", "␣in1", "␣in2", "␣in3", "␣in4"]


@pytest.mark.parametrize(("codebook", "terminal"), [(None, True), (2, True), (None, False), (2, False)])
def test_the_first_heading_of_a_stream_says_that_inputs_are_not_known(codebook: int | None, terminal: bool) -> None:
    """Once per stream and attempt, in the table and in the lines, and where the inputs are known never."""
    raw = io.StringIO()
    console = Console(RichConsole(file=raw, force_terminal=terminal, width=100))

    def shown(given: dict[str, Any]) -> bool:
        start = raw.tell()
        console(None, "info", given)
        return "inputs not known" in raw.getvalue()[start:]

    known = event(WORDS, codebook=codebook, stream="known")
    known["tokens"][0]["input"] = 7
    empty = {**event(WORDS, codebook=codebook), "tokens": [], "supervised": 0}
    given = [event(WORDS, codebook=codebook, step=step) for step in range(3)]
    assert not shown(given[0])  # the beginning of the attempt was not seen
    for attempt in (1, 2):
        console(None, "info", events.run(attempt=attempt))
        assert [shown(one) for one in (empty, *given, known)] == [False, True, False, False, False]
        assert shown(event(WORDS, codebook=codebook, stream="eval/text"))


@pytest.mark.parametrize(("level", "sign", "colour"), [("error", "✗", "1;31"), ("warning", "!", "33")])
def test_a_finding_is_one_line_with_a_sign(level: str, sign: str, colour: str) -> None:
    """One coloured line: a sign that needs no colour, the code, the step, the message, and where to read more."""
    given = events.finding(level=level, help="predlog explain labels-are-inputs", message="text: a\nb \x1b[0m")
    text = r"text: a\nb \x1b[0m More: predlog explain labels-are-inputs"
    assert drawn(given, 40, terminal=False) == f"predlog step=120 {sign} labels-are-inputs: {text}\n"
    line = f"{sign} predlog labels-are-inputs, step 120: {text}"
    assert drawn(given, 200, color_system="standard") == f"\x1b[{colour}m{line}\x1b[0m\n"
    # Wrapped between words, where the console is narrow.
    assert " ".join(ANSI.sub("", drawn(given, 40)).split()) == line
    assert max(map(len, ANSI.sub("", drawn(given, 40)).splitlines())) <= 40
    assert {"error": " x ", "warning": " ! "}[level] in drawn(given, 40, terminal=False, encoding="ascii")


@pytest.mark.parametrize("codebook", [None, 0])
@pytest.mark.parametrize("terminal", [True, False])
def test_tables_are_headed_by_the_open_errors(codebook: int | None, terminal: bool) -> None:
    """Ticks under a pair that is wrong are no success: while an error is open, each heading of its stream names it."""
    stream = io.StringIO()
    sink = Console(RichConsole(file=stream, force_terminal=terminal, width=120))

    def heading(name: str, rank: int = 0) -> str:
        stream.seek(0)
        stream.truncate()
        sink(None, "info", event([None] * 10, stream=name, codebook=codebook, rank=rank))
        return stream.getvalue().splitlines()[0]

    assert "labels-are-inputs" not in heading("text")
    sink(None, "error", events.finding())
    sink(None, "warning", events.finding(code="same-batch", level="warning"))
    assert "labels-are-inputs" in heading("text")
    assert "same-batch" not in heading("text")
    assert "labels-are-inputs" not in heading("eval/text")
    assert "labels-are-inputs" not in heading("text", rank=1)
    assert ("rank" in heading("text"), bool(re.search("rank.1", heading("text", rank=1)))) == (False, True)
    sink(None, "info", events.finding(level="info"))
    assert "labels-are-inputs" not in heading("text")
    sink(None, "error", events.finding())
    sink(None, "info", events.run(rank=1))
    assert "labels-are-inputs" in heading("text")
    sink(None, "info", events.run(attempt=2))
    assert "labels-are-inputs" not in heading("text")


def test_an_unknown_form_is_refused() -> None:
    """The message names the forms that there are."""
    with pytest.raises(SettingError, match=r"form='wide' must be 'compact' or 'full'"):
        Console(form="wide")  # type: ignore[arg-type]


def test_foreign_events_are_not_shown() -> None:
    """The sink prints predlog's events alone."""
    assert drawn({"event": "epoch done"}) == ""


@given(st.text(), st.integers(1, 30))
def test_shortened_text_fits(text: str, width: int) -> None:
    """Shortening never exceeds the width, never halves a character, and leaves what fits."""
    shown = visible(text)
    cut = shorten(shown, width)
    assert cell_len(cut) <= width
    assert cut == shown or cut.endswith("…")


def test_what_visible_shows() -> None:
    """Escapes are the ones that programmers read."""
    assert visible(" a\n\t\x1b\x7f\u202e\ud800\u3000") == r"␣a\n\t\x1b\x7f\u202e\ud800\u3000"
    assert visible("\\n") == r"\\n" != visible("\n")
    assert visible("\u3164\u2800") == r"\u3164\u2800"
    for joins in ("\u0301", "\u0903", "\u20dd", "\u1161", "\u11a8", "\ud7b0"):
        assert visible(joins) == f"◌{joins}"
    assert visible("表👍é") == "表👍é"


def test_a_broken_pipe_leaves_the_process_alone(tmp_path: Path) -> None:
    """A console whose reader has gone fails, and neither stdout nor what it held is touched."""
    code = (
        "import os, sys\n"
        "from rich.console import Console as RichConsole\n"
        "from predlog.sinks import Console\n"
        "from tests import events\n"
        "reader, writer = os.pipe()\n"
        "os.close(reader)\n"
        "console = RichConsole(file=open(writer, 'w'), force_terminal=True, width=80)\n"
        "for _ in range(3):\n"
        "    try: Console(console)(None, 'info', events.comparison())\n"
        "    except BrokenPipeError: print('broken')\n"
        "print(os.readlink('/proc/self/fd/1') == sys.argv[1], console.quiet, len(console._buffer))\n"
        "sys.stdout.flush(); os._exit(0)\n"
    )
    output = tmp_path / "stdout"
    with output.open("w") as stdout:
        fresh.start(code, output, streams=(stdout, stdout, stdout))
        assert fresh.wait(60) == 0
    assert output.read_text() == "broken\nbroken\nbroken\nTrue False 0\n"
