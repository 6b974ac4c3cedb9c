"""TensorBoard, read back from its event files with its own reader."""

import html
import importlib
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from predlog import Recorder
from tests import events
from tests.integrations.needed import needed
from tests.sinks import tracked

accumulating = needed("tensorboard.backend.event_processing.event_accumulator")

from torch.utils.tensorboard import SummaryWriter  # noqa: E402

from predlog.sinks.tensorboard import TensorBoard  # noqa: E402


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SummaryWriter]:
    with SummaryWriter(tmp_path / "board") as writer:
        yield writer


def read_back(board: Path) -> Any:
    accumulator = accumulating.EventAccumulator(str(board), size_guidance={"scalars": 0, "tensors": 0})
    return accumulator.Reload()


def texts(board: Any, name: str) -> list[tuple[int, str]]:
    return [(one.step, one.tensor_proto.string_val[0].decode()) for one in board.Tensors(f"{name}/text_summary")]


def page(markdown: str) -> str:
    """Return what TensorBoard makes of Markdown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # bleach, which is TensorBoard's own, warns of itself
        plugin_util = importlib.import_module("tensorboard.plugin_util")
        return str(plugin_util.markdown_to_safe_html(markdown))


def cells(table: str) -> list[list[str]]:
    """Return the text of each cell of each row, the heads of tables among them."""
    shown = re.findall(r"<tr>(.*?)</tr>", page(table), re.DOTALL)
    return [[html.unescape(cell) for cell in re.findall(r"<t[hd]>(.*?)</t[hd]>", row, re.DOTALL)] for row in shown]


@pytest.mark.parametrize("score", [True, False])
def test_curves_are_those_of_the_file(tmp_path: Path, writer: SummaryWriter, score: bool) -> None:
    """Each curve has a point for each step at which something is known, of all samples together, and no other."""
    recorded = tracked.run(tmp_path / "run", TensorBoard(writer), score=score)
    board = read_back(tmp_path / "board")
    shown = {(name, one.step): one.value for name in board.Tags()["scalars"] for one in board.Scalars(name)}
    assert shown == pytest.approx(tracked.curves(recorded), rel=1e-6)
    assert sum(len(board.Scalars(name)) for name in board.Tags()["scalars"]) == len(shown)


def test_each_step_has_a_table_of_its_own(tmp_path: Path, writer: SummaryWriter) -> None:
    """It shows that step's samples as the console does: hostile texts are texts, and nothing else."""
    recorded = tracked.run(tmp_path / "run", TensorBoard(writer))
    tables = texts(read_back(tmp_path / "board"), "predlog/text/tokens")
    assert [step for step, _ in tables] == [*tracked.STEPS]
    for step, table in tables:
        ones = tracked.of_step(recorded, "text", step)
        rows = [[cell.removeprefix("│\xa0") for cell in row] for row in cells(table)]
        assert rows == tracked.on_console(ones)
        shown = [html.unescape(one) for one in re.findall("<strong>(.*?)</strong>", page(table))]
        errors = ["labels-are-inputs"] if step < 9 else ["labels-are-inputs", "logits-not-finite"]
        assert shown == tracked.headings(ones, errors)
        assert not re.search(r"<(?!/?(table|thead|tbody|tr|td|th|p|strong)\b)", page(table))
    every = {cell.removeprefix("│\xa0") for _, table in tables for row in cells(table) for cell in row}
    assert {"✓", "|", "**b**", "`x`", r"a\nb", r"\x1b[31m", r"\ud800", "&amp;", "<script>ale…"} <= every


def test_codebooks_are_rows(tmp_path: Path, writer: SummaryWriter) -> None:
    """Each codebook of a sample is a row, with its accuracy, its ticks, and what was predicted instead."""
    recorded = tracked.run(tmp_path / "run", TensorBoard(writer))
    for step, table in texts(read_back(tmp_path / "board"), "predlog/audio/tokens"):
        ones = tracked.of_step(recorded, "audio", step)
        rows = [row for row in cells(table) if any(row)]  # Markdown has no table without a head
        for one, row in zip(ones, rows, strict=True):
            assert row[0].startswith(f"codebook {one.codebook} · loss ")
            assert [cell.removeprefix("│\xa0") for cell in row[1:]] == [
                f"✓{token.label}" if token.match else f"{token.label}→{token.prediction}" for token in one.tokens
            ]


def test_a_finding_is_one_text(tmp_path: Path, writer: SummaryWriter) -> None:
    """Each finding is there once, with its step, its code and its numbers."""
    recorded = tracked.run(tmp_path / "run", TensorBoard(writer))
    shown = texts(read_back(tmp_path / "board"), "predlog/findings")
    found = list(tracked.findings(recorded))
    assert (found[0][0], found[0][2]) == (7, "labels-are-inputs")
    assert len(shown) == len(found)
    for (step, markdown), (at, level, code, message) in zip(shown, found, strict=True):
        assert step == at
        words = html.unescape(re.sub(r"<.*?>", "", page(markdown)))
        assert words.startswith(f"{level}: {code}, text step {at}: {message}")


def test_flush_shows_the_step_that_waits(tmp_path: Path, writer: SummaryWriter) -> None:
    """A step is whole when the next comes; flushed or closed, the last one is there, and nothing twice."""
    with Recorder(every=1, console=False, strict=True, sinks=[TensorBoard(writer)]) as recorder:
        tracked.compare(recorder, 7)
        assert recorder.flush()
        assert [one.step for one in read_back(tmp_path / "board").Scalars("predlog/text/accuracy")] == [7]
        tracked.compare(recorder, 8)
        assert recorder.flush()
        assert recorder.flush()
    assert [one.step for one in read_back(tmp_path / "board").Scalars("predlog/text/accuracy")] == [7, 8]


def test_a_writer_that_was_closed_early_costs_nothing(tmp_path: Path, writer: SummaryWriter) -> None:
    """The writer begins another file of its own."""
    with Recorder(every=1, console=False, strict=True, sinks=[TensorBoard(writer)]) as recorder:
        tracked.compare(recorder, 7)
        assert recorder.flush()
        writer.close()
        tracked.compare(recorder, 8)
    writer.close()
    assert [one.step for one in read_back(tmp_path / "board").Scalars("predlog/text/accuracy")] == [7, 8]


def test_it_works_in_any_chain(tmp_path: Path, writer: SummaryWriter) -> None:
    """Every event is passed on unchanged; those that are not predlog's are not looked at."""
    sink = TensorBoard(writer)
    for event in ({"event": "user logged in"}, {"step": 3}, events.run(), events.comparison(), events.gap()):
        before = dict(event)
        assert sink(None, "info", event) is event
        assert event == before
    sink(None, "info", {**events.comparison(step=130), "host": "added by a processor"})
    sink(None, "info", events.run(stats={}))
    writer.flush()
    assert [one.step for one in read_back(tmp_path / "board").Scalars("predlog/text/accuracy")] == [120, 130]


def test_the_page_s_example(own_folder: Path) -> None:
    """What docs/results/trackers.md shows, runs, and shows the due steps beside the host's own."""
    ((example, names),) = tracked.documented("TensorBoard")
    exec(example, names)
    board = read_back(own_folder / "board" / "exp1")
    assert [one.step for one in board.Scalars("predlog/text/accuracy")] == [0, 10]
    assert len(board.Scalars("loss")) == 12


def test_without_the_library() -> None:
    """The import fails, and says which command helps."""
    assert tracked.without("tensorboard", "tensorboard").endswith(
        "this needs tensorboard, which is not installed:"
        " pip install 'predlog[tensorboard]', or in a clone of predlog pip install '.[tensorboard]'"
    )
