"""What the page of a run of 10,000 comparisons takes: to be made, and to be there in a browser."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.harness import Row, Spread, duration
from tests.benchmarks.logged import logged
from tests.benchmarks.options import Options

COMPARISONS = 10_000
_ROUNDS = 5


def paging(_options: Options) -> Iterator[Row]:
    """Measure the command in fresh processes, and the page in fresh tabs of a headless browser."""
    with tempfile.TemporaryDirectory() as folder:
        file, page = Path(folder, "predictions.jsonl"), Path(folder, "report.html")
        logged(file, COMPARISONS)
        seconds = Spread.of(_made(file, page) for _ in range(_ROUNDS))
        size = f"{page.stat().st_size / 1e6:.1f} MB"
        yield Row(
            name="report", title=f"predlog report of {COMPARISONS:,} comparisons", measured=seconds, at_most=10.0,
            unit="s", note=size, seconds={"report": seconds},
        )  # fmt: skip
        painted, ready, keyed = zip(*_opened(page), strict=True)
        yield _row("paint", "its first paint in a headless browser", painted, at_most=2.0)
        yield _row("ready", "until its strip can be moved in", ready)
        yield _row("key", "a key in its strip, drawn", keyed)


def _row(name: str, title: str, seconds: tuple[float, ...], at_most: float | None = None) -> Row:
    spread = Spread.of(seconds)
    return Row(
        name=name, title=title, measured=spread, at_most=at_most, unit="s", note=duration(spread.median),
        seconds={name: spread},
    )  # fmt: skip


def _made(file: Path, page: Path) -> float:
    start = time.perf_counter()
    command = [sys.executable, "-m", "predlog", "report", str(file), "-o", str(page)]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


# The keys come one a frame, as they do from a hand, so what is measured is the work of one.
_KEYS = """
const done = arguments[0], grid = document.getElementById("grid");
document.querySelector(".cell").focus();
let spent = 0, left = 200;
const press = () => {
  const start = performance.now();
  const key = new KeyboardEvent("keydown", { key: left % 4 ? "ArrowDown" : "PageDown", bubbles: true });
  document.activeElement.dispatchEvent(key);
  grid.getBoundingClientRect();
  spent += performance.now() - start;
  if (--left) requestAnimationFrame(press);
  else done(spent / 200);
};
press();
"""
_PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
_READY = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"


def _opened(page: Path) -> Iterator[tuple[float, float, float]]:
    """Yield the seconds to the first paint, to all scripts done, and a key, of each time the page is opened."""
    from tests import browsing  # noqa: PLC0415 - selenium may not be installed

    if browsing.MISSING:
        raise ModuleNotFoundError(browsing.WHY_MISSING)
    with tempfile.TemporaryDirectory() as profile, browsing.browser(Path(profile)) as browser:
        for _ in range(_ROUNDS):
            browsing.forget(browser)
            browsing.look(browser)
            browser.get(page.as_uri())
            painted = browsing.until(browser, _PAINTED)
            ready = browsing.until(browser, _READY)
            yield painted / 1e3, ready / 1e3, browser.execute_async_script(_KEYS) / 1e3
