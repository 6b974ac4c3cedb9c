"""MLflow, read back from its store through its own client."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from predlog import Comparison, Recorder, read
from predlog.errors import SettingError
from tests import events
from tests.integrations.needed import needed
from tests.sinks import tracked

mlflow = needed("mlflow")

from predlog.sinks.mlflow import MLflow  # noqa: E402


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # its databases need packages that the small MLflow lacks
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    mlflow.set_experiment("predlog")
    with mlflow.start_run() as run:
        yield run
    mlflow.set_tracking_uri(None)


def curves(run: Any) -> list[tuple[tuple[str, int], float]]:
    client = mlflow.MlflowClient()
    names = client.get_run(run.info.run_id).data.metrics
    return [((name, one.step), one.value) for name in names for one in client.get_metric_history(run.info.run_id, name)]


def tables(run: Any) -> list[list[dict[str, str]]]:
    """Return the rows of each file, in the order of their names."""
    client = mlflow.MlflowClient()
    paths = sorted(one.path for one in client.list_artifacts(run.info.run_id, "predlog/tokens"))
    files = [mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=path) for path in paths]
    return [list(csv.DictReader(io.StringIO(Path(file).read_bytes().decode(), newline=""))) for file in files]


@pytest.mark.parametrize("score", [True, False])
def test_curves_are_those_of_the_file(tmp_path: Path, run: Any, score: bool) -> None:
    """Each metric has a value for each step at which something is known, of all samples together, and no other."""
    recorded = tracked.run(tmp_path / "run", MLflow(), score=score)
    shown = curves(run)
    assert dict(shown) == pytest.approx(tracked.curves(recorded))
    assert len(dict(shown)) == len(shown)


def test_tables_are_files_of_new_rows(tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each token is a row of one file, and no file is written again."""
    monkeypatch.setattr("predlog.sinks.mlflow._MOST_ROWS", 30)
    recorded = tracked.run(tmp_path / "run", MLflow())
    files = tables(run)
    assert len(files) == 3
    expected = [
        {name: "" if value is None else str(value) for name, value in row.items()} for row in tracked.rows(recorded)
    ]
    assert sorted((row for file in files for row in file), key=str) == sorted(expected, key=str)


def test_pages_show_the_samples_as_the_console(tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside each file of rows is a page with its steps; hostile texts are texts, and it loads and runs nothing."""
    monkeypatch.setattr("predlog.sinks.mlflow._MOST_ROWS", 30)
    recorded = tracked.run(tmp_path / "run", MLflow())
    client = mlflow.MlflowClient()
    paths = sorted(one.path for one in client.list_artifacts(run.info.run_id, "predlog/samples"))
    tables = client.list_artifacts(run.info.run_id, "predlog/tokens")
    assert [Path(path).stem for path in paths] == sorted(Path(one.path).stem for one in tables)
    files = [mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=path) for path in paths]
    tracked.assert_shown(recorded, [Path(file).read_text() for file in files])


def test_an_attempt_overwrites_no_other_s_table(run: Any) -> None:
    """What begins again from an earlier step, in the same run, has files of its own."""
    for attempt in (1, 2):
        sink = MLflow()
        sink(None, "info", events.comparison(attempt=attempt))
        sink.close()
    assert [len(rows) for rows in tables(run)] == [2, 2]


def test_findings_are_tags(tmp_path: Path, run: Any) -> None:
    """Each finding is a tag of the run, under its code and what it is about."""
    recorded = tracked.run(tmp_path / "run", MLflow(run.info.run_id))
    tags = mlflow.MlflowClient().get_run(run.info.run_id).data.tags
    shown = {name: value.partition(" More:")[0] for name, value in tags.items() if name.startswith("predlog/")}
    assert shown == {
        f"predlog/findings/{code}_ text": f"{level}, step {step}: {message}"
        for step, level, code, message in tracked.findings(recorded)
    }
    assert "predlog/findings/labels-are-inputs_ text" in shown


def test_any_name_is_one_that_mlflow_takes(run: Any) -> None:
    """Streams may have any name: MLflow gets a name that it takes, and says where it is too long."""
    sink = MLflow()
    for stream in ("eval/text", "../../etc", "a//b", "/c/", ".", "tëxt*", "new\nline", "x" * 400):
        sink(None, "info", events.comparison(stream=stream))
        sink(None, "error", events.finding(stream=stream))
    sink.flush()
    names = {name for (name, _), _ in curves(run)}
    assert "predlog/eval/text/accuracy" in names
    assert "predlog/t_xt_/accuracy" in names
    assert len(names) == 3 * 7 + 1  # the longest lose what tells them apart


def test_a_run_that_is_gone_costs_only_itself(tmp_path: Path, run: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """The file has everything, what MLflow refuses is counted there, and stderr says why."""
    with Recorder(tmp_path / "run", every=1, console=False, sinks=[MLflow()]) as recorder:
        tracked.compare(recorder, 7)
        assert recorder.flush()
        mlflow.MlflowClient().delete_run(run.info.run_id)
        tracked.compare(recorder, 8)
        tracked.compare(recorder, 9)
        assert recorder.flush()
        stats = recorder.stats()
    mlflow.MlflowClient().restore_run(run.info.run_id)
    assert stats["failed"] == 0
    assert stats["sinks"]["MLflow"]["failed"] > 0
    assert "MLflow failed: MlflowException" in events.said(capfd)
    assert {one.step for one in read(tmp_path / "run") if isinstance(one, Comparison)} == {7, 8, 9}


def test_there_must_be_a_run() -> None:
    """Without one, none is begun."""
    message = r"no MLflow run is active: call mlflow.start_run\(\) first, or pass MLflow\(run_id\)"
    with pytest.raises(SettingError, match=message):
        MLflow()
    assert mlflow.active_run() is None


def test_it_passes_every_event_on(run: Any) -> None:
    """Unchanged; those that are not predlog's are not looked at."""
    sink = MLflow()
    for event in ({"event": "user logged in"}, {"step": 3}, events.run(), events.comparison(), events.gap()):
        before = dict(event)
        assert sink(None, "info", event) is event
        assert event == before


def test_the_page_s_example(own_folder: Path, run: Any) -> None:
    """What docs/results/trackers.md shows, runs, and shows the due steps beside the host's own."""
    mlflow.end_run()
    ((example, names),) = tracked.documented("MLflow")
    exec(example, names)
    shown = [name for name, _ in curves(mlflow.last_active_run())]
    assert [step for name, step in shown if name == "predlog/text/accuracy"] == [0, 10]
    assert len([step for name, step in shown if name == "loss"]) == 12


def test_without_the_library() -> None:
    """The import fails, and says which command helps."""
    assert tracked.without("mlflow", "mlflow").endswith(
        "this needs mlflow, which is not installed:"
        " pip install 'predlog[mlflow]', or in a clone of predlog pip install '.[mlflow]'"
    )
