"""Each control of the page, clicked in a real browser: those that no other test of this folder uses."""

from pathlib import Path

import pytest

pytest.importorskip("selenium")
pytest.importorskip("bokeh")
pytest.importorskip("jinja2")

from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from predlog.reading.reader import read
from predlog.report import page as report
from predlog.report.contents import Contents
from tests import browsing, events
from tests.browsing import complaints, until
from tests.pages import acting, at, choose, inspected, opened, press
from tests.reported import STEPS, trained, written

pytestmark = pytest.mark.skipif(browsing.MISSING, reason=browsing.WHY_MISSING)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("controls") / "run", trained())[0]


def steps_in_sight(browser: Chrome) -> list[int]:
    """Return the steps of the rows that lie within the strip, from its top."""
    found: list[int] = browser.execute_script(
        "const box = document.getElementById('grid').getBoundingClientRect();"
        "return [...document.querySelectorAll('#grid-body .row')].filter((row) => {"
        "  const { top, bottom } = row.getBoundingClientRect(); return top >= box.top + 29 && bottom <= box.bottom + 1"
        "}).map((row) => Number(row.querySelector('.number').textContent))"
    )
    return found


def test_the_overview_moves_the_strip(chromium: Chrome, page: Path) -> None:
    """A click in the overview brings what is there into sight, and a drag takes the strip along."""
    browser = opened(chromium, page)
    canvas = at(browser, "#overview canvas")
    browser.execute_script("document.getElementById('overview').scrollIntoView({block: 'center'})")
    half = canvas.size["height"] // 2 - 2
    assert STEPS[-1] in steps_in_sight(browser)
    wait = WebDriverWait(browser, 20, 0.05)
    acting(browser).move_to_element_with_offset(canvas, 0, half).click().perform()
    wait.until(lambda _: 0 in steps_in_sight(browser))
    held = acting(browser).move_to_element_with_offset(canvas, 0, 0).click_and_hold()
    held.move_to_element_with_offset(canvas, 0, -half).release().perform()
    wait.until(lambda _: STEPS[-1] in steps_in_sight(browser))
    acting(browser).move_to_element_with_offset(canvas, 0, half).perform()
    assert STEPS[-1] in steps_in_sight(browser)
    acting(browser).move_to_element_with_offset(canvas, 0, 0).click().perform()
    wait.until(lambda _: STEPS[-1] not in steps_in_sight(browser))
    assert 0 not in steps_in_sight(browser)


def test_newest_and_first(chromium: Chrome, page: Path) -> None:
    """The buttons select the oldest and the newest row, and bring it into sight."""
    browser = opened(chromium, page)
    at(browser, "#to-first").click()
    assert inspected(browser)["where"].startswith("step 0 ")
    assert 0 in steps_in_sight(browser)
    at(browser, "#to-newest").click()
    assert inspected(browser)["where"].startswith("step 590 ")
    assert 590 in steps_in_sight(browser)
    field = at(browser, "#go-to-step")
    field.send_keys("300", Keys.ENTER)
    assert inspected(browser)["where"].startswith("step 300 ")
    assert 300 in steps_in_sight(browser)


def test_nothing_matches(chromium: Chrome, tmp_path: Path) -> None:
    """A selection without a comparison says so, and one button shows all; the details say that there is no token."""
    told = [events.comparison(step=step, sample=both, rank=both) for step in range(4) for both in (0, 1)]
    browser = opened(chromium, written(tmp_path / "run", iter(told))[0])
    choose(browser, "sample", "0")
    choose(browser, "rank", "1")
    assert at(browser, "#nothing-shown").is_displayed()
    assert browser.find_elements(By.CSS_SELECTOR, "#grid-body .row") == []
    at(browser, "#show-all").click()
    assert not at(browser, "#nothing-shown").is_displayed()
    assert len(browser.find_elements(By.CSS_SELECTOR, "#grid-body .row")) == len(told)
    assert Select(at(browser, "#by-sample")).first_selected_option.text == "all 2"
    assert complaints(browser) == []


def test_attempts_are_chosen(chromium: Chrome, tmp_path: Path) -> None:
    """If a page has several attempts, each is one choice over the strip, and over the text."""
    told = [events.comparison(step=step, attempt=attempt) for attempt in (1, 2) for step in range(3 * attempt)]
    written(tmp_path / "run", iter(told))
    file = tmp_path / "page.html"
    every = read(tmp_path / "run", attempt="all")
    file.write_text(report.page([Contents.of(every, "run")]).html, "utf-8")
    browser = opened(chromium, file)
    rows = "document.querySelectorAll('#grid-body .row').length"
    assert browser.execute_script(f"return {rows}") == len(told)
    for attempt, count in (("1", 3), ("2", 6)):
        choose(browser, "attempt", attempt)
        assert browser.execute_script(f"return {rows}") == count
        assert f"attempt {attempt}" in inspected(browser)["where"]
        choose(browser, "attempt", attempt, of="text")
    choose(browser, "attempt", "1", of="text")
    assert inspected(browser)["where"].startswith("step 2 ")
    assert "attempt 1" in inspected(browser)["where"]


def test_the_text_is_chosen(chromium: Chrome, page: Path) -> None:
    """Each field over the text chooses the sample that is there, and the buttons beside the slider its step."""
    browser = opened(chromium, page)
    choose(browser, "stream", "audio", of="text")
    choose(browser, "codebook", "2", of="text")
    choose(browser, "sample", "1", of="text")
    choose(browser, "rank", "1", of="text")
    assert inspected(browser)["where"] == "step 590 · audio · codebook 2 · sample 1 · rank 1"
    assert at(browser, "#text-here").text.startswith("audio")
    assert not at(browser, "#text-later").is_enabled()
    for _ in range(3):
        at(browser, "#text-earlier").click()
    assert inspected(browser)["where"].startswith("step 560 ")
    at(browser, "#text-later").click()
    assert inspected(browser)["where"].startswith("step 570 ")
    assert at(browser, "#text-step").get_attribute("aria-valuetext") == "step 570"
    assert complaints(browser) == []


def test_every_link_of_the_head_leads_to_its_part(chromium: Chrome, page: Path) -> None:
    """Each part that the head names is in sight after a click on its name, and Tab begins with a way to the strip."""
    browser = opened(chromium, page)
    links = browser.find_elements(By.CSS_SELECTOR, "nav a")
    assert [one.text for one in links] == ["Streams", "Film strip", "Text", "Curves", "Findings", "Tokens", "Run"]
    for link in links:
        browser.execute_script("scrollTo(0, 0)")
        link.click()
        part = (link.get_attribute("href") or "").partition("#")[2]
        top, height, end = browser.execute_script(
            "const part = document.getElementById(arguments[0]).getBoundingClientRect();"
            "return [part.top, innerHeight, scrollY + innerHeight >= document.documentElement.scrollHeight - 2]",
            part,
        )
        assert -2 <= top < height / 4 or (end and 0 <= top < height)
    browser.execute_script("scrollTo(0, 0)")
    opened(browser, page)
    press(browser, Keys.TAB)
    assert browser.execute_script("return document.activeElement.className") == "skip"
    assert at(browser, ".skip").is_displayed()
    press(browser, Keys.ENTER)
    until(browser, "Math.abs(document.getElementById('strip').getBoundingClientRect().top) < innerHeight / 4")


def test_every_name_of_the_legend_hides_and_shows(chromium: Chrome, page: Path) -> None:
    """Each name over the curves is a button: pressed it hides its line, pressed again it shows it."""
    browser = opened(chromium, page)
    for more in browser.find_elements(By.CSS_SELECTOR, "#chips details"):
        browser.execute_script("arguments[0].open = true", more)
    names = [one.text for one in browser.find_elements(By.CSS_SELECTOR, "#chips .chip")]
    assert len(names) == 5  # text, audio, and three codebooks
    lines = "Bokeh.documents.at(-1).get_model_by_name('lines-accuracy').data_source.data.xs.length"
    for place, name in enumerate(names):
        before, was = browser.execute_script(f"return {lines}"), None
        for press_it in (1, 2):
            button = browser.find_elements(By.CSS_SELECTOR, "#chips .chip")[place]
            was = was or button.get_attribute("aria-pressed")
            browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
            button.click()
            button = browser.find_elements(By.CSS_SELECTOR, "#chips .chip")[place]
            assert (button.get_attribute("aria-pressed") == was) == (press_it == 2), name
            change = {"true": -1, "false": 1}[str(was)] if press_it == 1 else 0
            assert browser.execute_script(f"return {lines}") == before + change, name
    assert complaints(browser) == []


def test_the_loss_is_whole_where_all_tokens_are_first_ones(chromium: Chrome, tmp_path: Path) -> None:
    """Samples of at most five labels have no last tokens: the columns behind the tokens keep their width."""
    shown = [events.token(position) for position in range(3)]
    scored = {**events.LATER, "loss": 2.5, "recorder": "0a1b2c3d"}
    made = (events.comparison(step=step, tokens=shown) | scored for step in range(2))
    browser = opened(chromium, written(tmp_path / "run", made)[0])
    losses = "[...document.querySelectorAll('#grid .loss')].map((one) => [one.scrollWidth, one.clientWidth])"
    widths = browser.execute_script(f"return {losses}")
    assert len(widths) == 3
    assert all(needed <= given for needed, given in widths)
