"""Make the pictures of README.md and of the documentation, from real trainings: `python -m tests.pictures`.

The console is what a real run writes to a terminal of 80 columns, drawn by a browser. The same browser looks at the
page, at what `predlog serve` shows while another run trains, and at the site, at the sizes of a desktop and of a phone.
`--only page` makes those alone whose name begins so.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property, partial
from io import BytesIO
from pathlib import Path

from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.support.ui import WebDriverWait

from tests import ROOT, browsing
from tests.serve.serving import Server, serving
from tests.terminals import drawn, typed

IMAGES = ROOT / "docs" / "images"
# Pictures of the site help nobody who reads it. They are made to be looked at, and git ignores them.
SITE = ROOT / "docs" / "_build" / "pictures"
PREDLOG = (sys.executable, "-m", "predlog")
DESKTOP, PHONE = (1280, 880), (390, 780)
MINUTES = 5  # at most, until a run that is looked at has enough steps
MARGIN = 14  # pixels above the part of a page that a picture shows
# What is trained once, by the name of the run's folder: one for the page, with so many records that its strip is long,
# one to be beside it, and one with a mistake.
LONG = ("--every", "5", "--seconds", "600")
RUNS = {
    "demo": LONG,
    "seed1": ("--seed", "1", "--steps", "240", *LONG),
    "mistaken": ("--mistake", "unshifted", "--steps", "80", "--every", "40"),
}
# A picture of a page shows this cell and its details.
PLACE = "#step=200&token=2"


@dataclass
class Studio:
    """A folder for what is looked at, each part made when it is first needed, and a browser to look at it."""

    folder: Path
    browser: Chrome
    until_end: ExitStack
    trained: dict[str, str] = field(default_factory=dict)
    pages: dict[tuple[str, ...], Path] = field(default_factory=dict)

    def run(self, name: str) -> str:
        """Train a run in a terminal, and return what it wrote there."""
        if name not in self.trained:
            self.trained[name] = self.type("demo", "--directory", f"runs/{name}", *RUNS[name])
        return self.trained[name]

    def page(self, *names: str) -> Path:
        """Make the page of runs."""
        if names not in self.pages:
            assert all(map(self.run, names))
            self.pages[names] = page = self.folder / f"{'-'.join(names)}.html"
            runs = [f"runs/{name}" for name in names]
            subprocess.run([*PREDLOG, "report", *runs, "-o", page], cwd=self.folder, env=environment(), check=True)
        return self.pages[names]

    @cached_property
    def server(self) -> Server:
        """Serve the runs, while one more trains."""
        assert all(map(self.run, RUNS))
        command = [*PREDLOG, "demo", "--directory", "runs/longer", "--steps", "100000", *LONG]
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
        training = subprocess.Popen(command, cwd=self.folder, env=environment(), **silent)  # type: ignore[call-overload]
        self.until_end.callback(training.wait)
        self.until_end.callback(training.send_signal, signal.SIGTERM)
        return self.until_end.enter_context(serving("runs", folder=self.folder))

    @cached_property
    def site(self) -> Path:
        """Build the documentation."""
        folder = self.folder / "site"
        sphinx = (sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "-b", "html")
        subprocess.run([*sphinx, ROOT / "docs", folder], env=environment(), check=True)
        return folder

    def type(self, *command: str, directory: str = "") -> str:
        """Run a predlog command in a terminal, and return what it wrote there."""
        (self.folder / directory).mkdir(exist_ok=True)
        return typed([*PREDLOG, *command], self.folder / directory, PYTHONPATH=str(ROOT))

    def open(self, address: str, size: tuple[int, int], *, dark: bool = False, until: str = "true") -> None:
        """Look at a page, when something is true of it."""
        browsing.forget(self.browser)
        browsing.look(self.browser, width=size[0], height=size[1], dark=dark)
        self.browser.get(address)
        WebDriverWait(self.browser, MINUTES * 60).until(lambda _: self.browser.execute_script(f"return {until}"))

    def save(self, file: Path) -> None:
        """Take a picture of the window, with a palette: a third of the size, and nobody sees the difference."""
        file.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(BytesIO(self.browser.get_screenshot_as_png())) as image:
            image.convert("RGB").quantize(256, kmeans=2, dither=Image.Dither.NONE).save(file, optimize=True)
        print(f"{file.relative_to(ROOT)}: {file.stat().st_size / 1e3:.0f} kB", flush=True)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def console(studio: Studio, file: Path) -> None:
    """Take a picture of the last two steps of the demo, as the README has it called; it may take longer."""
    terminal(
        studio,
        file,
        studio.type("demo", "--steps", "200", "--seconds", "600", directory="alone"),
        begin=2,
        end="^predlog report",
    )


def finding(studio: Studio, file: Path) -> None:
    """Take a picture of a finding and its step, and of the next."""
    terminal(studio, file, studio.run("mistaken"), begin="step 0", end="^ p  ")


def terminal(studio: Studio, file: Path, written: str, *, begin: str | int, end: str) -> None:
    """Take a picture of the lines that were written to a terminal, from `begin` to `end` as in `drawn`."""
    shown = studio.folder / "terminal.html"
    shown.write_text(drawn(written, begin, end))
    browsing.look(studio.browser, sharp=True)
    studio.browser.get(shown.as_uri())
    width, height = studio.browser.execute_script(
        "const shown = document.querySelector('pre').getBoundingClientRect(); return [shown.width, shown.height]"
    )
    browsing.look(studio.browser, width=int(width), height=int(height), sharp=True)
    studio.save(file)


DRAWN = "document.getElementById('curves')?.dataset.drawn !== undefined"


def page(
    studio: Studio, file: Path, *, names: tuple[str, ...] = ("demo",), part: str = "strip", place: str = PLACE,
    size: tuple[int, int] = DESKTOP, dark: bool = False,
) -> None:  # fmt: skip
    """Take a picture of the page of runs, scrolled to a part of it, or at its top."""
    studio.open(f"{studio.page(*names).as_uri()}{place}", size, dark=dark, until=DRAWN)
    if part:
        top = "document.getElementById(arguments[0]).getBoundingClientRect().top"
        studio.browser.execute_script(f"scrollBy(0, {top} - {MARGIN})", part)
    studio.save(file)


def served(studio: Studio, file: Path, *, path: str, ready: str, size: tuple[int, int], dark: bool = False) -> None:
    """Take a picture of what `predlog serve` shows while a run trains, when `ready` is true of it."""
    live = "document.getElementById('live')?.dataset.kind === 'live'"
    studio.open(f"{studio.server.address}{path}", size, dark=dark, until=f"{live} && {ready}")
    studio.save(file)


def site(studio: Studio, file: Path, *, path: str, size: tuple[int, int], dark: bool = False) -> None:
    """Take a picture of a page of the documentation."""
    studio.open((studio.site / path).as_uri(), size, dark=dark)
    studio.save(file)


STEP = "document.querySelector('tr:has(.running) > td:nth-of-type(3)')?.textContent.replaceAll(',', '')"
LIST = partial(served, path="", ready=f"Number({STEP}) >= 50")
RUN = partial(
    served, path="run/longer/", ready=f"{DRAWN} && Number(document.querySelector('#grid .number').textContent) >= 100"
)

PICTURES: dict[Path, Callable[[Studio, Path], None]] = {
    IMAGES / "console.png": console,
    IMAGES / "finding.png": finding,
    IMAGES / "page.png": page,
    IMAGES / "page-dark.png": partial(page, dark=True),
    IMAGES / "page-phone.png": partial(page, size=PHONE),
    IMAGES / "page-phone-dark.png": partial(page, size=PHONE, dark=True),
    IMAGES / "page-text.png": partial(page, part="text-view"),
    IMAGES / "page-runs.png": partial(page, names=("demo", "seed1"), part="curves", place=""),
    IMAGES / "served-list.png": partial(LIST, size=(1280, 420)),
    IMAGES / "served-run.png": partial(RUN, size=DESKTOP),
    SITE / "page-top.png": partial(page, part="", place=""),
    SITE / "page-text-phone.png": partial(page, part="text-view", size=PHONE, dark=True),
    SITE / "page-runs-phone.png": partial(page, names=("demo", "seed1"), part="curves", place="", size=PHONE),
    SITE / "served-list-phone.png": partial(LIST, size=PHONE, dark=True),
    SITE / "served-list-dark.png": partial(LIST, size=DESKTOP, dark=True),
    SITE / "served-run-phone.png": partial(RUN, size=PHONE, dark=True),
    SITE / "index.png": partial(site, path="index.html", size=DESKTOP),
    SITE / "index-phone.png": partial(site, path="index.html", size=PHONE),
    SITE / "framework.png": partial(site, path="frameworks/transformers.html", size=DESKTOP),
    SITE / "framework-phone.png": partial(site, path="frameworks/transformers.html", size=PHONE, dark=True),
}


def main() -> None:
    """Make all pictures, or those whose name begins as asked."""
    parser = argparse.ArgumentParser(prog="python -m tests.pictures", description=__doc__)
    says = "pictures whose file's name begins with this; may be repeated"
    parser.add_argument("--only", action="append", metavar="NAME", help=says)
    only = tuple(parser.parse_args().only or [""])
    asked = {file: make for file, make in PICTURES.items() if file.name.startswith(only)}
    if not asked:
        parser.error(f"no picture begins with {' or '.join(only)}: there are {', '.join(one.name for one in PICTURES)}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="predlog-")))
        browser = stack.enter_context(browsing.browser(folder / "profile"))
        studio = Studio(folder, browser, stack)
        for file, make in asked.items():
            make(studio, file)


if __name__ == "__main__":
    main()
