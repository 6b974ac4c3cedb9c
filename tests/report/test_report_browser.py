"""The report in a real browser: it shows what was recorded, and nothing that was recorded does anything there."""

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from predlog.reading.reader import read
from predlog.records.schema import Comparison
from predlog.records.text import nats, probability
from predlog.records.token_text import token_cell
from predlog.report.film_strip import shown

pytest.importorskip("selenium")
pytest.importorskip("bokeh")
pytest.importorskip("jinja2")
pytest.importorskip("PIL")

from PIL import Image
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from tests import browsing, events
from tests.browsing import complaints, forget, look, requests, until
from tests.pages import acting, at, cell, choose, focused, inspected, opened, press
from tests.reading import test_shards
from tests.reported import HOSTILE, STEPS, corpus, odd, page_of, passage, perfect, scored, trained, written

pytestmark = pytest.mark.skipif(browsing.MISSING, reason=browsing.WHY_MISSING)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("hostile") / "run", corpus())[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Comparison]]:
    return written(tmp_path_factory.mktemp("trained") / "run", trained())


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("perfect") / "run", perfect())[0]


@pytest.fixture(scope="module")
def long_named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("long") / "run", perfect(LONG))[0]


LONG = "a-stream-with-a-name-that-is-as-long-as-this-one"
# What Bokeh drew, by its name.
DRAWN = "const drawn = (name) => Bokeh.documents[0].get_model_by_name(name);"


def lane(
    records: list[Comparison], stream: str, codebook: int | None, rank: int = 0, sample: int = 0
) -> list[Comparison]:
    wanted = (stream, codebook, rank, sample)
    found = [one for one in records if (one.stream, one.codebook, one.rank, one.sample) == wanted]
    return found[::-1]  # the newest first, as in the strip


# --- nothing that was recorded does anything ----------------------------------------------------------------------


def walk(browser: Chrome) -> None:
    """Open, choose, hover, press and read all that there is."""
    browser.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    for field in ("run", "stream", "codebook", "sample", "rank", "attempt"):
        browser.execute_script(
            "const field = document.getElementById(`by-${arguments[0]}`);"
            "for (const option of [...field.options]) {"
            "  field.value = option.value; field.dispatchEvent(new Event('change'));"
            "  for (const cell of document.querySelectorAll('.cell'))"
            "    cell.dispatchEvent(new PointerEvent('pointerover', {bubbles: true}));"
            "}",
            field,
        )
    for field in ("stream", "sample"):
        browser.execute_script(
            "const field = document.getElementById(`text-${arguments[0]}`);"
            "for (const value of [...field.options].map((one) => one.value)) {"
            "  field.value = value; field.dispatchEvent(new Event('change'));"
            "  for (const word of document.querySelectorAll('.word'))"
            "    word.dispatchEvent(new PointerEvent('pointerover', {bubbles: true}));"
            "}",
            field,
        )
    browser.execute_script("document.getElementById('predictions-below').click()")
    chips = [chip for chip in browser.find_elements(By.CSS_SELECTOR, ".chip") if chip.is_displayed()]
    for chip in chips[:3]:
        acting(browser).move_to_element(chip).click().perform()
    at(browser, "#smoothing").send_keys(Keys.ARROW_RIGHT)
    for plot in browser.find_elements(By.CSS_SELECTOR, "figure:not([hidden]) .plot"):
        for across in (-0.4, 0.2):
            acting(browser).move_to_element_with_offset(plot, int(across * plot.size["width"]), 0).perform()
    at(browser, "#scheme").click()


@pytest.mark.parametrize("width", [390, 1400])
def test_nothing_hostile_runs(chromium: Chrome, hostile: Path, width: int) -> None:
    """Whatever texts a run holds, wherever they are: no script of theirs runs, nothing is asked for or fails."""
    browser = opened(chromium, hostile, width=width)
    before = counted(browser, "script, link, meta, style")
    walk(browser)
    assert browser.execute_script("return window.ran") is None
    assert requests(browser) == [hostile.as_uri()]
    assert complaints(browser) == []
    assert counted(browser, "img, iframe, object, embed, form, base, video") == 0
    assert counted(browser, "script, link, meta, style") == before


def counted(browser: Chrome, selector: str) -> int:
    return len(browser.find_elements(By.CSS_SELECTOR, selector))


# Whether there are rows after each of the addresses, one after the other.
FOLLOWED = """
const [addresses, done] = arguments, found = [];
const next = () => {
  if (found.length === addresses.length) return done(found);
  location.hash = addresses[found.length];
  setTimeout(() => { found.push(document.querySelectorAll(".row").length > 0); next(); });
};
next();
"""


def test_addresses_are_harmless(chromium: Chrome, hostile: Path) -> None:
    """Whatever comes after # in the address, it chooses what is there to be chosen, or nothing."""
    browser = opened(chromium, hostile, f"#stream={HOSTILE[0]}&step={HOSTILE[0]}&token=x&nth=1e9")
    said = [quote(text, errors="replace") for text in HOSTILE]
    shapes = ("stream={0}&codebook={0}&step={0}&token={0}", "{0}&step=1e400&nth={0}&shade={0}")
    addresses = ["step=-1&token=-1", *(shape.format(text) for text in said for shape in shapes)]
    assert browser.execute_async_script(FOLLOWED, addresses) == [True] * len(addresses)
    assert browser.execute_script("return window.ran") is None
    assert complaints(browser) == []
    assert {address.partition("#")[0] for address in requests(browser)} == {hostile.as_uri()}


def test_all_of_it_is_there_as_text(chromium: Chrome, hostile: Path) -> None:
    """What is hostile is not left out: each label is in its cell, spelt out, and the whole of it in the panel."""
    browser = opened(chromium, hostile, "#stream=text&predictions=hidden")
    labels = browser.execute_script(
        "return [...document.querySelectorAll('.cell[data-column=\"0\"] .label')].map((one) => one.textContent)"
    )
    assert labels == [token_cell(text, None) for text in reversed(HOSTILE)]
    for place in (0, HOSTILE[::-1].index("x" * 5000)):
        cell(browser, place, 0).click()
        assert inspected(browser)["label"] == shown(HOSTILE[::-1][place])


INJECTED = "<script>window.ran=1</script><img src='http://127.0.0.1:9/pixel'><script>console.error('failed')</script>"


def test_that_these_tests_can_fail(chromium: Chrome, hostile: Path) -> None:
    """A page with a script of somebody else's, an image from elsewhere and an error in the console is seen as one."""
    page = hostile.with_name("open.html")
    text = hostile.read_text("utf-8")
    policy = text[text.index("<meta http-equiv") : text.index(">", text.index("<meta http-equiv")) + 1]
    page.write_text(text.replace(policy, "").replace("<main>", f"<main>{INJECTED}"), "utf-8")
    browser = opened(chromium, page)
    assert browser.execute_script("return window.ran") == 1
    assert "http://127.0.0.1:9/pixel" in requests(browser)
    assert any("failed" in one for one in complaints(browser))


def test_the_policy_stops_what_gets_in(chromium: Chrome, hostile: Path) -> None:
    """Should a script ever get into the page, the policy does not let it run, nor an image load, nor text be markup."""
    page = hostile.with_name("injected.html")
    page.write_text(hostile.read_text("utf-8").replace("<main>", f"<main>{INJECTED}"), "utf-8")
    browser = opened(chromium, page)
    assert browser.execute_script("return window.ran") is None
    assert requests(browser) == [page.as_uri(), "http://127.0.0.1:9/pixel was stopped: csp"]
    assert sum("Content Security Policy" in one for one in complaints(browser)) >= 3
    for refused in (
        "document.body.innerHTML = '<b>'",
        "document.createElement('script').text = 'window.ran = 1'",
        "setTimeout('window.ran = 1')",
        "document.body.setAttribute('onclick', 'window.ran = 1')",
    ):
        assert (
            browser.execute_script(f"try {{ {refused}; return null }} catch (error) {{ return error.name }}")
            == "TypeError"
        )


# --- what it shows is what was recorded ---------------------------------------------------------------------------


def test_cells_are_the_records(chromium: Chrome, run: tuple[Path, list[Comparison]]) -> None:
    """Each cell in sight has its label, its shade, and a tick or what was predicted; the newest is first."""
    browser = opened(chromium, run[0])
    told = browser.execute_script(
        "return [...document.querySelectorAll('#grid-body .row')].map((row) => ["
        "  row.querySelector('.number').textContent, row.querySelector('.right-share').textContent,"
        "  ...[...row.querySelectorAll('.cell')].map((cell) => ["
        "    ...['.label', '.said bdi'].map((one) => cell.querySelector(one)?.textContent), cell.className])])"
    )
    records = lane(run[1], "text", None)[: len(told)]
    assert len(told) > 20
    assert told[0][0] == str(STEPS[-1])
    for (step, share, *cells), record in zip(told, records, strict=True):
        assert step == str(record.step)
        assert share == f"{100 * (record.matched or 0) / record.supervised:.1f}%"
        for (text, said, classes), token in zip(cells, record.tokens, strict=True):
            assert text == shown(token.label_text or "")
            assert said == (None if token.match else shown(token.prediction_text or ""))
            assert f"p{round(24 * math.exp(token.label_logprob or 0))}" in classes.split()
            assert ("is-right" in classes.split()) == token.match == ("is-wrong" not in classes.split())


def test_the_pointer_tells_everything_of_a_token(chromium: Chrome, run: tuple[Path, list[Comparison]]) -> None:
    """Under the pointer: both texts, ids and probabilities, rank, position, input, and where it was recorded."""
    browser = opened(chromium, run[0])
    browser.execute_script("document.getElementById('grid').scrollIntoView()")
    for row, column in ((0, 0), (3, 4), (5, 5), (11, 9)):
        acting(browser).move_to_element(cell(browser, row, column)).perform()
        record = lane(run[1], "text", None)[row]
        token = record.tokens[column]
        told = inspected(browser)
        assert told["where"] == f"step {record.step} · text · sample 0 · rank 0"
        assert (told["label"], told["label-id"]) == (shown(token.label_text or ""), f"id {token.label}")
        assert (told["prediction"], told["prediction-id"]) == (
            shown(token.prediction_text or ""),
            f"id {token.prediction}",
        )
        assert told["label-probability"] == probability(token.label_logprob)
        assert told["prediction-probability"] == "0.88"
        assert told["rank"] == f"{token.label_rank} of 32000"
        assert told["position"] == f"{token.position} of 512"
        assert told["input"] == "in (id 5)"
        assert told["verdict"] == ("✓ correct" if token.match else "✗ wrong")
        assert "shift 1" in told["about"]
        assert told["context"] == "epoch=3"
        assert len(browser.find_elements(By.CSS_SELECTOR, "#inspector .sample tbody tr")) == 10


def test_the_text_around_the_tokens_is_shown(chromium: Chrome, tmp_path: Path) -> None:
    """The panel has the text of the sample, what was read dimmed, a bar where labels begin, and what is left out."""
    window = [passage(40, "What is\na list?", "A list <b>is"), passage(1, "", " all."), passage(0, "And?", "No.")]
    lines = [
        events.comparison(step=step, recorder="0a1b2c3d", window=window if step < 2 else None) for step in range(3)
    ]
    browser = opened(chromium, written(tmp_path / "run", iter(lines))[0])
    acting(browser).move_to_element(cell(browser, 1, 0)).perform()
    assert inspected(browser)["window"] == (" … 40 tokens … What is\\na list?▏A list <b>is … 1 token …  all.And?▏No.")
    colours = {
        name: at(browser, f"#inspector .window .{name}").value_of_css_property("color") for name in ("read", "asked")
    }
    assert colours["read"] != colours["asked"]
    acting(browser).move_to_element(cell(browser, 0, 0)).perform()
    assert not at(browser, "#inspector .window").is_displayed()


def test_what_is_odd_is_told(chromium: Chrome, tmp_path: Path) -> None:
    """The last tokens are at the right edge, what is not there is empty, and what can't be known says so."""
    browser = opened(chromium, written(tmp_path / "run", odd())[0])
    cells = browser.execute_script(
        "return [...document.querySelectorAll('#grid-body .row')].map("
        "  (row) => [...row.querySelectorAll('.cell')].map((cell) => cell.querySelector('.label')?.textContent ?? ''))"
    )[::-1]
    every = list("0123456789")
    assert cells == [
        every,
        [*"01234", "", "", "", *"56"],
        ["0", *[""] * 9],
        [""] * 10,
        every,
        every,
    ]
    shares = [one.text for one in browser.find_elements(By.CSS_SELECTOR, "#grid-body .right-share")][::-1]
    assert shares == ["41.2%", "41.2%", "41.2%", "-", "41.2%", "10.0%"]
    assert at(browser, ".row[data-place='2']").text.endswith("nothing supervised: every label of 512 is ignored")
    assert "unknown" in (cell(browser, 1, 0).get_attribute("class") or "").split()
    cell(browser, 1, 0).click()
    told = inspected(browser)
    assert (told["label-probability"], told["prediction"], told["rank"]) == ("-", "nan", "unknown")
    assert "20 probabilities not finite" in told["about"]
    cell(browser, 0, 0).click()
    assert "10.0% correct (1 of 10 shown)" in inspected(browser)["about"]


def test_what_is_not_known_is_not_shown_as_wrong(
    chromium: Chrome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the parts of a process, cell, panel and text say that a prediction is not known, and never ✗."""
    test_shards.record(monkeypatch, tmp_path / "run", test_shards.pairs(1), range(2), all_tokens=True)
    page = tmp_path / "page.html"
    page.write_text(page_of(read(tmp_path / "run"), "run"), "utf-8")
    browser = opened(chromium, page)
    marks = browser.execute_script(
        "return [...document.querySelectorAll('#grid-body .said')].map((said) =>"
        "  [said.querySelector('bdi').textContent, getComputedStyle(said, '::before').content])"
    )
    assert marks == [["?", "none"]] * 10
    assert not browser.find_elements(By.CSS_SELECTOR, ".cell.is-wrong, .cell.is-right, .word.is-wrong")
    cell(browser, 0, 0).click()
    told = inspected(browser)
    assert (told["verdict"], told["prediction"]) == ("not known", "?")
    assert told["about"].startswith("partial: no parts of 379 ids · 33 of 40 supervised")
    colours = [at(browser, f"#inspector {one}").value_of_css_property("color") for one in (".verdict", "h3")]
    assert colours[0] == colours[1]
    note = at(browser, "#text-view").text
    assert "This comparison is partial: no parts of 379 ids." in note
    assert "all_tokens=" not in note
    assert complaints(browser) == []


def test_each_row_has_its_loss(chromium: Chrome, tmp_path: Path) -> None:
    """At the right of a row is its loss, and the panel begins with it; a record without a loss has a dash."""
    browser = opened(chromium, written(tmp_path / "run", scored())[0])
    losses = browser.execute_script(
        "return [...document.querySelectorAll('#grid-body .row .loss')].map((cell) => cell.textContent)"
    )
    assert losses[:4] == ["-", "2.25", "2.50", "2.75"]
    assert at(browser, "#grid-head .loss").text == "loss"
    cell(browser, 1, 0).click()
    assert inspected(browser)["about"].startswith("loss 2.25 · 33.3% correct")
    cell(browser, 0, 0).click()
    assert not inspected(browser)["about"].startswith("loss")
    assert not complaints(browser)


@pytest.mark.parametrize("loss", [0.0, 1e-7, 0.000123, 0.0999, 2.3071, 12.34, 999.4, 999.6, 12_345.0, 1e20])
def test_the_page_writes_a_loss_as_the_console_does(chromium: Chrome, tmp_path: Path, loss: float) -> None:
    """Three significant digits, whatever the size."""
    told = [events.comparison(**{**events.LATER, "recorder": "0a1b2c3d", "loss": loss})]
    browser = opened(chromium, written(tmp_path / "run", iter(told))[0])
    assert at(browser, "#grid-body .loss").text == nats(loss)


def rows_shown(browser: Chrome) -> int:
    return int(at(browser, "#grid").get_attribute("aria-rowcount") or 0) - 1


def test_filters_choose(chromium: Chrome, run: tuple[Path, list[Comparison]]) -> None:
    """Stream, codebook, sample and rank are chosen each by itself, and the cells are those of the records left."""
    browser = opened(chromium, run[0])
    assert not at(browser, "#by-codebook").is_displayed()
    choose(browser, "stream", "audio")
    for codebook in (0, 2):
        choose(browser, "codebook", str(codebook))
        for rank, sample in ((0, 1), (1, 0)):
            choose(browser, "rank", str(rank))
            choose(browser, "sample", str(sample))
            records = lane(run[1], "audio", codebook, rank, sample)
            assert rows_shown(browser) == len(records)
            acting(browser).move_to_element(cell(browser, 2, 3)).perform()
            told = inspected(browser)
            assert told["where"] == f"step 570 · audio · codebook {codebook} · sample {sample} · rank {rank}"
            assert told["label"] == told["label-id"].removeprefix("id ") == str(records[2].tokens[3].label)
    choose(browser, "codebook", "all 3")
    assert rows_shown(browser) == 3 * len(STEPS)
    assert [one.text for one in browser.find_elements(By.CSS_SELECTOR, ".row .rest")[:4]] == [
        "cb0",
        "cb1",
        "cb2",
        "cb0",
    ]
    choose(browser, "stream", "all 2")
    assert rows_shown(browser) == 4 * len(STEPS)
    choose(browser, "stream", "text")
    assert rows_shown(browser) == len(STEPS)


def test_shades_by_the_logarithm_and_predictions_below(chromium: Chrome, run: tuple[Path, list[Comparison]]) -> None:
    """The logarithm shades what is improbable, and wrong predictions can be shown below their labels."""
    browser = opened(chromium, run[0])
    Select(at(browser, "#shade-by")).select_by_visible_text("log-probability")
    at(browser, "#to-first").click()
    token = lane(run[1], "text", None)[-1].tokens[9]
    found = cell(browser, len(STEPS) - 1, 9)
    level = round(24 * (1 + (token.label_logprob or 0) / math.log(1e5)))
    assert f"p{level}" in (found.get_attribute("class") or "").split()
    assert [one.text for one in found.find_elements(By.TAG_NAME, "bdi")] == ["␣t9", "no"]
    at(browser, "#predictions-below").click()
    found = cell(browser, len(STEPS) - 1, 9)
    assert [one.text for one in found.find_elements(By.TAG_NAME, "bdi")] == ["␣t9"]
    mark = "return getComputedStyle(arguments[0], '::before').content"
    assert browser.execute_script(mark, found).startswith('"✗"')


# --- by keyboard --------------------------------------------------------------------------------------------------


def test_the_keyboard_moves_in_the_strip(chromium: Chrome, run: tuple[Path, list[Comparison]]) -> None:
    """Arrows, Home, End, Page Up and Page Down move one cell that has the focus, which is reported beside the strip."""
    browser = opened(chromium, run[0])
    last = len(STEPS) - 1
    cell(browser, 0, 0).click()
    assert focused(browser) == (0, 0)
    for keys, place in [
        (Keys.ARROW_DOWN, (1, 0)),
        (Keys.ARROW_RIGHT, (1, 1)),
        (Keys.ARROW_UP, (0, 1)),
        (Keys.ARROW_UP, (0, 1)),
        (Keys.ARROW_LEFT, (0, 0)),
        (Keys.END, (0, 9)),
        (Keys.ARROW_RIGHT, (0, 9)),
        (Keys.HOME, (0, 0)),
    ]:
        press(browser, keys)
        assert focused(browser) == place
    acting(browser).key_down(Keys.CONTROL).send_keys(Keys.END).key_up(Keys.CONTROL).perform()
    assert focused(browser) == (last, 9)
    assert inspected(browser)["where"] == "step 0 · text · sample 0 · rank 0"
    press(browser, Keys.PAGE_UP)
    row, column = focused(browser) or (0, 0)
    assert last - 40 < row < last - 5
    assert column == 9
    press(browser, Keys.PAGE_DOWN)
    assert focused(browser) == (last, 9)


def test_one_cell_is_reached_by_tab(chromium: Chrome, run: tuple[Path, list[Comparison]]) -> None:
    """The strip is one stop for Tab, at the cell where one was, though that has been scrolled out of sight."""
    browser = opened(chromium, run[0])
    cell(browser, 2, 3).click()
    browser.execute_script("document.getElementById('grid').scrollTop = 1e6")
    until(browser, "document.querySelector('#grid-body .row[data-place=\"59\"]')")
    assert focused(browser) == (2, 3)
    assert browser.execute_script("return document.querySelectorAll('.cell[tabindex=\"0\"]').length") == 1
    press(browser, Keys.ARROW_DOWN)
    assert focused(browser) == (3, 3)
    assert browser.execute_script("return document.getElementById('grid').scrollTop") < 200


def test_slash_goes_to_a_step(chromium: Chrome, run: tuple[Path, list[Comparison]]) -> None:
    """`/` takes to the field, and a step there to its row, or to the nearest."""
    browser = opened(chromium, run[0])
    for asked, row in (("450", 14), ("333", 26), ("99999", 0)):
        cell_now = at(browser, ".cell[tabindex='0']")
        browser.execute_script("arguments[0].focus()", cell_now)
        press(browser, "/", asked, Keys.ENTER)
        assert focused(browser) == (row, 0)


def test_what_a_screen_reader_is_told(chromium: Chrome, run: tuple[Path, list[Comparison]]) -> None:
    """The grid has its size, each row and cell its place, and a cell a name with all that sighted people see."""
    browser = opened(chromium, run[0])
    grid = at(browser, "[role=grid]")
    assert (grid.get_attribute("aria-rowcount"), grid.get_attribute("aria-colcount")) == ("61", "12")
    row = at(browser, '#grid-body .row[data-place="1"]')
    assert (row.get_attribute("role"), row.get_attribute("aria-rowindex")) == ("row", "3")
    token = next(one for one in lane(run[1], "text", None)[1].tokens if not one.match)
    column = lane(run[1], "text", None)[1].tokens.index(token)
    found = cell(browser, 1, column)
    assert found.get_attribute("aria-colindex") == str(column + 2)
    assert found.accessible_name.split() == [shown(token.label_text or ""), "predicted", "no"]
    assert found.get_attribute("aria-description") == (
        f"label {shown(token.label_text or '')}, predicted no, probability {probability(token.label_logprob)}, "
        f"rank {token.label_rank}"
    )
    controls = browser.find_elements(By.CSS_SELECTOR, "button, select, input")
    assert all(control.accessible_name for control in controls if control.is_displayed())


# --- addresses ----------------------------------------------------------------------------------------------------


def test_an_address_opens_the_same_place(chromium: Chrome, run: tuple[Path, list[Comparison]]) -> None:
    """What was chosen and pointed at is in the address, and who opens it sees the same."""
    browser = opened(chromium, run[0])
    choose(browser, "stream", "audio")
    choose(browser, "codebook", "all 3")
    choose(browser, "sample", "1")
    at(browser, "#predictions-below").click()
    cell(browser, 4, 6).click()
    before = inspected(browser)
    until(browser, "location.hash.includes('token=6')")
    address = browser.execute_script("return location.hash")
    assert "stream=audio" in address
    opened(browser, run[0], address)
    assert inspected(browser) == before
    assert rows_shown(browser) == 3 * len(STEPS)
    assert not at(browser, "#predictions-below").is_selected()


# Whether the cell that has the focus is what one sees in its middle, and whether all of it is in the window.
SEEN = """
const cell = document.activeElement.closest(".cell");
if (!cell) return false;
const { left, right, top, bottom } = cell.getBoundingClientRect();
const whole = left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight;
return whole && cell.contains(document.elementFromPoint((left + right) / 2, (top + bottom) / 2));
"""


@pytest.mark.parametrize(("width", "height"), [(1400, 1000), (390, 844)])
def test_an_address_brings_its_cell_into_sight(
    chromium: Chrome, run: tuple[Path, list[Comparison]], width: int, height: int
) -> None:
    """Whoever opens a link to a cell sees that cell, though it is far down in the strip, and keys move on from it."""
    browser = opened(chromium, run[0], "#stream=audio&codebook=2&step=450&token=6", width=width, height=height)
    assert browser.execute_script(SEEN)
    assert inspected(browser)["where"] == "step 450 · audio · codebook 2 · sample 0 · rank 0"
    press(browser, Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
    assert focused(browser) == (15, 7)
    assert browser.execute_script(SEEN)
    browser.execute_script("scrollTo(0, 0); location.hash = 'stream=text&step=10&token=9'")
    until(browser, "document.activeElement.dataset.column === '9'")
    assert browser.execute_script(SEEN)


def test_a_page_without_a_place_opens_at_its_top(chromium: Chrome, run: tuple[Path, list[Comparison]]) -> None:
    """Where the address names no place, the page begins with what must not be overlooked, and takes no focus."""
    browser = opened(chromium, run[0])
    assert browser.execute_script("return [scrollY, document.activeElement.tagName]") == [0, "BODY"]


# --- curves and findings ------------------------------------------------------------------------------------------


def test_curves_are_read_at_the_pointer(chromium: Chrome, run: tuple[Path, list[Comparison]]) -> None:
    """Under the pointer each line's value is reported with its name, and a finding's message at its mark."""
    browser = opened(chromium, run[0])
    plot = at(browser, "#plot-accuracy")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    across = browser.execute_script(
        f"{DRAWN} const plot = drawn('accuracy'), {{start, end}} = plot.x_range;"
        "return plot.outer_width - plot.inner_width - 4 + plot.inner_width * (200 - start) / (end - start)"
    )
    acting(browser).move_to_element_with_offset(plot, int(across - plot.size["width"] / 2), 20).perform()
    readout = until(browser, "document.querySelector('#figure-accuracy .readout:not([hidden])')?.innerText")
    assert "step 200" in readout
    for title in ("text", "audio, mean of 3 codebooks"):
        assert title in readout
    assert "33.3%" in readout
    assert "collapsed, step 200: text: one token everywhere" in readout
    marks = "return ['error', 'warning', 'info'].map((level) => [...drawn(`mark-${level}-rank`).data_source.data.step])"
    assert browser.execute_script(f"{DRAWN} {marks}") == [[], [200], []]


def test_findings_have_their_help(chromium: Chrome, run: tuple[Path, list[Comparison]]) -> None:
    """A finding is reported at the top and in the list; its help opens; its step leads to the row of the strip."""
    browser = opened(chromium, run[0])
    assert "1 open finding: collapsed (text, step 200)" in at(browser, ".notes").text
    finding = at(browser, ".finding")
    assert "warning, open" in finding.text
    assert not finding.find_element(By.TAG_NAME, "pre").is_displayed()
    finding.find_element(By.TAG_NAME, "summary").click()
    assert finding.find_element(By.TAG_NAME, "pre").text.startswith("# collapsed")
    finding.find_element(By.TAG_NAME, "a").click()
    until(browser, "document.activeElement.classList.contains('cell')")
    assert inspected(browser)["where"] == "step 200 · text · sample 0 · rank 0"
    assert rows_shown(browser) == 4 * len(STEPS)


# --- looks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["run", "hostile"])
def test_nothing_is_wider_than_the_window(
    chromium: Chrome, run: tuple[Path, list[Comparison]], hostile: Path, which: str
) -> None:
    """On a desk, a tablet and a phone: the page itself never scrolls sideways, whatever the texts."""
    browser = opened(chromium, hostile if which == "hostile" else run[0])
    for width in (1400, 768, 390):
        look(browser, width=width)
        assert until(browser, f"innerWidth === {width}")
        assert browser.execute_script("return document.documentElement.scrollWidth") == width


# For each row in sight: where it begins, how high it is, what of it lies outside, and which text is not whole.
ROWS = """
const box = (one) => one.getBoundingClientRect();
const isIn = (one, other) => box(one).top >= box(other).top - 0.1 && box(one).bottom <= box(other).bottom + 0.1;
const isWhole = (one, other) => box(one).left >= box(other).left && box(one).right <= box(other).right;
return [...document.querySelectorAll("#grid-body .row")].map((row) => ({
  top: box(row).top,
  height: box(row).height,
  out: [...row.querySelectorAll("*")].filter((one) => !isIn(one, row)).map((one) => one.className),
  cut: [...row.querySelectorAll(".number, .rest")].filter((one) => !isWhole(one, one.closest(".step")))
    .concat([...row.querySelectorAll(".right-share")].filter((one) => one.scrollWidth > one.clientWidth))
    .map((one) => one.textContent),
}));
"""


def rows_are_even(browser: Chrome) -> None:
    rows = browser.execute_script(ROWS)
    assert len(rows) > 10
    height = rows[0]["height"]
    assert [row["top"] - rows[0]["top"] for row in rows] == pytest.approx(
        [place * height for place in range(len(rows))]
    )
    assert [row for row in rows if row["height"] != height or row["out"] or row["cut"]] == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1400, 390])
def test_no_text_makes_a_row_higher(chromium: Chrome, right: Path, width: int, dark: bool) -> None:
    """Rows lie one below the other, equally high, and share, step and codebook are whole, however long they are."""
    browser = opened(chromium, right, width=width, dark=dark)
    rows_are_even(browser)
    assert at(browser, ".row[data-place='2'] .right-share").text == "100.0%"
    for field in ("stream", "codebook", "sample", "rank"):
        browser.execute_script(
            "const field = document.getElementById(`by-${arguments[0]}`);"
            "field.value = 'all'; field.dispatchEvent(new Event('change'))",
            field,
        )
    at(browser, "#to-newest").click()
    rows_are_even(browser)
    assert focused(browser) == (0, 0)
    name = at(browser, ":focus").find_element(By.XPATH, "..").find_element(By.CSS_SELECTOR, ".step").text
    assert name.split() == ["1000000", "text", "s0", "r0"]
    at(browser, "#to-first").click()
    rows_are_even(browser)
    assert focused(browser) == (rows_shown(browser) - 1, 0)
    name = at(browser, ":focus").find_element(By.XPATH, "..").find_element(By.CSS_SELECTOR, ".step").text
    assert name.split() == ["0", "audio", "cb3", "s1", "r1"]


@pytest.mark.parametrize("width", [390, 1400])
def test_no_hostile_text_makes_a_row_higher(chromium: Chrome, hostile: Path, width: int) -> None:
    """Nor does a text of thousands of characters, or one that stacks marks, or a prediction below it."""
    browser = opened(chromium, hostile, "#stream=all&codebook=all&sample=all&rank=all", width=width)
    rows_are_even(browser)
    at(browser, "#predictions-below").click()
    rows_are_even(browser)


# For each row of the streams: its name, whether the end of that can be seen, and how far its best is from the edge.
NAMES = """
const wide = document.querySelector("#streams .wide").getBoundingClientRect();
const endOf = (one, letters) => {
  const walker = document.createTreeWalker(one, NodeFilter.SHOW_TEXT, (text) => text.data.trim() ? 1 : 2);
  const range = document.createRange();
  const text = walker.lastChild();
  range.setStart(text, Math.max(text.data.length - letters, 0));
  range.setEnd(text, text.data.length);
  return range.getBoundingClientRect();
};
return [...document.querySelectorAll("#streams tbody tr")].map((row) => {
  const name = row.querySelector("th");
  const best = endOf(row.querySelector(".best"), 5);
  return {
    name: name.innerText.replace(/\\s+/g, " "),
    isWhole: endOf(name, 10).right <= name.getBoundingClientRect().right && endOf(name, 10).left >= wide.left,
    room: wide.right - best.right,
  };
});
"""


@pytest.mark.parametrize("audio", ["audio", LONG])
def test_codebooks_are_told_apart_on_a_phone(chromium: Chrome, right: Path, long_named: Path, audio: str) -> None:
    """Of a name for which there is no room, the stream's is cut, never the codebook's number."""
    browser = opened(chromium, long_named if audio == LONG else right, width=390, height=844)
    rows = browser.execute_script(NAMES)
    assert [row["name"] for row in rows] == ["text", *(f"{audio} codebook {number}" for number in range(4))]
    assert all(row["isWhole"] for row in rows)
    if audio != LONG:
        assert all(row["room"] >= 8 for row in rows)


def edge(browser: Chrome) -> tuple[bool, bool]:
    """Return whether the table of streams is wider than its box, and whether the box is shaded at its right edge."""
    box = at(browser, "#streams .wide")
    picture = Image.open(io.BytesIO(box.screenshot_as_png)).convert("RGB")
    down = range(picture.height // 4, picture.height * 3 // 4)
    at_the_edge, before_it = ([picture.getpixel((picture.width - away, place)) for place in down] for away in (4, 30))
    usual = [max(set(colours), key=colours.count) for colours in (at_the_edge, before_it)]
    wider = browser.execute_script("return arguments[0].scrollWidth > arguments[0].clientWidth", box)
    return wider, usual[0] != usual[1]


@pytest.mark.parametrize("dark", [False, True])
def test_a_table_fits_or_shows_that_it_scrolls(chromium: Chrome, right: Path, long_named: Path, dark: bool) -> None:
    """The streams fit a desk; where they don't fit, the edge beyond which there is more is shaded, up to the end."""
    browser = opened(chromium, right, width=1400, dark=dark)
    assert edge(browser) == (False, False)
    look(browser, width=1280, dark=dark)
    assert edge(browser) == (False, False)
    for page, width in ((right, 390), (long_named, 1280)):
        opened(browser, page, width=width, dark=dark)
        assert edge(browser) == (True, True)
        browser.execute_script("document.querySelector('#streams .wide').scrollLeft = 1e6")
        assert edge(browser) == (True, False)


def test_a_tap_tells_of_a_token(chromium: Chrome, run: tuple[Path, list[Comparison]]) -> None:
    """On a phone a tap on a cell tells of it."""
    browser = opened(chromium, run[0], width=390, height=844)
    cell(browser, 3, 1).click()
    assert inspected(browser)["where"] == "step 560 · text · sample 0 · rank 0"


def test_it_is_dark_where_the_system_is(chromium: Chrome, run: tuple[Path, list[Comparison]]) -> None:
    """The page, its cells and its curves follow the system, and the button."""
    browser = opened(chromium, run[0], dark=True)

    def colours() -> list[Any]:
        found: list[Any] = browser.execute_script(
            "const background = (one) => getComputedStyle(document.querySelector(one)).backgroundColor;"
            f"{DRAWN} return [background('body'), background('.cell'), drawn('lines-rank').data_source.data.colour[0]]"
        )
        return found

    dark = colours()
    assert dark[0] == "rgb(15, 19, 24)"
    at(browser, "#scheme").click()
    light = colours()
    assert light[0] == "rgb(252, 252, 253)"
    assert all(one != other for one, other in zip(dark, light, strict=True))
    look(browser, dark=False)
    opened(browser, run[0])
    assert colours() == light


def test_without_scripts_the_rest_is_there(chromium: Chrome, run: tuple[Path, list[Comparison]]) -> None:
    """Without JavaScript the page says what needs it, and shows everything else."""
    forget(chromium)
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        chromium.get(run[0].as_uri())
        text = at(chromium, "body").text
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert "The film strip needs JavaScript" in text
    for told in ("exp1", "audio codebook 2", "text: one token everywhere", "missing here: 12 comparisons", "node7"):
        assert told in text
    assert "Go to step" not in text


def followed() -> Iterator[dict[str, Any]]:
    """Yield a run in which one document comes at each step, at another place of the batch, and others once."""
    for step in range(8):
        for place, (name, label) in enumerate((("doc-<b>17", 17), (f"doc-{100 + step}", 100 + step))):
            made = events.now(events.comparison(step=step, sample=(step + place) % 5))
            shown = [{**one, "label": label, "label_text": None} for one in made["tokens"]]
            yield {**made, "sample_id": name, "tokens": shown}


def test_a_sample_is_followed_by_its_id(chromium: Chrome, tmp_path: Path) -> None:
    """The strip starts with the sample that comes most often, under its id, and each of its rows shows its text."""
    browser = opened(chromium, written(tmp_path / "run", followed())[0])
    assert Select(browser.find_element(By.ID, "by-sample")).first_selected_option.text == "doc-<b>17"
    rows = browser.find_elements(By.CSS_SELECTOR, "#grid-body .row")
    assert [row.find_element(By.CSS_SELECTOR, ".cell .label").text for row in rows] == ["17"] * 8
    acting(browser).move_to_element(cell(browser, 3, 0)).perform()
    assert "sample 4 (doc-<b>17)" in inspected(browser)["where"]
    choose(browser, "sample", "all 6")
    assert len(browser.find_elements(By.CSS_SELECTOR, "#grid-body .row")) == 16
    assert complaints(browser) == []
