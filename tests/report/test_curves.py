"""The curves in a real browser: what is drawn, smoothed, hidden and read off, of one run and of several."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium")
pytest.importorskip("bokeh")
pytest.importorskip("jinja2")

from hypothesis import given
from hypothesis import strategies as st
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from predlog.records.codec import from_event
from predlog.records.figures import Point
from predlog.report import curves
from predlog.report import page as report
from predlog.report.contents import Contents
from tests import browsing, events
from tests.browsing import complaints, forget, look, until
from tests.reported import HOSTILE, corpus

needs_browser = pytest.mark.skipif(browsing.MISSING, reason=browsing.WHY_MISSING)
STEPS = range(0, 200, 10)
BOOKS = 4


def loss_of(step: int, stream: str, codebook: int | None, floor: float) -> float:
    """Return a loss with a ripple; of codebooks, each lies above the one before."""
    book = 0 if codebook is None else codebook + 4
    return floor + book + 5 * math.exp(-step / 60) + (0.4 if step % 20 else 0)


def told(floor: float = 1.0, books: int = BOOKS, steps: Sequence[int] = STEPS) -> Iterator[dict[str, Any]]:
    """Yield a run of text and of audio with several codebooks, a finding and a gap."""
    lanes: list[tuple[str, int | None]] = [("text", None), *(("audio", book) for book in range(books))]
    for step in steps:
        for stream, book in lanes:
            scores = {**events.LATER, "recorder": "0a1b2c3d", "loss": loss_of(step, stream, book, floor)}
            yield events.comparison(
                step=step, stream=stream, codebook=book, supervised=100, matched=step // 2, **scores
            )
        if step == steps[0]:
            yield events.finding(step=step, code="collapsed", level="warning", message="one token everywhere")


def contents(events_of: Iterator[dict[str, Any]], name: str = "exp1") -> Contents:
    return Contents.of(map(from_event, events_of), f"runs/{name}", name)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a page of one run, which passes its data on to the test, and one of three."""
    folder = tmp_path_factory.mktemp("pages")
    asset = report._asset
    with pytest.MonkeyPatch.context() as patch:
        added = "window.updateCurves = updateCurves;\n"
        patch.setattr(report, "_asset", lambda name: asset(name) + (added if name == "main.js" else ""))
        made = {"one": [contents(told())], "three": [contents(told(floor), f"run{floor}") for floor in (1, 3, 2)]}
        for name, runs in made.items():
            (folder / f"{name}.html").write_text(report.page(runs).html, "utf-8")
    return {name: folder / f"{name}.html" for name in made}


def opened(browser: Chrome, page: Path, **how: Any) -> Chrome:
    forget(browser)
    look(browser, **how)
    browser.get(page.as_uri())
    until(browser, "document.getElementById('curves').dataset.drawn !== undefined")
    return browser


# What Bokeh drew, by its name, as plain numbers.
DRAWN = """
const model = (name) => Bokeh.documents.at(-1).get_model_by_name(name);
const plain = (one) => (one?.[Symbol.iterator] && typeof one !== "string" ? [...one] : one);
const columns = (name) => Object.fromEntries(Object.entries(model(name).data_source.data).map(
  ([column, values]) => [column, [...values].map(plain)]));
"""


def drawn(browser: Chrome, name: str) -> dict[str, Any]:
    """Return the columns that a part of a plot draws."""
    found: dict[str, Any] = browser.execute_script(f"{DRAWN} return columns(arguments[0])", name)
    return found


def values(browser: Chrome, name: str = "loss") -> list[float]:
    """Return the range of the values of a plot."""
    found: list[float] = browser.execute_script(
        f"{DRAWN} const {{ start, end }} = model(`values-${{arguments[0]}}`); return [start, end]", name
    )
    return found


def chip(browser: Chrome, name: str) -> Any:
    (found,) = [one for one in browser.find_elements(By.CSS_SELECTOR, "#chips .chip") if one.text == name]
    return found


def slide(browser: Chrome, *keys: str) -> str:
    """Press keys on the slider, and return what it says."""
    slider = browser.find_element(By.ID, "smoothing")
    slider.send_keys(*keys)
    told: str = browser.find_element(By.ID, "smoothing-value").text
    assert slider.get_attribute("aria-valuetext") == told
    return told


def smoothed(losses: Sequence[float], half_life: float) -> list[float]:
    """Return the exponential mean that the page documents, of one record per step."""
    ages = [[0.5 ** ((at - one) / half_life) for one in range(at + 1)] for at in range(len(losses))]
    return [sum(w * v for w, v in zip(age, losses, strict=False)) / sum(age) for age in ages]


def losses(stream: str, codebook: int | None, floor: float = 1.0, steps: Sequence[int] = STEPS) -> list[float]:
    return [loss_of(step, stream, codebook, floor) for step in steps]


# --- one run ------------------------------------------------------------------------------------------------------


@needs_browser
def test_codebooks_are_a_band_with_their_mean(chromium: Chrome, pages: dict[str, Path]) -> None:
    """Several codebooks are one line, their mean, in a band from lowest to highest; a click shows a single one."""
    browser = opened(chromium, pages["one"])
    lines, bands = drawn(browser, "lines-loss"), drawn(browser, "bands-loss")
    every = [losses("audio", book) for book in range(BOOKS)]
    mean = [sum(ones) / BOOKS for ones in zip(*every, strict=True)]
    assert len(lines["ys"]) == 2
    assert lines["xs"] == [[*STEPS], [*STEPS]]
    assert lines["ys"][0] == pytest.approx(losses("text", None), rel=1e-5)
    assert lines["ys"][1] == pytest.approx(mean, rel=1e-5)
    (band,) = bands["ys"]
    assert band[: len(STEPS)] == pytest.approx(every[-1], rel=1e-5)
    assert band[len(STEPS) :] == pytest.approx(every[0][::-1], rel=1e-5)
    browser.find_element(By.CSS_SELECTOR, "#chips .codebooks summary").click()
    single = chip(browser, "2")
    for count, pressed in ((3, "true"), (2, "false")):
        single.click()
        lines = drawn(browser, "lines-loss")
        assert (len(lines["ys"]), single.get_attribute("aria-pressed")) == (count, pressed)
        if count == 3:
            assert lines["ys"][2] == pytest.approx(every[2], rel=1e-5)
    assert not complaints(browser)


@needs_browser
def test_hiding_a_line_leaves_the_others_bright(chromium: Chrome, pages: dict[str, Path]) -> None:
    """Pointing at a name makes the other lines faint; pressed, it hides its own, and the axis follows what is left."""
    browser = opened(chromium, pages["one"])
    name = chip(browser, "audio")
    whole = values(browser)
    ActionChains(browser, duration=0).move_to_element(name).perform()
    assert drawn(browser, "lines-loss")["alpha"] == [0.25, 1]
    name.click()
    lines = drawn(browser, "lines-loss")
    assert (len(lines["ys"]), lines["alpha"]) == (1, [1])
    assert not drawn(browser, "bands-loss")["ys"]
    text = losses("text", None)
    low, high = values(browser)
    assert high < whole[1]
    assert 0 <= low < min(text) < max(text) < high < 1.2 * max(text)
    name.click()
    assert values(browser) == whole
    assert drawn(browser, "lines-loss")["alpha"] == [1, 1]


@needs_browser
def test_smoothing_keeps_what_was_recorded(chromium: Chrome, pages: dict[str, Path]) -> None:
    """The slider moves by keys and says its value; the line is the exponential mean, beside a pale one as recorded."""
    browser = opened(chromium, pages["one"])
    assert slide(browser) == "off"
    assert drawn(browser, "raw-loss")["ys"] == []
    assert slide(browser, Keys.ARROW_RIGHT) == "half-life 5 records"
    recorded, lines = drawn(browser, "raw-loss"), drawn(browser, "lines-loss")
    assert recorded["ys"][0] == pytest.approx(losses("text", None), rel=1e-5)
    assert lines["ys"][0] == pytest.approx(smoothed(losses("text", None), 5), rel=1e-5)
    assert max(recorded["alpha"]) < 0.5 < min(lines["alpha"])
    (band,) = drawn(browser, "bands-loss")["ys"]
    assert band[: len(STEPS)] == pytest.approx(smoothed(losses("audio", BOOKS - 1), 5), rel=1e-5)
    plot = browser.find_element(By.ID, "plot-loss")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    ActionChains(browser, duration=0).move_to_element(plot).perform()
    readout = until(browser, "document.querySelector('#figure-loss .readout:not([hidden])')?.innerText")
    step = int(readout.split()[1])
    assert f"{loss_of(step, 'text', None, 1.0):.3g}" in readout
    assert "as recorded, not smoothed" in readout
    assert f"{loss_of(step, 'audio', 0, 1.0):.3g} (0) to {loss_of(step, 'audio', 3, 1.0):.3g} (3)" in readout
    assert slide(browser, Keys.HOME) == "off"
    assert drawn(browser, "lines-loss")["ys"][0] == pytest.approx(losses("text", None), rel=1e-5)


def dragged(browser: Chrome, plot: str, start: float, end: float) -> None:
    """Drag over a part of a plot, given as shares of its width."""
    found = browser.find_element(By.ID, f"plot-{plot}")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
    width = found.size["width"]
    drag = ActionChains(browser, duration=20).move_to_element_with_offset(found, int((start - 0.5) * width), 0)
    drag.click_and_hold().move_by_offset(int((end - start) * width), 0).release().perform()


RANGE = f"{DRAWN} const {{ start, end }} = model('steps'); return [start, end]"


@needs_browser
def test_a_drag_zooms_into_all_plots(chromium: Chrome, pages: dict[str, Path]) -> None:
    """A drag over one plot zooms all, and their values fit what is in sight; the button beside it goes back."""
    browser = opened(chromium, pages["one"])
    whole, of_values = browser.execute_script(RANGE), values(browser)
    dragged(browser, "loss", 0.6, 0.9)
    until(browser, f"(() => {{ {RANGE} }})()[0] > 80")
    low, high = browser.execute_script(RANGE)
    inside = [step for step in STEPS if low <= step <= high]
    highest = max(losses("audio", BOOKS - 1, steps=inside))
    assert highest < values(browser)[1] < 1.1 * highest
    assert values(browser)[0] > of_values[0]
    chip(browser, "audio").click()
    assert browser.execute_script(RANGE) == [low, high]
    chip(browser, "audio").click()
    browser.execute_script(f"{DRAWN} Bokeh.index.roots.find((view) => view.model.name === 'loss').reset()")
    until(browser, f"(() => {{ {RANGE} }})()[0] < 0")
    assert browser.execute_script(RANGE) == whole
    assert until(browser, f"(() => {{ {DRAWN} return model('values-loss').start }})() === {of_values[0]}")


@needs_browser
def test_new_data_is_drawn_in_place(chromium: Chrome, pages: dict[str, Path]) -> None:
    """New steps, a new stream and a new codebook appear; zoom, hidden lines, smoothing and the focus stay."""
    browser = opened(chromium, pages["one"])
    dragged(browser, "loss", 0.6, 0.9)
    until(browser, f"(() => {{ {RANGE} }})()[0] > 80")
    zoomed = browser.execute_script(RANGE)
    slide(browser, Keys.ARROW_RIGHT)
    browser.find_element(By.CSS_SELECTOR, "#chips .codebooks summary").click()
    chip(browser, "1").click()
    chip(browser, "text").click()
    later = [*STEPS, 200, 210]
    more = list(told(books=BOOKS + 1, steps=later))
    more += [events.comparison(step=step, stream="eval", matched=1, supervised=2) for step in later[-2:]]
    data = json.loads(report.json_text(curves.data([contents(iter(more))])))
    browser.execute_script("updateCurves(arguments[0])", data)
    assert browser.execute_script(RANGE) == zoomed
    names = [one.text for one in browser.find_elements(By.CSS_SELECTOR, "#chips .chip")]
    assert names == ["text", "audio", "eval", "0", "1", "2", "3", "4"]
    assert [chip(browser, name).get_attribute("aria-pressed") for name in ("text", "eval", "1", "4")] == [
        "false", "true", "true", "false",
    ]  # fmt: skip
    assert browser.execute_script("return document.activeElement.textContent") == "text"
    assert browser.find_element(By.ID, "smoothing-value").text == "half-life 5 records"
    lines = drawn(browser, "lines-loss")
    assert len(lines["ys"]) == 2  # of audio; eval has no loss
    assert lines["ys"][1] == pytest.approx(smoothed(losses("audio", 1, steps=later), 5), rel=1e-5)
    assert len(drawn(browser, "lines-accuracy")["ys"]) == 3
    browser.execute_script(f"{DRAWN} Bokeh.index.roots.find((view) => view.model.name === 'loss').reset()")
    assert until(browser, f"(() => {{ {RANGE} }})()[1] > 210")
    assert not complaints(browser)


@needs_browser
def test_a_plot_appears_with_its_first_value(chromium: Chrome, tmp_path: Path) -> None:
    """A run without a loss has no such plot; when new data has one, it is there, as wide as the others."""
    asset = report._asset
    with pytest.MonkeyPatch.context() as patch:
        added = "window.updateCurves = updateCurves;\n"
        patch.setattr(report, "_asset", lambda name: asset(name) + (added if name == "main.js" else ""))
        plain = contents(iter([events.comparison(step=step) for step in range(3)]))
        (tmp_path / "page.html").write_text(report.page([plain]).html, "utf-8")
    browser = opened(chromium, tmp_path / "page.html")
    assert not browser.find_element(By.ID, "figure-loss").is_displayed()
    browser.execute_script("updateCurves(arguments[0])", json.loads(report.json_text(curves.data([contents(told())]))))
    width = "document.querySelector('#plot-{} div')?.clientWidth"
    assert until(browser, f"{width.format('loss')} > 300 && {width.format('loss')} === {width.format('accuracy')}")
    assert browser.find_element(By.ID, "figure-loss").is_displayed()


@needs_browser
def test_values_that_are_missing_interrupt_a_line(chromium: Chrome, tmp_path: Path) -> None:
    """A step without a value is a gap in the line, and a point between two of them is a dot; one point alone is one."""
    scores = {**events.LATER, "recorder": "0a1b2c3d"}
    some = {step: 2.0 + step for step in range(100) if step not in {3, 5}}
    lines = [events.comparison(step=step, **{**scores, "loss": some.get(step)}) for step in range(100)]
    lines.append(events.comparison(step=50, stream="eval", **{**scores, "loss": 9.0}))
    (tmp_path / "page.html").write_text(report.page([contents(iter(lines))]).html, "utf-8")
    browser = opened(chromium, tmp_path / "page.html")
    found = drawn(browser, "lines-loss")["ys"][0]
    assert [step for step, value in enumerate(found) if value is None or math.isnan(value)] == [3, 5]
    dots = drawn(browser, "dots-loss")
    assert list(zip(dots["x"], dots["y"], strict=True)) == [(4, 6), (50, 9)]


# --- several runs -------------------------------------------------------------------------------------------------


@needs_browser
@pytest.mark.parametrize("dark", [False, True])
def test_a_run_has_one_colour(chromium: Chrome, pages: dict[str, Path], dark: bool) -> None:
    """The same run has the same colour in each plot, the legend and the tables, whichever stream or codebook it is."""
    browser = opened(chromium, pages["three"], dark=dark)
    colours = browser.execute_script(
        "const rgb = (css) => { const probe = document.createElement('i'); probe.style.color = css;"
        "  document.body.append(probe); const found = getComputedStyle(probe).color; probe.remove(); return found; };"
        f"{DRAWN}"
        "const lines = ['loss', 'accuracy', 'rank'].map((plot) => columns(`lines-${plot}`).colour.map(rgb));"
        "const of = (found, name) => [...document.querySelectorAll(found)].map((one) => getComputedStyle(one)[name]);"
        "return { lines, chips: of('#chips .runs .swatch', 'borderTopColor'),"
        "  head: of('header .run-name .swatch', 'backgroundColor'),"
        "  streams: of('#streams tbody .run-name .swatch', 'backgroundColor').slice(0, 3),"
        "  sparks: of('#streams tbody td:nth-of-type(4) .spark', 'color').slice(0, 3) }"
    )
    chips = colours["chips"]
    assert len(set(chips)) == 3
    assert colours["head"] == colours["streams"] == colours["sparks"] == chips
    assert colours["lines"] == [[one for one in chips for _ in ("text", "audio")]] * 3


@needs_browser
def test_a_run_can_be_hidden_and_chosen(chromium: Chrome, pages: dict[str, Path]) -> None:
    """A run's name hides its lines and marks and no other; the strip has the run as one more choice."""
    browser = opened(chromium, pages["three"])
    assert [one.text for one in browser.find_elements(By.CSS_SELECTOR, "#chips .runs .chip")] == [
        "run1",
        "run3",
        "run2",
    ]
    assert len(drawn(browser, "mark-warning-loss")["step"]) == 3
    chip(browser, "run3").click()
    lines = drawn(browser, "lines-loss")
    assert len(lines["ys"]) == 4
    assert lines["ys"][0] == pytest.approx(losses("text", None, 1.0), rel=1e-5)
    assert lines["ys"][2] == pytest.approx(losses("text", None, 2.0), rel=1e-5)
    assert len(drawn(browser, "mark-warning-loss")["step"]) == 2
    choices = "return [...document.getElementById('by-run').options].map((one) => one.text)"
    assert browser.execute_script(choices) == ["run1", "run3", "run2", "all 3"]
    browser.find_elements(By.CSS_SELECTOR, "#findings .finding-head a")[1].click()
    until(browser, "document.activeElement.classList.contains('cell')")
    where = browser.find_element(By.CSS_SELECTOR, "#inspector .where").text
    assert where.startswith("run3 · step 0 · text")
    assert not complaints(browser)


@needs_browser
def test_nothing_hostile_runs_beside_another(chromium: Chrome, tmp_path: Path) -> None:
    """Whatever runs and their streams are called: nothing of it runs, and all of it is there as text."""
    runs = [contents(corpus(), name) for name in HOSTILE[:2]]
    (tmp_path / "page.html").write_text(report.page(runs).html, "utf-8")
    browser = opened(chromium, tmp_path / "page.html")
    for name in browser.find_elements(By.CSS_SELECTOR, "#chips .chip")[:4]:
        ActionChains(browser, duration=0).move_to_element(name).click().click().perform()
    plot = browser.find_element(By.ID, "plot-accuracy")
    ActionChains(browser, duration=0).move_to_element(plot).perform()
    assert until(browser, "document.querySelector('#figure-accuracy .readout:not([hidden])')?.innerText")
    assert browser.execute_script("return window.ran") is None
    assert browsing.requests(browser) == [(tmp_path / "page.html").as_uri()]
    assert complaints(browser) == []
    chips = [one.text for one in browser.find_elements(By.CSS_SELECTOR, "#chips .runs .chip")]
    assert chips == HOSTILE[:2]


@needs_browser
def test_the_strip_offers_what_a_run_has(chromium: Chrome, tmp_path: Path) -> None:
    """The streams and samples to choose are those of the chosen run; all runs are there, the newest step first."""
    one = [events.comparison(step=step, stream="text") for step in range(3)]
    other = [events.comparison(step=step, stream="eval", sample=4) for step in range(2)]
    runs = [contents(iter(one), "a"), contents(iter(other), "b")]
    (tmp_path / "page.html").write_text(report.page(runs).html, "utf-8")
    browser = opened(chromium, tmp_path / "page.html")
    options = {name: Select(browser.find_element(By.ID, f"by-{name}")) for name in ("run", "stream", "sample")}
    for run, stream, sample, count in (("b", "eval", "4", 2), ("a", "text", "0", 3)):
        options["run"].select_by_visible_text(run)
        assert [one.text for one in options["stream"].options] == [stream]
        assert [one.text for one in options["sample"].options] == [sample]
        assert len(browser.find_elements(By.CSS_SELECTOR, "#grid-body .row")) == count
    for name, every in (("run", "all 2"), ("stream", "all 2"), ("sample", "all 2")):
        options[name].select_by_visible_text(every)
    names = [one.text.split() for one in browser.find_elements(By.CSS_SELECTOR, "#grid-body .row .names")]
    assert [name[:2] for name in names] == [["a", "text"], ["a", "text"], ["b", "eval"], ["a", "text"], ["b", "eval"]]


@needs_browser
def test_one_run_shows_no_choice_of_runs(chromium: Chrome, pages: dict[str, Path]) -> None:
    """A page of one run names no run beside its lines and rows."""
    browser = opened(chromium, pages["one"])
    assert not browser.find_element(By.ID, "by-run").is_displayed()
    assert not browser.find_elements(By.CSS_SELECTOR, "#chips .runs, .run-name")


@needs_browser
@pytest.mark.parametrize("width", [1400, 390])
def test_nothing_of_several_runs_is_wider_than_the_window(chromium: Chrome, pages: dict[str, Path], width: int) -> None:
    """Neither on a desk nor on a phone does a page of several runs scroll sideways."""
    browser = opened(chromium, pages["three"], width=width)
    assert browser.execute_script("return document.documentElement.scrollWidth") == width
    unnamed = "return [...document.querySelectorAll('button, input, select')].filter((one) => one.checkVisibility())"
    assert all(one.accessible_name for one in browser.execute_script(unnamed))


@needs_browser
def test_eight_runs_of_a_hundred_codebooks_stay_usable(chromium: Chrome, tmp_path: Path) -> None:
    """Their page is below 12 MB, opens, and each choice is drawn within a second or so."""
    runs = []
    for number in range(8):
        tokens = [events.token(1, 2, 3, slot="first")]
        lines = (
            events.comparison(step=step, stream="audio", codebook=book, tokens=tokens)
            for step in range(0, 3000, 10)
            for book in range(100)
        )
        runs.append(Contents.of(map(from_event, lines), f"runs/{number}", str(number), 2500))
    made = report.page(runs)
    assert made.comparisons == 8 * 300 * 100
    assert len(made.html.encode()) < 12_000_000
    (tmp_path / "page.html").write_text(made.html, "utf-8")
    browser = opened(chromium, tmp_path / "page.html")
    assert len(drawn(browser, "lines-accuracy")["ys"]) == 8
    took = browser.execute_script(
        "const slider = document.getElementById('smoothing'), from = performance.now(); slider.value = 3;"
        "slider.dispatchEvent(new Event('input')); return performance.now() - from"
    )
    assert took < 5000


# --- without a browser --------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 20), min_size=1, max_size=70), st.integers(1, 40))
def test_thinning_keeps_what_was_counted(values_of: list[float], most: int) -> None:
    """Of too many points neighbours are merged: no more are left than asked for, and counts and means stay."""
    points = [Point(step, step, 2, 10, 4, 1, 4, None, None, loss=loss, scored=4) for step, loss in enumerate(values_of)]
    made = curves.thinned(points, most)
    assert len(made) <= max(most, 1)
    assert len(made) == len(points) or len(made) * 2 >= most
    assert (made[0].first_step, made[-1].last_step) == (0, len(points) - 1)
    assert sum(point.records for point in made) == 2 * len(points)
    assert sum((point.loss or 0) * point.scored for point in made) == pytest.approx(4 * sum(values_of))


def test_what_codebooks_share_is_there_once() -> None:
    """Steps and counts that several codebooks share are one axis, and a lane without a value has no column."""
    data = curves.data([contents(told(books=8))])
    assert len(data["lanes"]) == 9
    assert len(data["axes"]) == 1
    assert data["lanes"][0]["entropy"] is None
    assert data["axes"][0]["first"] == (*STEPS,)


def test_many_lines_share_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """All lines of all runs have a bounded number of points together, each as many as any other."""
    monkeypatch.setattr(curves, "_MOST_POINTS", 100)
    monkeypatch.setattr(curves, "_FEWEST_POINTS", 4)
    data = curves.data([contents(told(), "a"), contents(told(), "b")])
    assert [len(lane["loss"]) for lane in data["lanes"]] == [10] * 10
    assert [run["name"] for run in data["runs"]] == ["a", "b"]
