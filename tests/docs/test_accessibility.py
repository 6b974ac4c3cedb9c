"""axe-core finds no serious violation in the documentation, as it is built."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("selenium")
pytest.importorskip("sphinx")
pytest.importorskip("furo")
pytest.importorskip("myst_parser")

from selenium.webdriver import Chrome

from tests import ROOT, browsing
from tests.accessibility import SCREENS, violations
from tests.browsing import forget, look

pytestmark = pytest.mark.skipif(browsing.MISSING, reason=browsing.WHY_MISSING)
PAGES = (
    "index", "start/first-picture", "frameworks/transformers", "results/page", "findings/index",
    "findings/labels-are-inputs", "explanations/performance", "reference/recording", "reference/settings",
    "reference/command-line", "contributing/changing-the-code",
)  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # What sphinx has read is kept from the build before, if there was one: CI's own.
    folder, read = tmp_path_factory.mktemp("site"), ROOT / "docs" / "_build" / "html"
    if read.is_dir():
        shutil.copytree(read, folder, dirs_exist_ok=True)
    subprocess.run([sys.executable, "-m", "sphinx", "--quiet", "-b", "html", ROOT / "docs", folder], check=True)
    return folder


@pytest.mark.parametrize(("width", "dark"), [pytest.param(*one, marks=marks) for *one, marks in SCREENS])
@pytest.mark.parametrize("page", PAGES)
def test_nothing_keeps_people_out(chromium: Chrome, site: Path, page: str, width: int, dark: bool) -> None:
    """On a desk and on a phone, light and dark."""
    forget(chromium)
    look(chromium, width=width, height=900, dark=dark)
    chromium.get((site / f"{page}.html").as_uri())
    assert violations(chromium) == []
