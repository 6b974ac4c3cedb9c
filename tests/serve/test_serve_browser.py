"""`predlog serve` in a real browser, while runs go on: what is new appears, and nothing of the reader's is lost."""

import json
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("bokeh")
pytest.importorskip("jinja2")

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from predlog.records.codec import to_line
from tests import browsing, events
from tests.browsing import complaints, forget, look, requests, until
from tests.reported import HOSTILE, corpus, trained
from tests.serve.serving import Server, serving
from tests.serve.training import Training, training

pytestmark = pytest.mark.skipif(browsing.MISSING, reason=browsing.WHY_MISSING)
CURVES = "Bokeh.documents.at(-1).get_model_by_name('lines-accuracy').data_source.data"
LIVE = "document.getElementById('live').dataset.kind === 'live'"


class Run:
    """A run that is written record by record."""

    def __init__(self, folder: Path, started: Iterable[dict[str, Any]] = ()) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self._file = folder / "predictions.jsonl"
        self._seq = 0
        for event in started:
            self.write(event)

    def write(self, event: dict[str, Any]) -> None:
        with self._file.open("ab") as opened:
            later = events.LATER if event["event"] == "predlog.comparison" else {}
            opened.write(to_line({**later, "recorder": "0a1b2c3d", **event, "seq": self._seq}))
        self._seq += 1

    def compare(self, step: int, **fields: Any) -> None:
        self.write(events.comparison(step=step, **fields))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("served") / "runs"
    made.mkdir()
    return made


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with serving(folder) as running:
        yield running


@pytest.fixture
def run(folder: Path, request: pytest.FixtureRequest) -> Run:
    """Return a run of its own for a test, with 200 steps of two streams."""
    made = Run(folder / request.node.name)
    made.write(events.run())
    for step in range(200):
        made.compare(step, stream="text" if step % 2 else "audio")
    return made


def choose(chromium: Chrome, name: str) -> None:
    """Click a run in the list, once it is there: a list as it was half a second ago may come first."""
    WebDriverWait(chromium, 300, 0.1).until(lambda _: chromium.find_elements(By.LINK_TEXT, name))
    chromium.find_element(By.LINK_TEXT, name).click()


def opened(browser: Chrome, address: str, **how: Any) -> None:
    """Open a page, and wait until it is up to date."""
    forget(browser)
    look(browser, **how)
    browser.get(address)
    until(browser, "document.getElementById('curves')?.dataset.drawn !== undefined")
    until(browser, LIVE)


def own_requests(browser: Chrome) -> set[str]:
    """Return where requests went, up to the token, without what the browser asks itself for."""
    return {"/".join(one.split("/")[:4]) for one in requests(browser) if not one.startswith(("chrome", "about"))}


def page_of(server: Server, run: str) -> str:
    return f"{server.address}run/{run}/"


ROWS = "[...document.querySelectorAll('#grid-body .row .number')].map((one) => one.textContent)"


def test_a_record_appears(chromium: Chrome, server: Server, run: Run, request: pytest.FixtureRequest) -> None:
    """What is recorded is in the strip, the curves, the table and the facts, without loading the page again."""
    opened(chromium, page_of(server, request.node.name))
    chromium.execute_script("window.sameDocument = true")
    run.compare(200, stream="audio", loss=1.25)
    until(chromium, f"{ROWS}.includes('200')")
    until(chromium, "document.querySelector('.facts').textContent.includes('steps 0 to 200')")
    until(chromium, "document.getElementById('streams').textContent.includes('101')")
    until(chromium, f"Math.max(...{CURVES}.xs.flatMap((steps) => [...steps])) === 200")
    run.write(events.finding(step=200, code="collapsed", level="error", message="one token everywhere"))
    until(chromium, "document.getElementById('findings').textContent.includes('one token everywhere')")
    run.write(events.run(stats={"written": 201}))
    until(chromium, "document.getElementById('live').textContent === 'ended'")
    assert chromium.execute_script("return window.sameDocument")
    assert complaints(chromium) == []
    assert own_requests(chromium) == {server.address.rstrip("/")}


def test_a_run_that_was_killed_is_not_live(
    chromium: Chrome, server: Server, run: Run, request: pytest.FixtureRequest
) -> None:
    """Without a last line, and with a file that nobody writes to, it is stopped; as soon as it goes on, it is live."""
    os.utime(run.folder / "predictions.jsonl", (0, 0))
    forget(chromium)
    chromium.get(page_of(server, request.node.name))
    until(chromium, "document.getElementById('live').dataset.kind === 'stopped'")
    assert chromium.find_element(By.ID, "live").text.startswith("stopped · ")
    run.compare(200, stream="audio")
    until(chromium, LIVE)


def test_the_reader_loses_nothing(chromium: Chrome, server: Server, run: Run, request: pytest.FixtureRequest) -> None:
    """What is chosen, scrolled to, opened, zoomed and selected stays so while records come."""
    opened(chromium, page_of(server, request.node.name))
    Select(chromium.find_element(By.ID, "by-stream")).select_by_visible_text("text")
    chromium.find_element(By.ID, "predictions-below").click()
    field = chromium.find_element(By.ID, "go-to-step")
    field.send_keys("101\t")
    details = "document.querySelector('#run details')"
    state = (
        "return [document.getElementById('by-stream').value, document.getElementById('predictions-below').checked,"
        " document.getElementById('grid').scrollTop - (window.added ?? 0), scrollY, String(getSelection()),"
        f" {details}.open, Bokeh.documents.at(-1).get_model_by_name('steps').start,"
        " document.querySelector('.cell[tabindex=\"0\"]').parentElement.querySelector('.number').textContent]"
    )
    chromium.execute_script(
        f"{details}.open = true; scrollTo(0, 500);"
        "Bokeh.documents.at(-1).get_model_by_name('steps').setv({start: 50, end: 120});"
        "getSelection().selectAllChildren(document.querySelector('#streams .lead'));"
    )
    before = chromium.execute_script(state)
    for step in (200, 202, 204):
        run.compare(step, stream="audio")
    until(chromium, "document.querySelector('.facts').textContent.includes('steps 0 to 204')")
    assert chromium.execute_script(state) == before
    assert before[-1] == "101"
    assert before[4].startswith("Accuracy") or before[4].startswith("Loss")


def test_the_list_is_live(chromium: Chrome, server: Server, folder: Path, request: pytest.FixtureRequest) -> None:
    """The list shows a new run, and how far each is, without being loaded again."""
    forget(chromium)
    chromium.get(server.address)
    until(chromium, LIVE)
    made = Run(folder / request.node.name)
    made.write(events.run())
    made.compare(7)
    row = f"document.querySelector('#runs tr[data-key=\"run {request.node.name}\"]')?.textContent ?? ''"
    until(chromium, f"({row}).includes('7')")
    made.compare(123_456)
    until(chromium, f"({row}).includes('123,456')")
    choose(chromium, request.node.name)
    until(chromium, LIVE)
    chromium.find_element(By.LINK_TEXT, "All runs").click()
    until(chromium, "document.getElementById('runs') !== null")
    assert complaints(chromium) == []


def test_a_run_that_begins(chromium: Chrome, server: Server, folder: Path, request: pytest.FixtureRequest) -> None:
    """A page that was opened before the first comparison shows it when it comes."""
    made = Run(folder / request.node.name)
    made.write(events.run())
    forget(chromium)
    chromium.get(page_of(server, request.node.name))
    until(chromium, LIVE)
    made.compare(3)
    until(chromium, f"{ROWS}.includes('3')")
    assert complaints(chromium) == []


# --- hostile texts ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trains(folder: Path) -> Iterator[Training]:
    with training(folder / "trains") as begun:
        yield begun


def test_nothing_hostile_runs(chromium: Chrome, server: Server, folder: Path, trains: Training) -> None:
    """While a training records hostile texts, none runs, asks for anything, or makes an error."""
    for step in range(3):
        trains.step(step)
    opened(chromium, page_of(server, "trains"))
    kinds = "return [...document.querySelectorAll('script, link, meta, style, img, iframe, object, base, form')].length"
    before = chromium.execute_script(kinds)
    for step in range(3, 3 + len(HOSTILE)):
        trains.step(step)
    last = 2 + len(HOSTILE)
    until(chromium, f"document.querySelector('.facts').textContent.includes('steps 0 to {last}')")
    until(chromium, f"{ROWS}.includes('{last - last % 2}') || {ROWS}.includes('{last - 1 + last % 2}')")
    assert chromium.execute_script(kinds) == before
    assert chromium.execute_script("return window.ran") is None
    assert complaints(chromium) == []
    assert own_requests(chromium) == {server.address.rstrip("/")}


def test_nothing_hostile_runs_from_a_file(chromium: Chrome, server: Server, folder: Path) -> None:
    """Nor does a crafted file do anything, that of a run with a hostile name, read as it grows; nor the list."""
    name = "<img src=x onerror=window.ran=1>'\"&amp;%3Cscript%3E"
    made = Run(folder / name)
    for number, event in enumerate(corpus()):
        made.write(event)
        if number == 20:
            forget(chromium)
            chromium.get(server.address)
            until(chromium, LIVE)
            choose(chromium, name)
            until(chromium, "document.getElementById('curves')?.dataset.drawn !== undefined")
    until(chromium, f"document.querySelector('.facts').textContent.includes('steps 0 to {len(HOSTILE) + 2}')")
    assert chromium.execute_script("return window.ran") is None
    assert complaints(chromium) == []
    assert own_requests(chromium) == {server.address.rstrip("/")}


# --- connections --------------------------------------------------------------------------------------------------


def test_it_goes_on_after_a_restart(chromium: Chrome, tmp_path: Path) -> None:
    """If the server ends, the page says so; if it comes back with the same token, the page has what it missed."""
    run = Run(tmp_path / "runs/exp")
    run.compare(0)
    options = ("--token-file", tmp_path / "token")
    with serving(*options, tmp_path / "runs") as first:
        opened(chromium, page_of(first, "exp"))
        first.end()
        until(chromium, "document.getElementById('live').textContent === 'no connection'")
    run.compare(1)
    with serving(*options, "--port", str(first.port), tmp_path / "runs"):
        until(chromium, LIVE)
        until(chromium, f"{ROWS}.includes('1')")


def test_ten_tabs(chromium: Chrome, server: Server, run: Run, request: pytest.FixtureRequest) -> None:
    """Ten tabs of one browser, which has six connections, all get what is new, and one more can be opened."""
    forget(chromium)
    first = chromium.current_window_handle
    for _ in range(10):
        chromium.switch_to.new_window("tab")
        opened(chromium, page_of(server, request.node.name))
    tabs = [one for one in chromium.window_handles if one != first]
    for step in (200, 201):
        run.compare(step)
        for tab in tabs:
            chromium.switch_to.window(tab)
            until(chromium, f"document.querySelector('.facts').textContent.includes('steps 0 to {step}')")
    chromium.switch_to.window(first)
    chromium.get(server.address)
    until(chromium, LIVE)
    for tab in tabs:
        chromium.switch_to.window(tab)
        assert complaints(chromium) == []
        chromium.close()
    chromium.switch_to.window(first)


class _Proxy(BaseHTTPRequestHandler):
    """A reverse proxy that takes a prefix from each address, as Jupyter's does, and has a name of its own."""

    target: int
    prefix = "/user/ana/proxy/8484"

    def do_GET(self) -> None:
        if not self.path.startswith(f"{self.prefix}/"):
            self.send_error(404)
            return
        connection = HTTPConnection("127.0.0.1", self.target)
        connection.request("GET", self.path.removeprefix(self.prefix), headers=dict(self.headers))
        answer = connection.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"transfer-encoding", "connection"}:
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            while block := answer.read1(1 << 16):
                self.wfile.write(block)
                self.wfile.flush()
        except (OSError, HTTPException):
            pass  # the tab was closed, or the server has ended
        finally:
            connection.close()

    def log_message(self, *arguments: Any) -> None:
        """Log nothing."""


@contextmanager
def behind(port: int) -> Iterator[str]:
    """Put a proxy before a server; return its address."""
    handler = type("Handler", (_Proxy,), {"target": port})
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    proxy.daemon_threads = True
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    try:
        yield f"http://hub.localhost:{proxy.server_address[1]}{_Proxy.prefix}"
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()


def test_behind_a_proxy(chromium: Chrome, tmp_path: Path) -> None:
    """Behind a proxy with another name and a prefix, all links and updates work, once the name is allowed."""
    run = Run(tmp_path / "runs/a/b c")
    run.compare(0)
    with serving(tmp_path / "runs") as strange, behind(strange.port) as address:
        forget(chromium)
        chromium.get(f"{address}{strange.path}")
        assert "--allow-host hub.localhost" in chromium.find_element(By.TAG_NAME, "body").text
    with serving("--allow-host", "hub.localhost", tmp_path / "runs") as server, behind(server.port) as address:
        forget(chromium)
        chromium.get(f"{address}{server.path.rstrip('/')}")
        until(chromium, LIVE)
        choose(chromium, "a/b c")
        until(chromium, "document.getElementById('curves')?.dataset.drawn !== undefined")
        until(chromium, LIVE)
        run.compare(1)
        until(chromium, f"{ROWS}.includes('1')")
        chromium.find_element(By.LINK_TEXT, "All runs").click()
        until(chromium, "document.getElementById('runs') !== null")
        assert {one.partition("/proxy/8484/")[0] for one in requests(chromium)} == {address.removesuffix("/proxy/8484")}
        assert complaints(chromium) == []


# --- new rows -----------------------------------------------------------------------------------------------------


def test_changes_make_the_page_that_is_loaded(chromium: Chrome, server: Server, folder: Path) -> None:
    """A page that was kept up to date has the rows, texts and curves that one has which is loaded afterwards."""
    every = [*trained()]
    run = Run(folder / "changes", every[:400])
    opened(chromium, page_of(server, "changes"))
    drawn = (
        "[[...document.querySelectorAll('#grid-body .row')].map((one) => one.textContent),"
        " document.getElementById('inspector').textContent, document.getElementById('text-view').textContent,"
        " document.getElementById('streams').textContent, document.getElementById('findings').textContent,"
        f" {CURVES}]"
    )
    for event in every[400:]:
        run.write(event)
    until(chromium, "document.querySelector('.facts').textContent.includes('steps 0 to 590')")
    kept = chromium.current_window_handle
    chromium.switch_to.new_window("tab")
    opened(chromium, page_of(server, "changes"))
    loaded = json.dumps(chromium.execute_script(f"return {drawn}"))
    chromium.close()
    chromium.switch_to.window(kept)
    WebDriverWait(chromium, 20, 0.1).until(lambda _: json.dumps(chromium.execute_script(f"return {drawn}")) == loaded)


# --- ways through the pages ---------------------------------------------------------------------------------------


def test_from_the_list_to_a_run_and_back(
    chromium: Chrome, server: Server, run: Run, request: pytest.FixtureRequest
) -> None:
    """The browser's own way back leads to a list that is as new as the files, and forward to a run that goes on."""
    name = request.node.name
    forget(chromium)
    chromium.get(server.address)
    until(chromium, LIVE)
    choose(chromium, name)
    until(chromium, f"document.getElementById('curves')?.dataset.drawn !== undefined && {LIVE}")
    assert chromium.current_url == page_of(server, name)
    run.compare(200, stream="audio")
    chromium.back()
    row = f"document.querySelector('#runs tr[data-key=\"run {name}\"]')?.textContent ?? ''"
    until(chromium, f"({row}).includes('200') && {LIVE}")
    chromium.forward()
    run.compare(201, stream="audio")
    until(chromium, f"document.getElementById('curves')?.dataset.drawn !== undefined && {ROWS}.includes('201')")
    chromium.find_element(By.LINK_TEXT, "All runs").click()
    until(chromium, f"document.getElementById('runs') !== null && ({row}).includes('201')")
    assert complaints(chromium) == []


def test_a_run_that_is_gone(chromium: Chrome, server: Server, run: Run, request: pytest.FixtureRequest) -> None:
    """If a run's folder is taken away, its page says so and keeps what it has; if it is there again, it goes on."""
    opened(chromium, page_of(server, request.node.name))
    run.folder.rename(run.folder.with_name("elsewhere.hidden"))
    until(chromium, "document.getElementById('live').textContent === 'not there'")
    assert chromium.execute_script(f"return {ROWS}.length") > 0
    run.folder.with_name("elsewhere.hidden").rename(run.folder)
    run.compare(200, stream="audio")
    until(chromium, f"{LIVE} && {ROWS}.includes('200')")


def test_light_and_dark_stay(chromium: Chrome, server: Server, run: Run, request: pytest.FixtureRequest) -> None:
    """The button for light and dark works on the list and on a run, and an update leaves it as it was chosen."""
    for address in (server.address, page_of(server, request.node.name)):
        forget(chromium)
        look(chromium, dark=False)
        chromium.get(address)
        until(chromium, LIVE)
        paper = "getComputedStyle(document.body).backgroundColor"
        light = chromium.execute_script(f"return {paper}")
        chromium.find_element(By.ID, "scheme").click()
        dark = until(chromium, f"{paper} !== '{light}' && {paper}")
        assert chromium.find_element(By.ID, "scheme").text == "Light"
    run.compare(200, stream="audio")
    until(chromium, "document.querySelector('.facts').textContent.includes('steps 0 to 200')")
    assert chromium.execute_script(f"return {paper}") == dark


def test_the_text_goes_along(chromium: Chrome, server: Server, run: Run, request: pytest.FixtureRequest) -> None:
    """Who looks at the newest text sees the newer one; who has gone back by the slider stays, and has more to go to."""
    opened(chromium, page_of(server, request.node.name))
    here = "document.getElementById('text-here').textContent"
    until(chromium, f"{here}.includes('step 198')")
    run.compare(202, stream="audio")
    until(chromium, f"{here}.includes('step 202')")
    slider = chromium.find_element(By.ID, "text-step")
    last = int(slider.get_attribute("max") or 0)
    chromium.find_element(By.ID, "text-earlier").click()
    assert chromium.execute_script(f"return {here}").count("step 198") == 1
    run.compare(204, stream="audio")
    until(chromium, f"Number(document.getElementById('text-step').max) === {last + 1}")
    assert chromium.execute_script(f"return {here}").count("step 198") == 1
    assert complaints(chromium) == []
