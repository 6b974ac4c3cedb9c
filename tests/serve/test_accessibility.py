"""axe-core finds no serious violation in what `predlog serve` shows, its list and a run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("selenium")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("bokeh")
pytest.importorskip("jinja2")

from selenium.webdriver import Chrome

from tests import browsing, events
from tests.accessibility import SCREENS, violations
from tests.browsing import forget, look, until
from tests.reported import trained
from tests.serve.serving import Server, serving
from tests.written import written

pytestmark = pytest.mark.skipif(browsing.MISSING, reason=browsing.WHY_MISSING)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve a run that goes on, one that has ended with an open error, and one whose file is no run."""
    runs = tmp_path_factory.mktemp("served") / "runs"
    ended = [
        events.comparison(step=1),
        events.finding(code="collapsed"),
        events.run(stats={"written": 2}),
    ]
    for name, told in {"goes on": [*trained()], "ended": ended}.items():
        written(runs / name, *told)
    (runs / "damaged").mkdir()
    (runs / "damaged" / "predictions.jsonl").write_bytes(b"no record\n")
    with serving(runs) as running:
        yield running


@pytest.mark.parametrize(("width", "dark"), [pytest.param(*one, marks=marks) for *one, marks in SCREENS])
@pytest.mark.parametrize("path", ["", "run/goes%20on/", "run/ended/"])
def test_nothing_keeps_people_out(chromium: Chrome, server: Server, path: str, width: int, dark: bool) -> None:
    """On a desk and on a phone, light and dark."""
    forget(chromium)
    look(chromium, width=width, height=900, dark=dark)
    chromium.get(f"{server.address}{path}")
    until(chromium, "['live', 'ended'].includes(document.getElementById('live').dataset.kind)")
    assert violations(chromium) == []


def test_nor_without_a_run_or_a_server(chromium: Chrome, tmp_path: Path) -> None:
    """Nor does an empty list, or a page whose server has ended."""
    (tmp_path / "runs").mkdir()
    with serving(tmp_path / "runs") as server:
        forget(chromium)
        chromium.get(server.address)
        until(chromium, "document.getElementById('live').dataset.kind === 'live'")
        assert violations(chromium) == []
    until(chromium, "document.getElementById('live').dataset.kind === 'away'")
    assert violations(chromium) == []
