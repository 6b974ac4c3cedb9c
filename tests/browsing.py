"""A real browser for tests: opens a page from its file, and tells what it ran, asked for and complained about."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
# Where a browser is a must, what would be skipped fails.
MISSING = not (BROWSER and DRIVER) and "PREDLOG_TESTS_NEED_A_BROWSER" not in os.environ
WHY_MISSING = "no chromium and chromedriver: apt-get install chromium chromium-driver"

_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip


@contextmanager
def browser(profile: Path) -> Iterator[Chrome]:
    """Start a browser with an empty profile, which writes down its console and its requests."""
    assert BROWSER
    assert DRIVER
    options = Options()
    options.binary_location = BROWSER
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    running = Chrome(options=options, service=Service(DRIVER))
    try:
        running.execute_cdp_cmd("Network.enable", {})
        yield running
    finally:
        running.quit()


def look(browser: Chrome, *, width: int = 1400, height: int = 1000, dark: bool = False, sharp: bool = False) -> None:
    """Make the window so large, a phone's below 500 pixels, and prefer light or dark; `sharp` has twice the pixels."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1 + sharp, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": width < 500})
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def forget(browser: Chrome) -> None:
    """Leave the page, and drop what was written down about it."""
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get_log("performance")


def complaints(browser: Chrome) -> list[str]:
    """Return the console's warnings and errors since the last time."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] in {"SEVERE", "WARNING"}]


def requests(browser: Chrome) -> list[str]:
    """Return the addresses that were asked for since the last time, but for data that is in the page itself.

    What was stopped before it left the browser says so.
    """
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [one["params"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    failed = [one["params"] for one in messages if one["method"] == "Network.loadingFailed"]
    stopped = {one["requestId"]: one["blockedReason"] for one in failed if "blockedReason" in one}
    return [
        one["request"]["url"] + (f" was stopped: {stopped[one['requestId']]}" if one["requestId"] in stopped else "")
        for one in sent
        if not one["request"]["url"].startswith("data:")
    ]


def until(browser: Chrome, condition: str) -> Any:
    """Wait until an expression is true in the page, and give its value."""
    return WebDriverWait(browser, 20, 0.02).until(lambda _: browser.execute_script(f"return {condition}"))
