"""The benchmarks' own rules: what a verdict says, what is counted, and that the baselines do what they are for."""

import itertools
import logging
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
from torch.utils.benchmark import Measurement, TaskSpec

from predlog import Recorder, read
from tests import events
from tests.benchmarks import baselines, writers
from tests.benchmarks.__main__ import main
from tests.benchmarks.harness import Contender, Row, Spread, duration, interleaved, ratio
from tests.benchmarks.material import SMALL, comparison, pairs
from tests.benchmarks.memory import peak_of
from tests.benchmarks.plot import Line, plotted
from tests.benchmarks.slowdown import slowed
from tests.benchmarks.suite import BENCHMARKS
from tests.benchmarks.training import Size

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("target", "verdict"),
    [
        ({}, ""),
        ({"at_least": 20}, "ok"),
        ({"at_least": 25}, "within spread"),
        ({"at_least": 31}, "MISSED"),
        ({"at_most": 20}, "ok"),
        ({"at_most": 15}, "within spread"),
        ({"at_most": 9}, "MISSED"),
    ],
)
def test_a_target_is_missed_only_by_more_than_the_spread(target: dict[str, Any], verdict: str) -> None:
    """A median that meets its target is ok; else the quartile on the target's side decides."""
    assert Row(name="one", title="one", measured=Spread(10, 20, 30), **target).verdict == verdict


def test_a_ratio_is_taken_within_each_round() -> None:
    """A round in which everything was ten times as slow doesn't move the ratio."""
    times = {
        name: Measurement(2, raw, TaskSpec(name, "pass"))
        for name, raw in {"slow": [6.0, 60.0, 6.0], "fast": [2.0, 20.0, 2.0]}.items()
    }
    row = ratio(times, "slow", "fast", name="one", title="one")
    assert row.measured == Spread(3, 3, 3)
    assert row.seconds["fast"].median == 1


def test_contenders_take_turns_and_the_first_round_is_not_counted() -> None:
    """Each round runs every contender once, in order, and one more round comes first."""
    ran: list[str] = []
    times = interleaved({name: Contender(lambda name=name: ran.append(name)) for name in "ab"}, rounds=3)  # type: ignore[misc]
    assert ran == ["a", "b"] * 4
    assert [len(times[name].times) for name in "ab"] == [3, 3]


@pytest.mark.parametrize(("seconds", "text"), [(2.5, "2.5 s"), (0.0025, "2.5 ms"), (25e-6, "25 µs"), (9.9e-8, "99 ns")])
def test_a_time_is_written_with_its_unit(seconds: float, text: str) -> None:
    """Three figures, and the unit that leaves at least one before the point."""
    assert duration(seconds) == text


def test_the_peak_is_what_is_held_at_once() -> None:
    """Freed memory counts at the moment when it was held, and what is held one after the other is not added up."""

    def allocate() -> torch.Tensor:
        for _ in range(3):
            both = torch.empty(1000), torch.empty(500)
            del both
        return torch.empty(100)

    assert peak_of(allocate, CPU) == 6000


def test_no_two_pairs_show_the_same_rows() -> None:
    """The rows shown of pairs in turn lie apart, so that no cache holds them from the turn before."""
    turns = pairs(SMALL._replace(vocabulary=4), CPU)
    seen: set[int] = set()
    for logits, labels in itertools.islice(turns, 48):
        assert logits.is_contiguous()
        assert labels.shape == logits.shape[:2]
        shown = [row for sample in logits for row in (*sample[:5], *sample[-5:])]
        seen |= {row.data_ptr() for row in shown}
    assert len(seen) == 48 * 20


def test_the_naive_way_gives_the_content_of_our_records() -> None:
    """What it is timed for is what predlog records: the same tokens, with the same numbers."""
    logits, labels = events.pair()
    with Recorder(every=1, samples=2, console=False) as recorder:
        future = recorder.compare(logits, labels, 0)
        assert future is not None
        ours = [record.tokens for record in future.result(10)]
    naive = baselines.naive_way(logits, labels)
    for tokens, others in zip(ours, naive, strict=True):
        for token, other in zip(tokens, others, strict=True):
            exact = ("position", "label", "prediction", "label_rank")
            assert [getattr(token, name) for name in exact] == [other[name] for name in exact]
            assert token.label_logprob == pytest.approx(other["label_logprob"], abs=1e-5)
            assert token.prediction_logprob == pytest.approx(other["prediction_logprob"], abs=1e-5)


def test_the_accuracies_of_others_are_accuracies() -> None:
    """transformers' copy and torchmetrics count the supervised tokens that are right."""
    logits, labels = events.pair()
    labels[:, 4:12] = logits.argmax(-1)[:, 4:12]
    supervised = labels != -100
    accuracy = (logits.argmax(-1) == labels)[supervised].float().mean().item()
    assert baselines.transformers_copy(logits, labels) == pytest.approx(accuracy)
    pytest.importorskip("torchmetrics", reason="it comes with the extra `benchmarks`")
    assert baselines.torchmetrics_accuracy(logits.shape[-1])(logits, labels) == pytest.approx(accuracy)


def test_the_pasted_helper_logs_four_lines_a_sample(tmp_path: Path) -> None:
    """It logs two samples of any batch, and leaves no handler behind."""
    with baselines.pasted_helper(tmp_path) as log:
        log(*events.pair(), 7)
    assert len((tmp_path / "helper.log").read_text().splitlines()) == 8
    assert not logging.getLogger("tests.benchmarks.pasted_helper").handlers


def test_a_training_loop_can_be_measured_on_the_cpu() -> None:
    """The loop that CUDA's slowdown is measured on runs anywhere, with every step compared that is due."""
    size = Size(vocabulary=32, width=16, depth=1, heads=2, samples=2, length=8)
    rows = list(slowed(CPU, size, rounds=2))
    assert [row.name for row in rows] == ["slowdown-1", "slowdown-10", "slowdown-50"]


def test_a_plot_is_one_picture_with_a_point_for_each_value() -> None:
    """It is well-formed XML, names its lines, and places larger values further right and up."""
    drawn = ET.fromstring(plotted("a < b", "x", "y", [Line("one", [(2, 10), (8, 40), (64, 900)])]))
    circles = [
        (float(one.attrib["cx"]), -float(one.attrib["cy"])) for one in drawn.iter() if one.tag.endswith("circle")
    ]
    assert len(circles) == 3
    assert circles == sorted(circles)
    assert {"a < b", "x", "y", "one"} <= {one.text for one in drawn.iter()}


def test_the_document_holds_every_row(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """One JSON document: where it was measured, and all figures of each row."""
    ended(["--only", "table", "--json"])
    document = orjson.loads(capfdbinary.readouterr().out)
    assert {"versions", "cpu", "threads", "device", "device_name", "rows", "unmeasured"} == set(document)
    assert [row["name"] for row in document["rows"]] == ["table", "compact", "notebook"]
    assert all(row["measured"].keys() == {"lower", "median", "upper"} for row in document["rows"])
    assert [set(row["seconds"]) for row in document["rows"]] == [
        {"rich", "ours"}, {"rich, compact", "ours, compact"}, {"rich, compact", "ours, notebook"},
    ]  # fmt: skip


@pytest.mark.parametrize(("at_most", "code"), [(20, 0), (15, 0), (9, 1), (None, 0)])
def test_the_exit_code_is_one_where_a_target_is_missed(
    at_most: float | None, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is missed by less than the spread, or has no target, ends with 0."""
    row = Row(name="one", title="what is measured", measured=Spread(10, 20, 30), at_most=at_most)
    monkeypatch.setitem(BENCHMARKS, "table", lambda _options: iter([row]))
    assert ended(["--only", "table"]) == code
    assert row.title in capsys.readouterr().out


def test_a_benchmark_that_lacks_a_library_is_no_success(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is reported what to install, and the exit code is 1."""
    monkeypatch.setitem(sys.modules, "loguru", None)
    assert ended(["--only", "writing"]) == 1
    assert "pip install '.[benchmarks]'" in events.said(capsys)


def ended(arguments: list[str]) -> int:
    """Run the command, and leave torch as it was."""
    threads = torch.get_num_threads()
    try:
        return main(arguments)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--only nothing", "writing"),
        ("--only cuda", "needs --device cuda"),
        ("--only table --plot here.svg", "--plot"),
        ("--threads 0", "--threads 0"),
        pytest.param(
            "--device cuda", "finds no CUDA device",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device"),
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_said(arguments: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The last line says what is wrong, an unknown name with all that there are, and the exit code is 2."""
    with pytest.raises(SystemExit) as left:
        main(arguments.split())
    assert left.value.code == 2
    assert said in events.said(capsys).splitlines()[-1]


def test_predlogs_way_of_writing_writes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What is timed as predlog's writing is a line in a file for each event, between the first and the last."""
    with writers.predlog(tmp_path / "own.jsonl") as write:
        for _ in range(3):
            write(comparison())
    kinds = [record.event.removeprefix("predlog.") for record in read(tmp_path / "own")]
    assert Counter(kinds) == {"run": 2, "comparison": 3}  # the comparisons are no recorder's
    assert not events.said(capfd)
