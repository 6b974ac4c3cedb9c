"""The text view in a real browser: a sample as text, step by step; and strip and text, drawn again from newer data."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from predlog.reading.reader import read
from predlog.records.codec import from_event, to_line
from predlog.records.text import probability
from predlog.report.contents import Contents
from predlog.report.film_strip import Strip
from predlog.report.page import json_text

pytest.importorskip("selenium")
pytest.importorskip("bokeh")
pytest.importorskip("jinja2")

from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By

from predlog.report import page as report
from tests import browsing, events
from tests.browsing import complaints, until
from tests.pages import acting, at, cell, choose, focused, inspected, opened, press
from tests.reported import passage, written

pytestmark = pytest.mark.skipif(browsing.MISSING, reason=browsing.WHY_MISSING)

LABELS = [" is", " a", " mutable", " sequence", ".\n", " It", " may", " hold", " any", " objects", "</s>"]
WINDOW = [passage(4, "What is\na list?", "".join(LABELS))]
STEPS = range(0, 50, 10)


def sampled(
    step: int, labels: list[str] = LABELS, window: Any = WINDOW, right: int | None = None, **fields: Any
) -> dict[str, Any]:
    """Return a comparison of a text at positions from 10 on; its first `right` tokens are predicted correctly."""
    right = step // 10 if right is None else right
    places = [*range(5), *range(len(labels) - 5, len(labels))]
    tokens = [
        events.token(
            10 + place,
            100 + place,
            100 + place if place < right else 7,
            slot="first" if place < 5 else "last",
            label_text=labels[place],
            prediction_text=labels[place] if place < right else " no",
            label_logprob=-(place + 1) / 10,
            label_rank=1 + place,
        )
        for place in places
    ]
    head = {**events.LATER, "recorder": "0a1b2c3d", "window": window, "supervised": len(labels), "matched": right}
    return events.comparison(step=step, tokens=tokens, **{**head, **fields})


def run() -> Iterator[dict[str, Any]]:
    """Yield a run whose probe has a sample that is followed, and whose text has another sample at each step."""
    for step in STEPS:
        yield sampled(step, stream="text", window=None, right=0)
        other = [" one", " two", " three", " four", " five", f" {step}", *LABELS[6:]]
        yield sampled(step, other, [passage(0, "", "".join(other))], stream="text", sample=1)
        yield sampled(step, stream="probe", sample=step % 3, sample_id="list")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("sampled") / "run", run())[0]


def words(browser: Chrome) -> list[tuple[str, str]]:
    """Return each token of the text that has a probability, with its classes."""
    found = browser.execute_script(
        "return [...document.querySelectorAll('#running .word')].map((word) => [word.textContent, word.className])"
    )
    return [tuple(one) for one in found]


def text(browser: Chrome) -> str:
    told: str = browser.execute_script("return document.getElementById('running').textContent")
    return told


def here(browser: Chrome, part: str = "text") -> str:
    """Return what the line over the text says, or the one over the strip."""
    return " · ".join(at(browser, f"#{part}-here").text.splitlines())


def test_a_sample_is_there_as_text(chromium: Chrome, page: Path) -> None:
    """The page opens with the probe's newest text: what was read, each token in its shade, wrong ones underlined."""
    browser = opened(chromium, page)
    assert here(browser) == "probe · step 40 · sample list · 36.4% correct"
    answer = "".join(LABELS).replace("\n", "\\n")
    assert text(browser).replace("\n", "") == f"⋯ 4 tokens left out What is\\na list?{answer}"
    assert at(browser, "#running .read").text == "What is\\n\na list?"
    shown = [LABELS[place] for place in (0, 1, 2, 3, 4, 6, 7, 8, 9, 10)]
    found = words(browser)
    assert [one for one, _ in found] == [label.replace("\n", "\\n\n") for label in shown]
    assert ["is-wrong" in classes.split() for _, classes in found] == [False] * 4 + [True] * 6
    levels = [f"p{round(24 * math.exp(-(place + 1) / 10))}" for place in (0, 1, 2, 3, 4, 6, 7, 8, 9, 10)]
    assert [level in classes.split() for (_, classes), level in zip(found, levels, strict=True)] == [True] * 10
    wrong, right = at(browser, "#running .is-wrong"), at(browser, "#running .word")
    assert wrong.value_of_css_property("text-decoration-line") == "underline"
    assert right.value_of_css_property("text-decoration-line") == "none"
    assert (
        at(browser, "#text-note").text
        == "10 of 11 supervised tokens have a probability here; all_tokens=True records all."
    )
    assert not complaints(browser)


def test_its_tokens_are_told_by_pointer_and_keys(chromium: Chrome, page: Path) -> None:
    """Under the pointer, and with the focus, a token is told as beside the strip; Enter selects it there."""
    browser = opened(chromium, page)
    target = browser.find_elements(By.CSS_SELECTOR, "#running .word")[5]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", target)
    acting(browser).move_to_element(target).perform()
    told = inspected(browser, "text-details")
    assert (told["label"], told["prediction"], told["verdict"]) == ("␣may", "␣no", "✗ wrong")
    assert (told["label-probability"], told["rank"], told["position"]) == (probability(-0.7), "7 of 32000", "16 of 512")
    acting(browser).move_to_element(at(browser, "#text-title")).perform()
    assert inspected(browser, "text-details")["label"] == "␣is"
    browser.execute_script("document.querySelector('#running .word[tabindex=\"0\"]').focus()")
    press(browser, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert inspected(browser, "text-details")["label"] == "␣mutable"
    press(browser, Keys.END)
    assert inspected(browser, "text-details")["label"] == "</s>"
    press(browser, Keys.ARROW_UP)
    assert inspected(browser, "text-details")["label"] != "</s>"
    press(browser, Keys.HOME, Keys.ARROW_RIGHT, Keys.ENTER)
    assert inspected(browser)["label"] == "␣a"
    assert at(browser, '.cell[tabindex="0"]').get_attribute("data-column") == "1"
    assert len(browser.find_elements(By.CSS_SELECTOR, '#running [tabindex="0"]')) == 1
    described = at(browser, "#running .word").get_attribute("aria-description")
    assert described == f"label ␣is, predicted correctly, probability {probability(-0.1)}, rank 1"


def test_a_sample_over_steps(chromium: Chrome, page: Path) -> None:
    """The slider and its buttons go through the steps of the sample, and the strip goes along, and the reverse."""
    browser = opened(chromium, page)
    slider = at(browser, "#text-step")
    assert slider.get_attribute("aria-valuetext") == "step 40"
    slider.send_keys(Keys.ARROW_LEFT)
    assert here(browser) == "probe · step 30 · sample list · 27.3% correct"
    assert sum("is-wrong" in classes for _, classes in words(browser)) == 7
    assert inspected(browser)["where"] == "step 30 · probe · sample 0 (list) · rank 0"
    at(browser, "#text-earlier").click()
    assert here(browser).startswith("probe · step 20")
    slider.send_keys(Keys.HOME)
    assert here(browser).startswith("probe · step 0 ")
    assert not at(browser, "#text-earlier").is_enabled()
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", cell(browser, 0, 3))
    cell(browser, 0, 3).click()
    assert here(browser).startswith("probe · step 40")
    assert slider.get_attribute("value") == "4"
    until(browser, "location.hash.includes('step=40')")


def test_what_is_the_same_text_and_what_is_not(chromium: Chrome, page: Path) -> None:
    """A place in the batch may hold other texts at other steps, and then the page says so; an id is one text."""
    browser = opened(chromium, page)
    assert "place in the batch" not in at(browser, "#text-note").text
    choose(browser, "stream", "text", of="text")
    choose(browser, "sample", "1", of="text")
    assert here(browser).startswith("text · step 40 · sample 1")
    assert inspected(browser)["where"] == "step 40 · text · sample 1 · rank 0"
    assert "Sample 1 is a place in the batch, not one text: 5 different ones" in at(browser, "#text-note").text
    choose(browser, "sample", "0", of="text")
    assert "place in the batch" not in at(browser, "#text-note").text
    gaps = [one.text for one in browser.find_elements(By.CSS_SELECTOR, "#running .gap")]
    assert [gap.split("\n")[0].split(" t")[0] for gap in gaps] == ["⋯ 10", "⋯ 1"]


# --- the strip's head, and links ------------------------------------------------------------------------------------


def test_the_head_says_where_the_strip_is(chromium: Chrome, tmp_path: Path) -> None:
    """Over the strip are the stream and the steps in sight, whatever is scrolled; an eval stream is there first."""
    told = (sampled(step, stream=stream) for step in range(200) for stream in ("text", "eval/x"))
    browser = opened(chromium, written(tmp_path / "run", told)[0])
    assert re.fullmatch(r"eval/x · step 199 to 18\d · sample 0", here(browser, "strip"))
    browser.execute_script("document.getElementById('grid').scrollTop = 40 * 100")
    until(browser, "document.getElementById('strip-here').textContent.includes('step 99 ')")


def stubborn() -> Iterator[dict[str, Any]]:
    """Yield tokens that are never learnt and ones that were forgotten, in several streams, samples and ranks."""
    for step in range(0, 60, 10):
        for number, (stream, codebook) in enumerate((("text", None), ("eval", None), ("audio", 0), ("audio", 1))):
            for sample in (0, 1):
                never = events.token(0, 3 + 10 * number, 4, slot="first")
                once = events.token(1, 5, 5 if step == 10 * number and sample else 6, slot="first")
                last = events.token(9, 8, 1, slot="last")
                tokens = [never, once, last] if sample else [once, last]
                yield events.comparison(step=step, stream=stream, codebook=codebook, sample=sample, tokens=tokens)


def test_links_select_the_tokens_that_they_name(chromium: Chrome, tmp_path: Path) -> None:
    """Each link under the stubborn and the forgotten tokens selects a cell of this label, stream and step."""
    browser = opened(chromium, written(tmp_path / "run", stubborn())[0])
    rows = browser.execute_script(
        "return [...document.querySelectorAll('#tokens tbody tr')].map((row) => ["
        "  row.querySelector('.token').textContent,"
        "  row.querySelector('td.name').textContent.trim().replace(/\\s+/g, ' '),"
        "  row.querySelector('a').textContent, row.closest('.wide').getAttribute('aria-labelledby')])"
    )
    links = browser.find_elements(By.CSS_SELECTOR, "#tokens tbody a")
    assert len(rows) == len(links) == 11
    for (label, stream, step, kind), link in zip(rows, links, strict=True):
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", link)
        link.click()
        until(browser, f"document.querySelector('#inspector [data-part=where]').textContent.startsWith('step {step} ')")
        told = inspected(browser)
        assert told["label"] == label
        named = stream.replace(" codebook", " · codebook")
        assert re.fullmatch(rf"step {step} · {named} · sample [01] · rank 0", told["where"])
        assert told["verdict"] == ("✓ correct" if kind == "forgotten" else "✗ wrong")
        assert focused(browser) is not None


# --- newer data -----------------------------------------------------------------------------------------------------


def live(folder: Path, told: list[dict[str, Any]]) -> Path:
    """Make the page of a run, from which a test can call what draws strip and text again."""
    page, _ = written(folder, iter(told))
    source = page.read_text("utf-8")
    policy = source[source.index("<meta http-equiv") : source.index(">", source.index("<meta http-equiv")) + 1]
    exposed = source.replace(policy, "").replace("})();</script>", "window.updateStrip = updateStrip;\n})();</script>")
    assert "window.updateStrip" in exposed
    page.write_text(exposed, "utf-8")
    return page


def update(browser: Chrome, told: list[dict[str, Any]]) -> None:
    strip = Strip()
    for event in told:
        strip.add(from_event({**event, "seq": 1}))  # type: ignore[arg-type]
    browser.execute_script("updateStrip(arguments[0])", json.loads(json_text(strip.columns())))


def growing(steps: int) -> list[dict[str, Any]]:
    return [
        event
        for step in range(steps)
        for event in (sampled(step, stream="text", right=step % 9), sampled(step, stream="audio", right=step % 9))
    ]


@pytest.fixture(scope="module")
def growing_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return live(tmp_path_factory.mktemp("live") / "run", growing(60))


def test_who_has_chosen_nothing_sees_the_newest(chromium: Chrome, growing_page: Path) -> None:
    """With newer data, the strip and the text show the newest step, at its top."""
    browser = opened(chromium, growing_page)
    update(browser, growing(65))
    assert here(browser, "strip").startswith("text · step 64 to")
    assert here(browser).startswith("text · step 64 ")
    assert inspected(browser)["where"].startswith("step 64 ")
    assert browser.execute_script("return document.activeElement.tagName") == "BODY"


def test_what_was_chosen_stays(chromium: Chrome, growing_page: Path) -> None:
    """With newer data, filters, the selected cell, its focus, the token held and what is in sight are the same."""
    browser = opened(chromium, growing_page)
    choose(browser, "stream", "audio")
    at(browser, "#predictions-below").click()
    browser.execute_script("document.getElementById('grid').scrollTop = 700")
    until(browser, "document.querySelector('#grid-body .row[data-place=\"30\"]')")
    cell(browser, 30, 3).click()
    state = (
        "const top = document.querySelector('#grid').getBoundingClientRect().top;"
        "const cell = document.activeElement;"
        "return [cell.getBoundingClientRect().top - top, cell.textContent, cell.dataset.column,"
        "  document.getElementById('by-stream').selectedOptions[0].text, scrollY]"
    )
    before = browser.execute_script(state), inspected(browser), text(browser), here(browser)
    for steps in (61, 75):
        told = [sampled(0, stream="a new one"), *growing(steps)]
        update(browser, told)
        assert (browser.execute_script(state), inspected(browser), text(browser), here(browser)) == before
    press(browser, Keys.ARROW_DOWN)
    assert inspected(browser)["where"].startswith("step 28 ")
    assert not complaints(browser)


def test_the_first_comparison_makes_strip_and_text(chromium: Chrome, tmp_path: Path) -> None:
    """A page of a run without a comparison has neither, and both are there with the first one."""
    told = [events.run(stats={"refused": 3}), events.finding(code="layout-mismatch")]
    browser = opened(chromium, live(tmp_path / "run", told))
    assert at(browser, "#no-comparison").is_displayed()
    assert not at(browser, "#text-view").is_displayed()
    assert not at(browser, "#grid").is_displayed()
    update(browser, growing(2))
    assert not at(browser, "#no-comparison").is_displayed()
    assert here(browser).startswith("text · step 1 ")
    assert here(browser, "strip").startswith("text · step 1 to 0")
    assert not complaints(browser)


# --- scripts, sizes, screens ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "shown"),
    [
        (
            ["<0xE4><0xBD>", "<0xA0>", "好", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "世", "界", "。"],
            "你·好😀···世界。",
        ),
        (["مرح", "با", " بال", "عالم", " هنا", " نص", " عر", "بي", " طويل", "."], "مرحبا بالعالم هنا نص عربي طويل."),
        ([" ", "\n\n", "\t", "      ", "a", " b", "\u202e", "\\n", "c", "d"], None),
        (
            ["un", "##believ", "##ably", "good", "news", "for", "every", "##one", "here", "."],
            "unbelievably good news for everyone here.",
        ),
    ],
)
@pytest.mark.parametrize("window", [True, False])
def test_any_script_can_be_read(
    chromium: Chrome, tmp_path: Path, labels: list[str], shown: str | None, window: bool
) -> None:
    """Characters of several tokens are joined, letters of a word too, and whitespace is there to be seen."""
    whole = b"".join(
        bytes.fromhex(one.replace("<0x", "").replace(">", "")) if one.startswith("<0x") else one.encode()
        for one in labels
    ).decode()
    around = [passage(0, "", whole)] if window and not any(one.startswith("##") for one in labels) else None
    browser = opened(chromium, written(tmp_path / "run", iter([sampled(0, labels, around)]))[0])
    told = text(browser)
    if around is None:
        told = told.removeprefix("⋯ 10 tokens without labels ")
    if shown is None:
        assert told == "␣\\n\\n\n\n\\t␣×6a b\\u202e\\\\ncd".replace("\\n\\n\n\n", "\\n\n\\n\n")
    else:
        assert told == shown
    assert len(words(browser)) == 10
    if "عربي" in (shown or ""):
        lefts = browser.execute_script(
            "return [...document.querySelectorAll('#running .word')].map((one) => one.getBoundingClientRect().left)"
        )
        assert lefts[:4] == sorted(lefts[:4], reverse=True)


def test_codebooks_have_ids(chromium: Chrome, tmp_path: Path) -> None:
    """A codebook has no text: its ids are there instead, and the page says so."""
    tokens = [events.token(place, 900 + place, slot="first") for place in range(4)]
    told = [events.comparison(step=step, stream="audio", codebook=2, tokens=tokens) for step in range(2)]
    browser = opened(chromium, written(tmp_path / "run", iter(told))[0])
    assert [one for one, _ in words(browser)] == ["900", "901", "902", "903"]
    assert "Codebook 2 has no text: these are the ids of its tokens." in at(browser, "#text-note").text


def test_a_phone_has_no_help_about_keys(chromium: Chrome, page: Path) -> None:
    """On a phone a tap tells of a token of the text, nothing is wider than the screen, and no keys are explained."""
    browser = opened(chromium, page, width=390, height=844)
    assert not at(browser, "p.keys").is_displayed()
    assert browser.execute_script("return document.documentElement.scrollWidth") == 390
    target = browser.find_elements(By.CSS_SELECTOR, "#running .word")[2]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", target)
    target.click()
    assert inspected(browser, "text-details")["label"] == "␣mutable"
    opened(browser, page)
    assert at(browser, "p.keys").is_displayed()


@pytest.mark.parametrize("count", [1, 2])
def test_a_short_run_is_shown(chromium: Chrome, tmp_path: Path, count: int) -> None:
    """One comparison and two have a strip and a text, and a slider only if there are steps to go to."""
    browser = opened(chromium, written(tmp_path / "run", (sampled(step) for step in range(count)))[0])
    assert here(browser).startswith(f"text · step {count - 1} ")
    assert at(browser, "#text-step").is_enabled() == (count > 1)
    assert len(browser.find_elements(By.CSS_SELECTOR, "#grid-body .row")) == count
    assert not complaints(browser)


def test_all_tokens_are_the_whole_text(chromium: Chrome, tmp_path: Path) -> None:
    """With all its tokens, each of a sample's text has its shade; ids that were never shown have what the text says."""
    columns = {
        "positions": [*range(10, 21)], "labels": [*range(100, 111)], "predictions": [100, *[7] * 10],
        "label_logprobs": [-0.5] * 10 + [None], "label_ranks": [2] * 10 + [None],
    }  # fmt: skip
    browser = opened(chromium, written(tmp_path / "run", iter([sampled(0, all_tokens=columns)]))[0])
    assert [one.replace("\\n", "") for one, _ in words(browser)] == LABELS
    assert at(browser, "#text-note").text == ""
    target = browser.find_elements(By.CSS_SELECTOR, "#running .word")[5]
    browser.execute_script("arguments[0].focus()", target)
    told = inspected(browser, "text-details")
    assert (told["label"], told["prediction-probability"], told["input"]) == ("␣It", "not recorded", "unknown")


def test_a_redacted_text_is_nowhere_in_the_page(tmp_path: Path) -> None:
    """What Redact took out is in no part of the page, though each of its tokens has a text elsewhere in the run."""
    torch = pytest.importorskip("torch")
    from predlog import Recorder  # noqa: PLC0415
    from predlog.processors import Redact  # noqa: PLC0415

    vocabulary = ["My", " pin", " is", " 47", "11", ".", " and", " that", " was", " it", " all", " x"]
    secret = [0, 1, 2, 6, 7, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    plain = [3, 11, 4, 11, 5, 11, 0, 1, 2, 6, 7, 8, 9, 10]
    made = []
    for processors in ([], [Redact(r"47\s?11")]):
        folder = tmp_path / f"run{len(processors)}"
        recorder = Recorder(
            folder, every=1, worst=0, all_tokens=True, console=False, decode=vocabulary.__getitem__,
            processors=processors,
        )  # fmt: skip
        for step, ids in enumerate((secret, plain)):
            labels = torch.tensor([ids])
            recorder.compare(torch.nn.functional.one_hot(labels, len(vocabulary)).float(), labels, step)
        recorder.close()
        page = report.page([Contents.of(read(folder), "run")]).html
        begin = page.index('id="strip-data">') + len('id="strip-data">')
        data = json.loads(page[begin : page.index("</script>", begin)])
        places = data["whole"]["label"][: len(secret)]
        told = "".join(data["texts"][place] or "?" for place in places)
        made.append((told.replace("␣", " "), "4711" in json.dumps(data["windows"])))
    assert made[0] == ("My pin is and that 4711. and that was it all x", True)
    assert made[1] == ("My pin is and that???? that was it all x", False)


def test_the_lines_are_as_they_are_written() -> None:
    """The events of this module are lines of a run."""
    assert all(to_line({**event, "seq": 1}) for event in run())
