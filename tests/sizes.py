"""One test at several sizes: small in every run, larger with `-m slow`, and whole with `-m full`."""

from typing import Any

import pytest


def sizes(*, core: Any, slow: Any, full: Any = None, of: str = "") -> list[Any]:
    """Return the values of one parameter, or tuples of several: `pytest` runs the first, CI the second, too.

    Whoever changes what such a test is about runs it whole: `pytest -m full tests/…`. Without `full`, `slow` is whole.
    """
    marked: list[tuple[str, Any, Any]] = [
        ("core", core, ()),
        ("slow", slow, pytest.mark.slow),
        ("full", full, pytest.mark.full),
    ]
    return [
        pytest.param(*(value if type(value) is tuple else (value,)), id=f"{of} {name}".strip(), marks=marks)
        for name, value, marks in marked
        if value is not None
    ]
