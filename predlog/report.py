"""Records → one self-contained page: film strip, curves, findings, tokens and the run; it loads and sends nothing."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import predlog
from predlog import captions, curves, sections
from predlog.errors import MissingExtraError, PredlogError
from predlog.inlining import json_text, policy
from predlog.learning import Learning
from predlog.records import Comparison, Record
from predlog.shades import stylesheet
from predlog.strip import MOST, Strip
from predlog.summary import Summary

try:
    import bokeh
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup
except ModuleNotFoundError as missing:
    raise MissingExtraError("report", str(missing.name).partition(".")[0]) from None

_HERE: Final = Path(__file__).parent / "page"
_SCRIPTS: Final = (
    "film", "filters", "strip", "inspector", "overview", "legend", "scheme", "curves", "main",
)  # fmt: skip
_BOKEH: Final = Path(bokeh.__file__).parent / "server" / "static" / "js" / "bokeh.min.js"
_MOST_DAMAGE: Final = 100


class Page(NamedTuple):
    """A page, and how many comparisons it is of."""

    html: str
    comparisons: int


def page(records: Iterable[Record], source: str, most: int = MOST) -> Page:
    """Give the page of a run, read once.

    `source` is named in it as where it comes from; about `most` comparisons at most are in the film strip.

    Damage is told where `records` has a `damage`, as what `predlog.reading.read` gives does.

    Raises:
        PredlogError: There is no comparison among the records.
    """
    summary, learning, strip = Summary(), Learning(), Strip(most)
    for record in records:
        summary.add(record)
        if isinstance(record, Comparison):
            learning.add(record)
            strip.add(record)
    comparisons = strip.left_out.of_comparisons
    if not comparisons:
        raise PredlogError(_nothing(source, summary))
    damage = tuple(getattr(records, "damage", ()))
    return Page(_rendered(source, summary, learning, strip, damage), comparisons)


def _nothing(source: str, summary: Summary) -> str:
    found = f", but {len(summary.findings)} findings: see `predlog check {source}`" if summary.findings else ""
    return f"{source} holds no comparison{found}: there is nothing to make a page of"


def _rendered(source: str, summary: Summary, learning: Learning, strip: Strip, damage: Sequence[Any]) -> str:
    script = '(() => {\n"use strict";\n' + "".join(_asset(f"{name}.js") for name in _SCRIPTS) + "})();"
    library = _BOKEH.read_text("utf-8")
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = sections.number
    return environment.get_template("report.html.jinja").render(
        **_said(source, summary, learning, damage),
        left_out=strip.left_out,
        policy=policy([script, library]),
        style=_trusted(_asset("report.css") + stylesheet()),
        script=_trusted(script),
        bokeh=_trusted(library),
        strip_data=_trusted(json_text(strip.columns())),
        curves_data=_trusted(json_text(_curves(summary))),
    )


def _said(source: str, summary: Summary, learning: Learning, damage: Sequence[Any]) -> dict[str, Any]:
    run = summary.runs[0] if summary.runs else None
    return {
        "name": sections.seen(run.run if run and run.run else Path(source).name),
        "version": predlog.__version__,
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "source": sections.seen(source),
        "facts": list(sections.facts(summary)),
        "notes": list(sections.notes(summary, len(damage))),
        "streams": list(sections.streams(summary.curves)),
        "accuracy_note": "",
        "plots": curves.PLOTS,
        "findings": list(sections.findings(summary.findings)),
        "attempts": list(sections.attempts(summary.runs, summary.ends)),
        "missing": list(sections.gaps(summary.gaps)),
        "damage": list(sections.damage(damage[:_MOST_DAMAGE])),
        "damage_left_out": max(len(damage) - _MOST_DAMAGE, 0),
        "stubborn": learning.stubborn,
        "forgotten": learning.forgotten,
    }


def _curves(summary: Summary) -> dict[str, Any]:
    document, roots = curves.document(summary.curves, summary.findings, summary.gaps)
    return {
        "document": document,
        "roots": roots,
        "lines": list(captions.lines(summary.curves)),
        "marks": [captions.mark(finding) for finding in summary.findings],
        "gaps": [captions.gap(gap) for gap in summary.gaps],
        "plots": [{"name": plot.name, "column": plot.name, "written": plot.written} for plot in curves.PLOTS],
    }


def _trusted(text: str) -> Markup:
    return Markup(text)  # noqa: S704 - ours and the library's own, or JSON that can't leave its element


def _asset(name: str) -> str:
    return (_HERE / name).read_text("utf-8")
