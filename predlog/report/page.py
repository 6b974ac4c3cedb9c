"""Records → one self-contained page: film strip, curves, findings, tokens and the run; it loads and sends nothing."""

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import predlog
from predlog.errors import PredlogError, required
from predlog.reading.curves import SMOOTHED
from predlog.reading.damage import Damages
from predlog.reading.forgetting import Learning, Sights
from predlog.reading.reader import Reading
from predlog.reading.summary import Key, Summary
from predlog.reading.words import counted, left_out, number, seen
from predlog.records.schema import Comparison, Gap, Record
from predlog.report import sections
from predlog.report.colors import stylesheet
from predlog.report.film_strip import MOST, Strip

with required("report"):
    import bokeh
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from predlog.report import charts
_HERE: Final = Path(__file__).parent / "assets"
_SCRIPTS: Final = (
    "film", "filters", "strip", "inspector", "overview", "legend", "scheme", "curves", "main",
)  # fmt: skip
_BOKEH: Final = Path(bokeh.__file__).parent / "server" / "static" / "js" / "bokeh.min.js"
# How many are drawn on the curves, and listed.
_MOST_GAPS, _MOST_MARKS, _MOST_DAMAGE, _MOST_MISSING = 1000, 1000, 100, 100
# Streams and codebooks in the table and in those of tokens, and with a line in the curves, which takes most of a page.
_MOST_STREAMS, _MOST_LINES = 1000, 100
# Tokens in a table, and the least number per stream and codebook.
_MOST_TOKENS, _FEWEST_TOKENS = 20, 3


class Page(NamedTuple):
    """A page, and the number of comparisons that it summarizes."""

    html: str
    comparisons: int


@dataclass
class _Run:
    """What is collected while the records are read once."""

    strip: Strip
    summary: Summary = field(default_factory=Summary)
    learning: Learning = field(default_factory=Learning)
    gaps: list[Gap] = field(default_factory=list)

    def add(self, record: Record) -> None:
        self.summary.add(record)
        self.learning.add(record)
        if isinstance(record, Comparison):
            self.strip.add(record)
        elif isinstance(record, Gap) and len(self.gaps) < _MOST_GAPS:
            self.gaps.append(record)


def page(records: Iterable[Record], source: str, most: int = MOST) -> Page:
    """Return the page of a run; the records are read once.

    `source` is the path that the page names. The film strip has about `most` comparisons at most. Damage is reported
    if `records` come from `predlog.read`.

    Raises:
        PredlogError: There is no comparison among the records.
    """
    run = _Run(Strip(most))
    for record in records:
        run.add(record)
    if isinstance(records, Reading):
        run.summary.share(records.writers)
        run.summary.left_out = tuple(records.left_out)
    comparisons = run.strip.left_out.of_comparisons
    if not comparisons:
        findings = counted(len(run.summary.findings), "finding")
        hint = f", but {findings}: see `predlog check {source}`" if run.summary.findings else ""
        earlier = f"; {left_out(run.summary.left_out)}" if run.summary.left_out else ""
        raise PredlogError(f"{source} holds no comparison{hint}; a page needs at least one{earlier}")
    damage = records.damage if isinstance(records, Reading) else Damages()
    said = _said(source, run, damage)
    return Page(_rendered(said, run.strip.columns(), _curves(run)), comparisons)


def _said(source: str, run: _Run, damage: Damages) -> dict[str, Any]:
    summary = run.summary
    names = [one.run for one in summary.attempts if one.run]
    curves = tuple(summary.curves.values())
    drawn = {(curve.stream, curve.codebook) for curve in curves[:_MOST_LINES]}
    tokens = max(_MOST_TOKENS // len(curves), _FEWEST_TOKENS)
    return {
        "name": seen(names[-1] if names else Path(source).name),
        "version": predlog.__version__,
        "made": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "source": seen(source),
        "facts": list(sections.facts(summary)),
        "notes": list(sections.notes(summary, damage.total)),
        "streams": list(sections.streams(curves[:_MOST_STREAMS])),
        "smoothed": SMOOTHED,
        "measures": sections.measures(curves[:_MOST_STREAMS]),
        "streams_left_out": max(len(curves) - _MOST_STREAMS, 0),
        "lines_left_out": max(len(curves) - _MOST_LINES, 0),
        "errors": sections.errors(summary),
        "left_out": run.strip.left_out,
        "plots": charts.plots(curves[:_MOST_LINES]),
        "gaps_left_out": sum(gap.gaps for gap in summary.gaps) - len(run.gaps),
        "findings": list(sections.findings(summary.findings)),
        "findings_left_out": max(len(summary.findings) - sections.MOST_FINDINGS, 0),
        "stubborn": list(sections.tokens(_of(drawn, run.learning.stubborn(tokens)))),
        "forgotten": list(sections.tokens(_of(drawn, run.learning.forgotten(tokens)))),
        "several": len(curves) > 1,
        "attempts": list(sections.attempts(summary.attempts)),
        "attempts_left_out": max(len(summary.attempts) - sections.MOST_PROCESSES, 0),
        "missing": summary.gaps[:_MOST_MISSING],
        "missing_left_out": max(len(summary.gaps) - _MOST_MISSING, 0),
        "damage": damage[:_MOST_DAMAGE],
        "damage_left_out": max(damage.total - _MOST_DAMAGE, 0),
    }


def _of(drawn: set[Key], tokens: dict[Key, list[Sights]]) -> dict[Key, list[Sights]]:
    return {key: ones for key, ones in tokens.items() if key in drawn}


def _curves(run: _Run) -> dict[str, Any]:
    curves = tuple(run.summary.curves.values())[:_MOST_LINES]
    signs = list(islice(charts.signs(run.summary.findings), _MOST_MARKS))
    document, roots = charts.document(curves, signs, run.gaps)
    return {
        "document": document,
        "roots": roots,
        "lines": list(charts.lines(curves)),
        "marks": [sign._asdict() for sign in signs],
        "gaps": list(charts.strips(run.gaps)),
        "plots": [{"name": plot.name, "written": plot.written} for plot in charts.plots(curves)],
    }


def _rendered(said: dict[str, Any], strip: dict[str, Any], curves: dict[str, Any]) -> str:
    script = '(() => {\n"use strict";\n' + "".join(_asset(f"{name}.js") for name in _SCRIPTS) + "})();"
    library = _BOKEH.read_text("utf-8")
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            said,
            policy=policy([script, library]),
            style=_trusted(_asset("report.css") + stylesheet()),
            script=_trusted(script),
            bokeh=_trusted(library),
            strip_data=_trusted(json_text(strip)),
            curves_data=_trusted(json_text(curves)),
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": number, "seen": seen}
    return environment


def _trusted(text: str) -> Markup:
    return Markup(text)  # noqa: S704 - ours and the library's own, or JSON that can't leave its element


def _asset(name: str) -> str:
    return (_HERE / name).read_text("utf-8")


_ESCAPED = {ord(character): f"\\u{ord(character):04x}" for character in "<>&"}


def json_text(value: Any) -> str:
    """Return a value as JSON for a `<script type="application/json">`: no part of it can end or open an element.

    It is ASCII, so that no character of it is invisible, ends a line or changes the direction of the source.
    """
    return json.dumps(value, separators=(",", ":"), allow_nan=False).translate(_ESCAPED)


def policy(scripts: Iterable[str]) -> str:
    """Return a Content-Security-Policy that allows only these scripts, and loads nothing.

    The plotting library puts `<style>` elements into the page, so inline styles are allowed. They can load nothing,
    because images may come from `data:` only. Scripts can't turn text into markup: `trusted-types 'none'`.
    """
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
