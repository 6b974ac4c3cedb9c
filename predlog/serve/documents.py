"""The pages that are served, as HTML: the list of runs, and a run."""

import re
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from typing import Any, Final

import predlog
from predlog.reading.listing import Listed, state
from predlog.reading.words import counted, moment, number, seen
from predlog.records.text import nats, percent
from predlog.report.contents import Contents
from predlog.report.page import Live, environment, joined, page, policy, scheme, style, trusted
from predlog.serve import places

_HERE: Final = Path(__file__).parent / "assets"
_POLICY: Final = re.compile('<meta http-equiv="Content-Security-Policy" content="([^"]*)">')
# Runs in the list, and findings that are named of each.
_MOST_RUNS, _MOST_NAMED = 1000, 3


def run(contents: Contents, home: str, cursor: str, *, is_bare: bool) -> str:
    """Return the page of a run; a bare one has only what its scripts do not draw."""
    # Within a function of their own: the scripts of the page may have the same names.
    own = "".join(_asset(f"{name}.js") for name in ("live", "rows", "run"))
    added = "" if is_bare else f"(() => {{\n{own}}})();\n"
    return page([contents], Live(cursor, home, added, is_bare)).html


def listing(runs: Sequence[Listed], folder: Path, cursor: str) -> str:
    """Return the list of the runs in a folder."""
    said = {
        "title": seen(folder.resolve().name or str(folder)),
        "source": seen(str(folder)),
        "total": counted(len(runs), "run"),
        "runs": [_row(one, folder) for one in runs[:_MOST_RUNS]],
        "left_out": max(len(runs) - _MOST_RUNS, 0),
    }
    return _rendered(said, cursor)


def sent(html: str) -> tuple[bytes, dict[str, str]]:
    """Return a page as it is sent, and its headers: among them the policy that it has in its head."""
    found = _POLICY.search(html)
    own = unescape(found[1]) if found else "default-src 'none'"
    headers = {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": f"{own}; frame-ancestors 'none'",
    }
    return html.encode(), headers


def _rendered(said: dict[str, Any], cursor: str) -> str:
    script = joined([scheme(), "repaint();\n", _asset("live.js"), _asset("list.js")])
    return (
        environment(_HERE)
        .get_template("list.html.jinja")
        .render(
            said,
            cursor=cursor,
            version=predlog.__version__,
            policy=policy([script], is_live=True),
            style=style(),
            script=trusted(script),
        )
    )


def _row(one: Listed, folder: Path) -> dict[str, Any]:
    codes = list(dict.fromkeys(seen(finding.code) for finding in one.findings))
    more = f" and {len(codes) - _MOST_NAMED} more" if len(codes) > _MOST_NAMED else ""
    return {
        "key": f"run {one.name}",
        "name": seen(folder.resolve().name if one.name == "." else one.name),
        "href": places.address(one.name),
        "state": state(one),
        "step": "-" if one.step is None else number(one.step),
        "loss": "-" if one.loss is None else nats(one.loss),
        "accuracy": "-" if one.accuracy is None else percent(one.accuracy),
        "findings": ", ".join(codes[:_MOST_NAMED]) + more,
        "level": "is-bad" if any(finding.level == "error" for finding in one.findings) else "is-warn",
        "problem": seen(one.problem or ""),
        "moment": moment(one.timestamp),
    }


def _asset(name: str) -> str:
    return (_HERE / name).read_text("utf-8")
