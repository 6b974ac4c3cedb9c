"""The report in a browser: how tests open a page, find what is on it, and use it."""

from pathlib import Path
from typing import Any

from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from tests.browsing import forget, look, until


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
    """Return a cell of the strip by its row among those shown, and its column."""
    return at(browser, f'#grid-body .row[data-place="{row}"] [data-column="{column}"]')


def inspected(browser: Chrome, panel: str = "inspector") -> dict[str, str]:
    """Return what the panel beside the strip says, part by part; or the one beside the text, `text-details`."""
    told: dict[str, str] = browser.execute_script(
        "return Object.fromEntries([...document.querySelectorAll(`#${arguments[0]} [data-part]`)]"
        ".map((part) => [part.dataset.part, part.textContent]))",
        panel,
    )
    return told


def choose(browser: Chrome, field: str, option: str, of: str = "by") -> None:
    """Choose an option of a field over the strip, or over the text, `of="text"`."""
    Select(browser.find_element(By.ID, f"{of}-{field}")).select_by_visible_text(option)


def focused(browser: Chrome) -> tuple[int, int] | None:
    """Return the row and the column of the cell that has the focus."""
    found = browser.execute_script(
        "const cell = document.activeElement.closest('.cell');"
        "return cell && [Number(cell.parentElement.dataset.place), Number(cell.dataset.column)]"
    )
    return None if found is None else tuple(found)


def press(browser: Chrome, *keys: str) -> None:
    acting(browser).send_keys(*keys).perform()
