"""The report in a real browser: what it shows is what was recorded, and nothing that was recorded does anything there."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from predlog.records import Comparison, from_event, to_line
from predlog.strip import shown
from tests import events

pytest.importorskip("selenium")
pytest.importorskip("bokeh")
pytest.importorskip("jinja2")

from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from predlog import report
from tests import browsing
from tests.browsing import complaints, forget, look, requests, until

pytestmark = pytest.mark.skipif(browsing.MISSING, reason=browsing.WHY_MISSING)

STEPS = range(0, 600, 10)
HOSTILE = [
    "</script><script>window.ran=1</script>",
    "<img src=x onerror=window.ran=1>",
    "<svg/onload=window.ran=1>",
    "</style><script>window.ran=1</script>",
    "<!--<script>window.ran=1</script>",
    "]]><script>window.ran=1</script>",
    "{{7*7}}{% raw %}{{ config }}",
    "${window.ran=1}`${window.ran=1}`",
    "javascript:window.ran=1",
    "\" onfocus=window.ran=1 autofocus x=\"",
    "' onmouseover='window.ran=1",
    "&lt;script&gt;window.ran=1&lt;/script&gt;",
    "<iframe srcdoc='<script>parent.ran=1</script>'>",
    "<link rel=stylesheet href=http://192.0.2.1/a.css>",
    "<img src=http://192.0.2.1/pixel>",
    "url(http://192.0.2.1/b)}*{background:url(http://192.0.2.1/c)",
    "<meta http-equiv=refresh content='0;url=http://192.0.2.1/'>",
    "<base href=http://192.0.2.1/>",
    "$$\\frac{1}{2}$$ \\(x\\) $x @x @{step} $name{safe}",
    "\u202egnp.\u2066live\u2069\u200b\ufeff",
    "\ud800\udc00\udfff",
    "\x00\x01\x1b[31m\x7f\x9b",
    "\u2028\u2029\r\n\t",
    "z\u0335\u0322\u0321" * 30,
    "x" * 5000,
    "__proto__",
    "constructor",
    "%3Cscript%3E=&stream=#",
]


def corpus() -> Iterator[dict[str, Any]]:
    """Yield a run in which everything that is text is hostile."""
    everything = {text: text for text in HOSTILE}
    yield events.run(run=HOSTILE[0], host=HOSTILE[1], versions=everything, settings={**everything, "directory": HOSTILE}, context=everything)
    for step, text in enumerate(HOSTILE):
        other = HOSTILE[step - 1]
        tokens = [
            events.token(0, 3, 4, label_text=text, prediction_text=other, input=1, input_text=text),
            events.token(1, 3, 3, label_text=other, prediction_text=other, slot="last"),
        ]
        yield events.comparison(step=step, stream=text, tokens=tokens, context=everything)
        yield events.comparison(step=step, stream="text", tokens=tokens, context={text: text})
        yield events.finding(step=step, stream=text, code=text, message=text, help=text, evidence={text: [text]}, level=text)
        yield events.finding(step=step, stream=text, code="collapsed", message=text)
        yield events.gap(reason=text, first_step=step, last_step=step + 1)
    yield events.run(run=HOSTILE[0], stats={text: 1 for text in HOSTILE})


def trained() -> Iterator[dict[str, Any]]:
    """Yield a run of text and of audio with three codebooks, two samples, two ranks, that becomes better."""
    yield events.run(run="exp1")
    for number, step in enumerate(STEPS):
        for stream, codebook, rank, sample in LANES:
            right = [(7 * number + 3 * place + sample) % 60 < number for place in range(10)]
            tokens = [
                events.token(
                    20 + 40 * place,
                    100 + place,
                    100 + place if is_right else 7,
                    slot="first" if place < 5 else "last",
                    label_logprob=round(math.log((number + 1) / 70) - place / 10, 6),
                    prediction_logprob=-0.125,
                    label_rank=1 if is_right else 2 + place,
                    label_text=f" t{place}" if stream == "text" else None,
                    prediction_text=(f" t{place}" if is_right else "no") if stream == "text" else None,
                    input=5,
                    input_text="in",
                )
                for place, is_right in enumerate(right)
            ]
            yield events.comparison(
                step=step, stream=stream, codebook=codebook, rank=rank, sample=sample, tokens=tokens, matched=5 * number, supervised=300
            )
        if number == 20:
            yield events.finding(step=step, code="collapsed", level="warning", message="text: one token everywhere")
    yield events.gap(first_step=300, last_step=320)


LANES = [
    (stream, codebook, rank, sample)
    for stream, codebook in [("text", None), ("audio", 0), ("audio", 1), ("audio", 2)]
    for rank in (0, 1)
    for sample in (0, 1)
]


def written(folder: Path, told: Iterator[dict[str, Any]]) -> tuple[Path, list[Comparison]]:
    """Make the page of a run, through a file, and give the comparisons that it is of."""
    from predlog.reading import read

    folder.mkdir()
    file = folder / "predictions.jsonl"
    file.write_bytes(b"".join(to_line({**event, "seq": seq}) for seq, event in enumerate(told)))
    records = list(read(file))
    page = folder / "report.html"
    page.write_text(report.page(read(file), str(file)).html, "utf-8")
    return page, [record for record in records if isinstance(record, Comparison)]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with browsing.browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("hostile") / "run", corpus())[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Comparison]]:
    return written(tmp_path_factory.mktemp("trained") / "run", trained())


def opened(browser: Chrome, page: Path, address: str = "", **how: Any) -> Chrome:
    """Open a page anew, and wait until its curves are drawn."""
    forget(browser)
    look(browser, **how)
    browser.get(f"{page.as_uri()}{address}")
    until(browser, "document.getElementById('curves').dataset.drawn !== undefined")
    return browser


def acting(browser: Chrome) -> ActionChains:
    return ActionChains(browser, duration=0)


def at(browser: Chrome, selector: str) -> Any:
    return browser.find_element(By.CSS_SELECTOR, selector)


def cell(browser: Chrome, row: int, column: int) -> Any:
    """Give a cell of the strip by its row among those shown, and its column."""
    return at(browser, f'#grid-body .row[data-place="{row}"] [data-column="{column}"]')


def inspected(browser: Chrome) -> dict[str, str]:
    """Give what the panel beside the strip says, part by part."""
    told: dict[str, str] = browser.execute_script(
        "return Object.fromEntries([...document.querySelectorAll('#inspector [data-part]')]"
        ".map((part) => [part.dataset.part, part.textContent]))"
    )
    return told


def choose(browser: Chrome, field: str, option: str) -> None:
    Select(browser.find_element(By.ID, f"by-{field}")).select_by_visible_text(option)


def focused(browser: Chrome) -> tuple[int, int] | None:
    """Give the row and the column of the cell that has the focus."""
    found = browser.execute_script(
        "const cell = document.activeElement.closest('.cell');"
        "return cell && [Number(cell.parentElement.dataset.place), Number(cell.dataset.column)]"
    )
    return None if found is None else tuple(found)


def press(browser: Chrome, *keys: str) -> None:
    acting(browser).send_keys(*keys).perform()


def lane(records: list[Comparison], stream: str, codebook: int | None, rank: int = 0, sample: int = 0) -> list[Comparison]:
    wanted = (stream, codebook, rank, sample)
    return [one for one in records if (one.stream, one.codebook, one.rank, one.sample) == wanted]


# --- nothing that was recorded does anything ----------------------------------------------------------------------


def walk(browser: Chrome) -> None:
    """Open, choose, hover, press and read all that there is."""
    browser.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    for field in ("stream", "codebook", "sample", "rank", "attempt"):
        browser.execute_script(
            "const field = document.getElementById(`by-${arguments[0]}`);"
            "for (const option of [...field.options]) {"
            "  field.value = option.value; field.dispatchEvent(new Event('change'));"
            "  for (const cell of document.querySelectorAll('.cell')) cell.dispatchEvent(new PointerEvent('pointerover', {bubbles: true}));"
            "}",
            field,
        )
    browser.execute_script("document.getElementById('predictions-below').click()")
    for chip in browser.find_elements(By.CSS_SELECTOR, ".chip")[:3]:
        acting(browser).move_to_element(chip).click().perform()
    for plot in browser.find_elements(By.CSS_SELECTOR, ".plot"):
        for across in (-0.4, 0.0, 0.4):
            acting(browser).move_to_element_with_offset(plot, int(across * plot.size["width"]), 0).perform()
    at(browser, "#scheme").click()


@pytest.mark.parametrize("width", [1400, 390])
def test_nothing_hostile_runs(chromium: Chrome, hostile: Path, width: int) -> None:
    """Whatever texts a run holds, wherever they stand: no script of theirs runs, nothing is asked for, nothing fails."""
    browser = opened(chromium, hostile, width=width)
    before = elements(browser)
    walk(browser)
    assert browser.execute_script("return window.ran") is None
    assert requests(browser) == [hostile.as_uri()]
    assert complaints(browser) == []
    assert browser.execute_script("return document.querySelectorAll('img, iframe, object, embed, form, base, video').length") == 0
    assert {name: elements(browser)[name] for name in ("SCRIPT", "LINK", "META", "STYLE")} == {
        name: before[name] for name in ("SCRIPT", "LINK", "META", "STYLE")
    }


def elements(browser: Chrome) -> dict[str, int]:
    """Count the page's elements by their names."""
    counted: dict[str, int] = browser.execute_script(
        "const counts = {}; for (const one of document.querySelectorAll('*')) counts[one.tagName] = (counts[one.tagName] ?? 0) + 1; return counts"
    )
    return counted


def test_addresses_are_harmless(chromium: Chrome, hostile: Path) -> None:
    """Whatever stands behind # in the address, it chooses what is there to be chosen, or nothing."""
    browser = opened(chromium, hostile, f"#stream={HOSTILE[0]}&step={HOSTILE[0]}&token=x&nth=1e9")
    for text in HOSTILE:
        said = quote(text, errors="replace")
        for address in (said, f"stream={said}&codebook={said}&step={said}&token={said}", f"step=1e400&nth={said}&shade={said}"):
            browser.execute_script("location.hash = arguments[0]", address)
            assert len(browser.find_elements(By.CSS_SELECTOR, ".row")) > 0
    assert browser.execute_script("return window.ran") is None
    assert complaints(browser) == []
    assert {address.partition("#")[0] for address in requests(browser)} == {hostile.as_uri()}


def test_all_of_it_is_there_as_text(chromium: Chrome, hostile: Path) -> None:
    """What is hostile is not left out: each label can be read in its cell, spelt out."""
    browser = opened(chromium, hostile, "#stream=text")
    labels = browser.execute_script("return [...document.querySelectorAll('.cell[data-column=\"0\"] .label')].map((one) => one.textContent)")
    assert labels == [shown(text) for text in HOSTILE]


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
        assert browser.execute_script(f"try {{ {refused}; return null }} catch (error) {{ return error.name }}") == "TypeError"
