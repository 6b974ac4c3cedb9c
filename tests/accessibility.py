"""axe-core looks at a page in a browser, and lists what keeps people from using it.

It is fetched when it is first needed: from npm, and where there is no npm, from a package on PyPI that contains the
same version.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome

VERSION = "4.12.1"
PACKAGES = (
    (["npm", "pack", "--silent", f"axe-core@{VERSION}"], "gztar", "package/axe.min.js"),
    (
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "axe-playwright-python==0.1.8"],
        "zip",
        "axe_playwright_python/axe.min.js",
    ),
)
# Width and darkness of a desk and of a phone: with `-m slow` each is seen one way, with `-m full` both.
SCREENS: list[tuple[int, bool, Any]] = [
    (1280, False, ()),
    (390, True, ()),
    (1280, True, pytest.mark.full),
    (390, False, pytest.mark.full),
]
# What has one of these impacts is a violation; `moderate` and `minor` are matters of taste to it, too.
TOO_MUCH = {"serious", "critical"}
RUN = """axe.run(document, {resultTypes: ["violations"], preload: false}).then(({passes, violations}) => ({
  passed: passes.map((rule) => rule.id),
  violated: violations.flatMap((rule) => rule.nodes.map((node) => (
    {rule: rule.id, impact: node.impact ?? rule.impact, where: node.target.join(" "), why: node.failureSummary}
  ))),
}))"""


@cache
def axe() -> str:
    """Return axe-core's source; skip the test, or fail where a browser is a must, if it can't be fetched."""
    why = []
    for command, archive, file in PACKAGES:
        if shutil.which(command[0]) is None:
            why.append(f"no {command[0]}")
            continue
        with tempfile.TemporaryDirectory() as name:
            done = subprocess.run(command, cwd=name, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode == 0:
                (package,) = Path(name).iterdir()
                shutil.unpack_archive(package, name, archive, filter="data" if archive == "gztar" else None)
                source = Path(name, file).read_text("utf-8")
                assert source.startswith(f"/*! axe v{VERSION}\n")
                return source
            why.append(done.stderr.strip()[-300:])
    message = f"axe-core can't be fetched: {'; '.join(why)}"
    if "PREDLOG_TESTS_NEED_A_BROWSER" in os.environ:
        pytest.fail(message)
    pytest.skip(message)


def violations(browser: Chrome) -> list[str]:
    """Return what axe-core finds serious or critical in the page that is open, and where."""
    evaluated(browser, axe())
    found = evaluated(browser, RUN)
    assert {"color-contrast", "document-title"} & {*found["passed"]}, found
    return sorted(
        f"{one['rule']} ({one['impact']}) at {one['where']}: {one['why']}"
        for one in found["violated"]
        if one["impact"] in TOO_MUCH
    )


def evaluated(browser: Chrome, expression: str) -> Any:
    """Evaluate in the page what its own policy would not let a script do."""
    options = {"expression": expression, "awaitPromise": True, "returnByValue": True}
    done = browser.execute_cdp_cmd("Runtime.evaluate", options)
    assert "exceptionDetails" not in done, done["exceptionDetails"]
    return done["result"].get("value")
