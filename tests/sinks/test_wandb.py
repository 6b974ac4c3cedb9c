"""W&B, offline, read back from the file that it would send."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from predlog import Comparison, Recorder, read
from predlog.errors import SettingError
from tests import events
from tests.integrations.needed import needed
from tests.sinks import tracked

wandb = needed("wandb")
protocol = needed("wandb.proto.wandb_internal_pb2")

from predlog.sinks.wandb import WandB  # noqa: E402

# Its client leaves sockets to the garbage collector, which may come in any later line.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
    with wandb.init(mode="offline", project="predlog", dir=tmp_path, settings=settings) as run:
        yield run
    wandb.teardown()


def read_back(run: Any) -> list[Any]:
    """Return the records of a run that is over: its file is a log of LevelDB's."""
    run.finish()
    wandb.teardown()  # the process that writes the file may not be done before it ends
    content = Path(run.settings.sync_file).read_bytes()
    at, body, found = 7, b"", []
    while at + 7 <= len(content):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        body += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in {1, 4}:  # whole, or its last part
            found.append(protocol.Record.FromString(body))
            body = b""
    return found


def history(run: Any) -> list[dict[str, Any]]:
    return [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in one.history.item}
        for one in read_back(run)
        if one.WhichOneof("record_type") == "history"
    ]


def points(rows: list[dict[str, Any]]) -> dict[tuple[str, int], float]:
    """Return each point by its curve and its place on the axis that the curve has."""
    return {
        (name, row[f"{'/'.join(name.split('/')[:2])}/step"]): value
        for row in rows
        for name, value in row.items()
        if name.startswith("predlog/")
        and name.endswith(("/loss", "/entropy", "/accuracy", "/logprob", "/supervised"))
        and value is not None
    }


def tables(run: Any) -> list[dict[str, Any]]:
    """Return the rows of all increments, in their order."""
    files = sorted(Path(run.settings.files_dir).glob("media/table/predlog/*.json"), key=lambda one: one.stat().st_mtime)
    found = [json.loads(file.read_text()) for file in files]
    return [dict(zip(table["columns"], row, strict=True)) for table in found for row in table["data"]]


@pytest.mark.parametrize("score", [True, False])
def test_curves_are_those_of_the_file(tmp_path: Path, run: Any, score: bool) -> None:
    """With rows of its own, each curve has each point, of all samples together, on an axis of its own."""
    recorded = tracked.run(tmp_path / "run", WandB(commit=True), score=score)
    rows = history(run)
    assert points(rows) == pytest.approx(tracked.curves(recorded))
    assert [row["predlog/text/step"] for row in rows if "predlog/text/step" in row] == [*tracked.STEPS]


def test_the_axes_are_predlog_s(tmp_path: Path, run: Any) -> None:
    """W&B draws the curves over the steps that `compare` was given, whatever its own step is."""
    tracked.run(tmp_path / "run", WandB(run))
    metrics = [one.metric for one in read_back(run) if one.WhichOneof("record_type") == "metric"]
    assert {one.glob_name: one.step_metric for one in metrics if one.glob_name} == {
        "predlog/text/*": "predlog/text/step", "predlog/audio/*": "predlog/audio/step"
    }  # fmt: skip


def test_the_host_s_own_steps_lose_nothing(run: Any) -> None:
    """All that the host logs is kept under its steps, beside the newest point that came while the row was open."""
    with Recorder(every=1, console=False, strict=True, sinks=[WandB()]) as recorder:
        for step in range(6):
            for again in range(5):
                tracked.compare(recorder, 10 * step + again)
                assert recorder.flush()
            run.log({"loss": step / 2}, step=step)
            assert recorder.flush()
            run.log({"lr": step / 4}, step=step)
    rows = history(run)
    assert [(row["_step"], row["loss"], row["lr"]) for row in rows if "loss" in row] == [
        (step, step / 2, step / 4) for step in range(6)
    ]
    # What comes before `log(…, step=1)` is of the row before.
    assert [row.get("predlog/text/step") for row in rows] == [14, 24, 34, 44, 54, None]


def test_in_a_row_that_is_still_open_no_value_is_of_another_step(run: Any) -> None:
    """If a step has no log-probability, the last step's does not take its place."""
    sink = WandB(run)
    sink(None, "info", events.comparison(step=1))
    token = events.token(1, label_logprob=None)
    sink(None, "info", events.comparison(step=2, tokens=[token]))
    sink.flush()
    (row,) = history(run)
    assert (row["predlog/text/step"], row["predlog/text/logprob"]) == (2, None)


def test_each_step_is_shown_as_on_the_console(tmp_path: Path, run: Any) -> None:
    """With each logged step comes its HTML; hostile texts are texts, and it loads and runs nothing."""
    recorded = tracked.run(tmp_path / "run", WandB(commit=True))
    rows = history(run)
    for stream in ("text", "audio"):
        assert [row[f"predlog/{stream}/step"] for row in rows if f"predlog/{stream}/samples/_type" in row] == [
            step for step in tracked.STEPS if tracked.of_step(recorded, stream, step)
        ]
    files = sorted(
        Path(run.settings.files_dir).glob("media/html/predlog/*/*.html"), key=lambda one: one.stat().st_mtime
    )
    tracked.assert_shown(recorded, [file.read_text() for file in files])


def test_tables_grow_in_increments(tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each token is a row once, however often rows are logged; a table that is full is followed by the next."""
    monkeypatch.setattr("predlog.sinks.wandb._INCREMENT", 30)
    monkeypatch.setattr("predlog.sinks.wandb._MOST_ROWS", 100)
    recorded = tracked.run(tmp_path / "run", WandB(commit=True))
    rows = history(run)
    logged = [name for row in rows for name in row if name.startswith("predlog/tokens") and name.endswith("/nrows")]
    assert logged == ["predlog/tokens/nrows", "predlog/tokens/nrows", "predlog/tokens 2/nrows"]
    assert tables(run) == tracked.rows(recorded)


def test_findings_are_alerts(tmp_path: Path, run: Any) -> None:
    """Each finding is one alert at its level."""
    recorded = tracked.run(tmp_path / "run", WandB())
    alerts = [one.alert for one in read_back(run) if one.WhichOneof("record_type") == "alert"]
    found = list(tracked.findings(recorded))
    assert len(found) >= 2
    levels = {"error": "ERROR", "warning": "WARN", "info": "INFO"}
    assert [(one.title, one.level, one.text.partition(" More:")[0]) for one in alerts] == [
        (f"predlog: {code}, text", levels[level], f"step {step}: {message}") for step, level, code, message in found
    ]


def test_a_finding_that_is_gone_is_reported_at_once(run: Any) -> None:
    """W&B doesn't keep the second alert of the same title back, and no title is longer than it takes."""
    sink = WandB()
    for level in ("warning", "info"):
        sink(None, level, events.finding(level=level, stream="a-stream" * 20))
    alerts = [one.alert for one in read_back(run) if one.WhichOneof("record_type") == "alert"]
    assert [(one.level, one.wait_duration < 1000, len(one.title) < 64) for one in alerts] == [
        ("WARN", True, True), ("INFO", True, True)
    ]  # fmt: skip


def test_a_run_that_is_over_costs_only_itself(tmp_path: Path, run: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """The file has everything, what W&B refuses is counted there, and stderr says why."""
    with Recorder(tmp_path / "run", every=1, console=False, sinks=[WandB()]) as recorder:
        tracked.compare(recorder, 7)
        assert recorder.flush()
        run.finish()
        tracked.compare(recorder, 8)
        tracked.compare(recorder, 9)
        assert recorder.flush()
        stats = recorder.stats()
    assert stats["failed"] == 0
    assert stats["sinks"]["WandB"]["failed"] > 0
    assert "WandB failed: UsageError: Run" in events.said(capfd)
    assert {one.step for one in read(tmp_path / "run") if isinstance(one, Comparison)} == {7, 8, 9}


def test_there_must_be_a_run() -> None:
    """Without one, none is begun."""
    with pytest.raises(SettingError, match=r"no W&B run is active: call wandb.init\(\) first, or pass WandB\(run\)"):
        WandB()
    assert wandb.run is None


def test_it_passes_every_event_on(run: Any) -> None:
    """Unchanged; those that are not predlog's are not looked at."""
    sink = WandB(run)
    for event in ({"event": "user logged in"}, {"step": 3}, events.run(), events.comparison(), events.gap()):
        before = dict(event)
        assert sink(None, "info", event) is event
        assert event == before


def test_the_page_s_examples(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What trackers.md shows, runs: in the host's rows, or in its own where the host leaves steps to W&B."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_CONSOLE", "off")
    for (example, names), steps in zip(tracked.documented("W&B"), ([10], [0, 10]), strict=True):
        exec(example, names)
        rows = history(names["run"])
        assert {row["predlog/text/step"] for row in rows if "predlog/text/step" in row} >= {*steps}
        assert len([row for row in rows if "loss" in row]) == 12


def test_without_the_library() -> None:
    """The import fails, and says which command helps."""
    assert tracked.without("wandb", "wandb").endswith(
        "this needs wandb, which is not installed:"
        " pip install 'predlog[wandb]', or in a clone of predlog pip install '.[wandb]'"
    )


@pytest.mark.filterwarnings("default")
def test_beside_a_trainer_that_logs_to_the_same_run(run: Any, tmp_path: Path) -> None:
    """As trackers.md says: with `commit=True`, each logged step has its point, and the Trainer's loss its own."""
    needed("accelerate")
    from transformers import Trainer  # noqa: PLC0415 - the other tests do without

    from predlog.integrations.transformers import PredictionCallback  # noqa: PLC0415
    from tests.integrations.test_trainer import trained  # noqa: PLC0415

    callback = PredictionCallback(console=False, sinks=[WandB(run, commit=True)])
    trained(tmp_path, [callback], kind=Trainer, report_to=["wandb"])
    rows = history(run)
    assert {step for name, step in points(rows) if name == "predlog/train/logprob"} == {0, 3, 6}
    assert sorted(row["train/global_step"] for row in rows if "train/loss" in row) == [3, 6]
