"""Trackio, read back from its database through its own classes."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from predlog import Recorder
from predlog.errors import SettingError
from tests import events
from tests.integrations.needed import needed
from tests.sinks import tracked

trackio = needed("trackio")

from trackio import context_vars  # noqa: E402
from trackio.sqlite_storage import SQLiteStorage  # noqa: E402

from predlog.sinks.trackio import Trackio  # noqa: E402


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr("trackio.sqlite_storage.TRACKIO_DIR", tmp_path)  # it is read from the environment at import
    monkeypatch.setattr("trackio.utils.TRACKIO_DIR", tmp_path)
    run = trackio.init(project="predlog", name="a-run", embed=False, auto_log_cpu=False)
    yield run
    if context_vars.current_run.get() is not None:
        trackio.finish()


def logs() -> list[dict[str, Any]]:
    """Return what was logged, once it is all written."""
    trackio.finish()
    found: list[dict[str, Any]] = SQLiteStorage.get_logs("predlog", "a-run")
    return found


@pytest.mark.parametrize("score", [True, False])
def test_curves_are_those_of_the_file(tmp_path: Path, run: Any, score: bool) -> None:
    """Each metric has a value for each step at which something is known, of all samples together, and no other."""
    recorded = tracked.run(tmp_path / "run", Trackio(), score=score)
    shown = [((name, one["step"]), value) for one in logs() for name, value in one.items() if isinstance(value, float)]
    assert dict(shown) == pytest.approx(tracked.curves(recorded))
    assert len(dict(shown)) == len(shown)


def test_each_step_has_a_table_of_its_own(tmp_path: Path, run: Any) -> None:
    """It shows that step's samples as the console does, each below its heading; codebooks are rows."""
    recorded = tracked.run(tmp_path / "run", Trackio(run))
    found = logs()
    tables = {one["step"]: one["predlog/text/tokens"]["_value"] for one in found if "predlog/text/tokens" in one}
    assert [*tables] == [*tracked.STEPS]
    for step, table in tables.items():
        ones = tracked.of_step(recorded, "text", step)
        assert [*table[0]] == ["sample", "row", *(f"token {one}" for one in range(1, 11))]
        rows = [[str(cell).removeprefix("│\xa0") for cell in [*row.values()][1:]] for row in table]
        assert rows == tracked.on_console(ones)
        assert [row["sample"].partition(" · ")[0] for row in table] == ["sample 0", "", "", "sample 1", "", ""]
        assert all("✗ labels-are-inputs" in row["sample"] for row in table[::3])
    ((step, table), *_) = [
        (one["step"], one["predlog/audio/tokens"]["_value"]) for one in found if "predlog/audio/tokens" in one
    ]
    ones = tracked.of_step(recorded, "audio", step)
    for one, row in zip(ones, table, strict=True):
        assert row["row"].startswith(f"codebook {one.codebook} · loss ")
        token = one.tokens[0]
        assert row["token 1"] == (f"✓{token.label}" if token.match else f"{token.label}→{token.prediction}")


def test_findings_are_alerts(tmp_path: Path, run: Any) -> None:
    """Each finding is one alert at its level and its step."""
    recorded = tracked.run(tmp_path / "run", Trackio())
    trackio.finish()
    alerts = SQLiteStorage.get_alerts("predlog")
    levels = {"error": "error", "warning": "warn", "info": "info"}
    assert sorted((one["step"], one["level"], one["title"], one["text"].partition(" More:")[0]) for one in alerts) == [
        (step, levels[level], f"predlog: {code}, text", f"step {step}: {message}")
        for step, level, code, message in sorted(tracked.findings(recorded))
    ]
    assert alerts


def test_the_host_s_steps_stay_its_own(run: Any) -> None:
    """What the host logs with its step keeps it, beside ours."""
    with Recorder(every=1, console=False, strict=True, sinks=[Trackio()]) as recorder:
        for step in tracked.STEPS:
            tracked.compare(recorder, step)
            assert recorder.flush()
            trackio.log({"loss": step / 2}, step=step)
    found = logs()
    assert [(one["step"], one["loss"]) for one in found if "loss" in one] == [
        (step, step / 2) for step in tracked.STEPS
    ]
    assert [one["step"] for one in found if "predlog/text/accuracy" in one] == [*tracked.STEPS]


def test_a_run_that_is_over_takes_the_rest(tmp_path: Path, run: Any) -> None:
    """Finished too early, Trackio goes on to write what comes; nothing is lost, here or in the file."""
    with Recorder(tmp_path / "run", every=1, console=False, strict=True, sinks=[Trackio()]) as recorder:
        tracked.compare(recorder, 7)
        assert recorder.flush()
        trackio.finish()
        tracked.compare(recorder, 8)
    run.finish()
    found = SQLiteStorage.get_logs("predlog", "a-run")
    assert [one["step"] for one in found if "predlog/text/accuracy" in one] == [7, 8]


def test_it_is_the_run_of_the_thread_that_calls(run: Any) -> None:
    """Without one, none is begun, and the error names what to do: a Trackio run is current in one thread alone."""
    raised: list[BaseException] = []

    def elsewhere() -> None:
        with pytest.raises(SettingError) as caught:
            Trackio()
        raised.append(caught.value)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert str(raised[0]) == "no Trackio run is active: call trackio.init() first, or pass Trackio(run)"
    Trackio()


def test_it_passes_every_event_on(run: Any) -> None:
    """Unchanged; those that are not predlog's are not looked at."""
    sink = Trackio()
    for event in ({"event": "user logged in"}, {"step": 3}, events.run(), events.comparison(), events.gap()):
        before = dict(event)
        assert sink(None, "info", event) is event
        assert event == before


def test_the_page_s_example(own_folder: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What docs/results/trackers.md shows, runs, and shows the due steps beside the host's own."""
    trackio.finish()
    ((example, names),) = tracked.documented("Trackio")
    exec(example, names)
    (done,) = trackio.Api().runs("speech")
    found = SQLiteStorage.get_logs("speech", done.name)
    assert sorted(one["step"] for one in found if "predlog/text/accuracy" in one) == [0, 10]
    assert len([one for one in found if "loss" in one]) == 12


def test_without_the_library() -> None:
    """The import fails, and says which command helps."""
    assert tracked.without("trackio", "trackio").endswith(
        "this needs trackio, which is not installed:"
        " pip install 'predlog[trackio]', or in a clone of predlog pip install '.[trackio]'"
    )
