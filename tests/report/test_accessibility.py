"""axe-core finds no serious violation in the page, whatever run it is of, however large and bright the screen is."""

from pathlib import Path

import pytest

pytest.importorskip("selenium")
pytest.importorskip("bokeh")
pytest.importorskip("jinja2")

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from predlog.reading.reader import read
from predlog.report import page as report
from predlog.report.contents import Contents
from tests import browsing, events
from tests.accessibility import SCREENS, violations
from tests.pages import opened
from tests.reported import corpus, odd, scored, trained, written

pytestmark = pytest.mark.skipif(browsing.MISSING, reason=browsing.WHY_MISSING)
KINDS = ("one run, with codebooks", "two runs", "whole tokens", "what is odd", "no comparison", "hostile texts")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    refused = [events.run(stats={"refused": 3}), events.finding(code="layout-mismatch", level="error")]
    runs = [trained(), scored(), odd(), iter(refused), corpus()]
    one, whole, strange, nothing, hostile = (
        written(folder / name, told)[0] for name, told in zip("abcde", runs, strict=True)
    )
    both = folder / "both.html"
    both.write_text(report.page([Contents.of(read(folder / name), name) for name in ("a", "b")]).html, "utf-8")
    return dict(zip(KINDS, (one, both, whole, strange, nothing, hostile), strict=True))


@pytest.mark.parametrize(
    ("kind", "width", "dark"),
    [
        *(pytest.param(kind, *screen, marks=marks) for kind in KINDS[:3] for *screen, marks in SCREENS),
        *((kind, 390, True) for kind in KINDS[3:]),
    ],
)
def test_nothing_keeps_people_out(chromium: Chrome, pages: dict[str, Path], kind: str, width: int, dark: bool) -> None:
    """Neither as it opens nor with all of it unfolded, a line hidden and another way to show cells."""
    opened(chromium, pages[kind], width=width, height=900, dark=dark)
    assert violations(chromium) == []
    chromium.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    for button in chromium.find_elements(By.CSS_SELECTOR, "#chips .chip")[:1]:
        chromium.execute_script("arguments[0].click()", button)
    for way in chromium.find_elements(By.CSS_SELECTOR, "#predictions-below"):
        chromium.execute_script("arguments[0].click()", way)
    assert violations(chromium) == []


def test_that_this_test_can_fail(chromium: Chrome, pages: dict[str, Path]) -> None:
    """A button without a name and a text that is too pale are found."""
    opened(chromium, pages["whole tokens"])
    chromium.execute_script(
        "document.querySelector('h1').style.color = '#ddd'; document.getElementById('scheme').textContent = ''"
    )
    found = violations(chromium)
    assert [one.partition(" ")[0] for one in found] == ["button-name", "color-contrast"]
