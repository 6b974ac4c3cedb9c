"""Runs → one self-contained page: film strip, curves, findings, tokens and the runs; it loads and sends nothing."""

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

import predlog
from predlog.errors import required
from predlog.reading.curves import SMOOTHED, Curve, Key
from predlog.reading.words import counted, number, seen
from predlog.report import sections
from predlog.report.colors import stylesheet
from predlog.report.contents import Contents
from predlog.report.film_strip import columns

with required("report"):
    import bokeh
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from predlog.report import charts, curves
_HERE: Final = Path(__file__).parent / "assets"
_SCRIPTS: Final = (
    "film", "filters", "strip", "inspector", "overview", "legend", "scheme", "lines", "plots", "readout", "curves",
    "main",
)  # fmt: skip
_BOKEH: Final = Path(bokeh.__file__).parent / "server" / "static" / "js" / "bokeh.min.js"
# How many are listed.
_MOST_DAMAGE, _MOST_MISSING = 100, 100
# Streams and codebooks in the table, of all runs together.
_MOST_STREAMS: Final = 1000
# Tokens in a table, and the least number per stream and codebook.
_MOST_TOKENS, _FEWEST_TOKENS = 20, 3
# Runs whose names make the title; of more, the title is their number.
_MOST_IN_TITLE: Final = 3


class Page(NamedTuple):
    """A page, and the number of comparisons that it summarizes."""

    html: str
    comparisons: int


def page(runs: Sequence[Contents]) -> Page:
    """Return the page of one run, or of several side by side.

    Raises:
        PredlogError: A run has no comparison.
    """
    for run in runs:
        if run.is_empty:
            raise run.why_empty()
    comparisons = sum(run.strip.left_out.of_comparisons for run in runs)
    document, roots = charts.document()
    plots = {"document": document, "roots": roots, "plots": [plot._asdict() for plot in charts.PLOTS]}
    strip = columns([run.strip for run in runs], [seen(run.name) for run in runs])
    return Page(_rendered(_said(runs), strip, plots, curves.data(runs)), comparisons)


# In the head of each page; the policy, which comes before it, has less than a thousand characters.
_MARK, _MARKED_WITHIN = b'<meta name="generator" content="predlog ', 4096


def is_page(file: Path) -> bool:
    """Return whether a file is a page that predlog has made, by the mark at its beginning."""
    with file.open("rb") as opened:
        return _MARK in opened.read(_MARKED_WITHIN)


def _said(runs: Sequence[Contents]) -> dict[str, Any]:
    """Return what the templates write: of the whole page, and in `runs` of each run."""
    many = len(runs)
    summaries = [run.summary for run in runs]
    listed = [list(summary.curves.values()) for summary in summaries]
    shown = [ones[: max(_MOST_STREAMS // many, 1)] for ones in listed]
    measures = sections.measures([curve for ones in shown for curve in ones])
    return {
        "title": _title(runs),
        "version": predlog.__version__,
        "made": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "source": ", ".join(seen(run.source) for run in runs),
        "runs": [_run(place, run, many=many) for place, run in enumerate(runs)],
        "streams": _streams(shown, measures),
        "smoothed": SMOOTHED,
        "measures": measures,
        "streams_left_out": sum(map(len, listed)) - sum(map(len, shown)),
        "lines_left_out": sum(max(len(ones) - curves.MOST_LINES, 0) for ones in listed),
        "plots": charts.PLOTS,
        "drawn": curves.named(runs),
        "gaps_left_out": sum(sum(gap.gaps for gap in run.summary.gaps) - len(run.gaps) for run in runs),
        "findings": list(sections.findings(_named(runs))),
        "findings_left_out": max(sum(len(summary.findings) for summary in summaries) - sections.MOST_FINDINGS, 0),
        **_tokens(runs, listed),
        "several": many > 1 or len(listed[0]) > 1,
    }


def _streams(shown: Sequence[Sequence[Curve]], measures: dict[str, str]) -> list[dict[str, Any]]:
    """Return the rows of the table of streams; those of the same stream and codebook follow one another, run by run."""
    several = len(shown) > 1
    rows: dict[Key, list[dict[str, Any]]] = {}
    for place, ones in enumerate(shown):
        for curve, row in zip(ones, sections.streams(ones, measures), strict=True):
            of_key = rows.setdefault((curve.stream, curve.codebook), [])
            of_key.append({**row, "run": place if several else None})
    return list(chain.from_iterable(rows.values()))


def _named(runs: Sequence[Contents]) -> list[tuple[sections.OfRun, Contents]]:
    """Return the runs, each with its place and name, or with none if it is the only one."""
    if len(runs) == 1:
        return [(sections.ALONE, runs[0])]
    return [(sections.OfRun(place, seen(run.name)), run) for place, run in enumerate(runs)]


def _title(runs: Sequence[Contents]) -> str:
    if len(runs) == 1:
        names = [one.run for one in runs[0].summary.attempts if one.run]
        return seen(names[-1] if names else Path(runs[0].source).name)
    if len(runs) <= _MOST_IN_TITLE:
        return " · ".join(seen(run.name) for run in runs)
    return counted(len(runs), "run")


def _run(place: int, run: Contents, *, many: int) -> dict[str, Any]:
    summary, damage = run.summary, run.damage
    # Places of the page that a note leads to.
    of_run = f"-{place}" if many > 1 else ""
    return {
        "place": place,
        "of_run": of_run,
        "name": seen(run.name),
        "source": seen(run.source),
        "facts": list(sections.facts(summary)),
        "notes": list(sections.notes(summary, damage.total, of_run)),
        "errors": sections.errors(summary),
        "left_out": run.strip.left_out,
        "attempts": list(sections.attempts(summary.attempts)),
        "attempts_left_out": max(len(summary.attempts) - sections.MOST_PROCESSES, 0),
        "missing": summary.gaps[:_MOST_MISSING],
        "missing_left_out": max(len(summary.gaps) - _MOST_MISSING, 0),
        "damage": damage[:_MOST_DAMAGE],
        "damage_left_out": max(damage.total - _MOST_DAMAGE, 0),
    }


def _tokens(runs: Sequence[Contents], listed: Sequence[Sequence[Curve]]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of the most stubborn and the most forgotten tokens, of streams and codebooks with a line."""
    most = max(curves.MOST_LINES // len(runs), 1)
    count = max(_MOST_TOKENS // sum(map(len, listed)), _FEWEST_TOKENS)
    rows: dict[str, list[dict[str, Any]]] = {"stubborn": [], "forgotten": []}
    for (of, run), ones in zip(_named(runs), listed, strict=True):
        drawn = {(curve.stream, curve.codebook) for curve in ones[:most]}
        for kind, found in (("stubborn", run.learning.stubborn(count)), ("forgotten", run.learning.forgotten(count))):
            rows[kind] += sections.tokens({key: found[key] for key in found if key in drawn}, of)
    return rows


def _rendered(said: dict[str, Any], strip: dict[str, Any], plots: dict[str, Any], lines: dict[str, Any]) -> str:
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
            plots_data=_trusted(json_text(plots)),
            curves_data=_trusted(json_text(lines)),
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
