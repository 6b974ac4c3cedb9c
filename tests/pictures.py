"""Make the pictures of README.md and of the documentation, from a real training: `python -m tests.pictures`.

The console is what a real run writes to a terminal of 80 columns, drawn by a browser. The same browser looks at the
page and at the site, at the sizes of a desktop and of a phone. `--only page` makes those that begin so alone.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from io import BytesIO
from pathlib import Path

from PIL import Image
from selenium.webdriver import Chrome

from tests import ROOT, browsing
from tests.terminals import drawn, typed

IMAGES = ROOT / "docs" / "images"
# Pictures of the site help nobody who reads it. They are made to be looked at, and git ignores them.
SITE = ROOT / "docs" / "_build" / "pictures"
PREDLOG = (sys.executable, "-m", "predlog")
DESKTOP, PHONE = (1280, 880), (390, 780)
# The demo's run is made once, with so many records that its strip is long.
TRAINED = ("demo", "--every", "5", "--seconds", "600", "--directory", "runs/demo")
MISTAKEN = ("demo", "--mistake", "unshifted", "--steps", "80", "--every", "40", "--directory", "runs/mistaken")
# A picture of a page shows this cell and its details.
PLACE = "#step=200&token=2"


@dataclass
class Studio:
    """A folder for what is looked at, each part made when it is first needed, and a browser to look at it."""

    folder: Path
    browser: Chrome

    @cached_property
    def demo(self) -> str:
        """Train the demo in a terminal, and return what it wrote there."""
        return self.type(*TRAINED)

    @cached_property
    def page(self) -> Path:
        """Make the page of the demo's run."""
        assert self.demo
        page = self.folder / "report.html"
        subprocess.run([*PREDLOG, "report", self.folder / "runs" / "demo", "-o", page], check=True)
        return page

    @cached_property
    def site(self) -> Path:
        """Build the documentation."""
        folder = self.folder / "site"
        sphinx = (sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "-b", "html")
        subprocess.run([*sphinx, ROOT / "docs", folder], check=True)
        return folder

    def type(self, *command: str) -> str:
        """Run a predlog command in a terminal, and return what it wrote there."""
        return typed([*PREDLOG, *command], self.folder, PYTHONPATH=str(ROOT))

    def save(self, file: Path) -> None:
        """Take a picture of the window, with a palette: a third of the size, and nobody sees the difference."""
        file.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(BytesIO(self.browser.get_screenshot_as_png())) as image:
            image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)
        print(f"{file.relative_to(ROOT)}: {file.stat().st_size / 1e3:.0f} kB", flush=True)


def terminal(studio: Studio, file: Path, *, command: tuple[str, ...], begin: str | int, end: str) -> None:
    """Take a picture of the lines that a command writes to a terminal, from `begin` to `end` as in `drawn`."""
    written = studio.demo if command == TRAINED else studio.type(*command)
    shown = studio.folder / "terminal.html"
    shown.write_text(drawn(written, begin, end))
    browsing.look(studio.browser, sharp=True)
    studio.browser.get(shown.as_uri())
    width, height = studio.browser.execute_script(
        "const shown = document.querySelector('pre').getBoundingClientRect(); return [shown.width, shown.height]"
    )
    browsing.look(studio.browser, width=int(width), height=int(height), sharp=True)
    studio.save(file)


def page(studio: Studio, file: Path, *, size: tuple[int, int], dark: bool = False) -> None:
    """Take a picture of the page of a run, scrolled to its strip."""
    browsing.forget(studio.browser)
    browsing.look(studio.browser, width=size[0], height=size[1], dark=dark)
    studio.browser.get(f"{studio.page.as_uri()}{PLACE}")
    browsing.until(studio.browser, "document.getElementById('curves').dataset.drawn !== undefined")
    studio.browser.execute_script("document.getElementById('strip').scrollIntoView()")
    studio.save(file)


def site(studio: Studio, file: Path, *, path: str, size: tuple[int, int], dark: bool = False) -> None:
    """Take a picture of a page of the documentation."""
    browsing.look(studio.browser, width=size[0], height=size[1], dark=dark)
    studio.browser.get((studio.site / path).as_uri())
    studio.save(file)


# Which pictures there are. Those of `predlog serve`, its list and a run, belong here, beside those of the page.
PICTURES: dict[Path, Callable[[Studio, Path], None]] = {
    IMAGES / "console.png": partial(terminal, command=("demo",), begin=2, end="predlog report"),
    IMAGES / "finding.png": partial(terminal, command=MISTAKEN, begin="step 0", end=" p  "),
    IMAGES / "page.png": partial(page, size=DESKTOP),
    IMAGES / "page-dark.png": partial(page, size=DESKTOP, dark=True),
    IMAGES / "page-phone.png": partial(page, size=PHONE),
    IMAGES / "page-phone-dark.png": partial(page, size=PHONE, dark=True),
    SITE / "index.png": partial(site, path="index.html", size=DESKTOP),
    SITE / "index-phone.png": partial(site, path="index.html", size=PHONE),
    SITE / "framework.png": partial(site, path="frameworks/transformers.html", size=DESKTOP),
    SITE / "framework-phone.png": partial(site, path="frameworks/transformers.html", size=PHONE, dark=True),
}


def main() -> None:
    """Make all pictures, or those whose name begins as asked."""
    parser = argparse.ArgumentParser(prog="python -m tests.pictures", description=__doc__)
    parser.add_argument("--only", default="", metavar="NAME", help="pictures whose file's name begins with this")
    only = parser.parse_args().only
    with tempfile.TemporaryDirectory() as name, browsing.browser(Path(name, "profile")) as browser:
        studio = Studio(Path(name), browser)
        for file, make in PICTURES.items():
            if file.name.startswith(only):
                make(studio, file)


if __name__ == "__main__":
    main()
