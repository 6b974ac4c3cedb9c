"""Runs → one self-contained page: film strip, curves, findings, tokens and the runs; it loads and sends nothing."""

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from functools import cache
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
from predlog.report.film_strip import columns, links

with required("report"):
    import bokeh
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from predlog.report import charts, curves
_HERE: Final = Path(__file__).parent / "assets"
_SCRIPTS: Final = (
    "film", "filters", "strip", "inspector", "text_controls", "running_text", "overview", "legend", "scheme",
    "update", "lines", "plots", "readout", "curves",
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


_Data = dict[str, Any] | None


class Page(NamedTuple):
    """A page, and the number of comparisons that it summarizes."""

    html: str
    comparisons: int


class Live(NamedTuple):
    """What a page that is served has beside that of a file.

    `cursor` says how far it is, and `scripts` keep it up to date; `home` is the address of the list of runs. A bare
    page has neither data nor scripts: of it a page takes what these do not draw.
    """

    cursor: str
    home: str
    scripts: str
    is_bare: bool


def page(runs: Sequence[Contents], live: Live | None = None) -> Page:
    """Return the page of one run, or of several side by side; with `live`, one that is kept up to date.

    Raises:
        PredlogError: A run has neither a comparison nor a pair that was refused; one that is live may have later.
    """
    for run in runs:
        if run.is_empty and live is None:
            raise run.why_empty()
    comparisons = sum(run.strip.left_out.of_comparisons for run in runs)
    said = {**_said(runs), "live": live}
    if live is not None and live.is_bare:
        return Page(_rendered(said, None, None, None), comparisons)
    return Page(_rendered(said, strip_data(runs), _plots(), curves.data(runs)), comparisons)


def strip_data(runs: Sequence[Contents]) -> dict[str, Any]:
    """Return what the film strip and the text view draw."""
    names = [seen(run.name) for run in runs]
    return columns([run.strip for run in runs], names, spells=all(run.spells for run in runs))


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
    count = max(_MOST_TOKENS // max(sum(map(len, listed)), 1), _FEWEST_TOKENS)
    rows: dict[str, list[dict[str, Any]]] = {"stubborn": [], "forgotten": []}
    for (of, run), ones, to in zip(_named(runs), listed, links([run.strip for run in runs]), strict=True):
        drawn = {(curve.stream, curve.codebook) for curve in ones[:most]}
        for kind, found in (("stubborn", run.learning.stubborn(count)), ("forgotten", run.learning.forgotten(count))):
            rows[kind] += sections.tokens({key: found[key] for key in found if key in drawn}, to, of)
    return rows


def _rendered(said: dict[str, Any], strip: _Data, plots: _Data, lines: _Data) -> str:
    live: Live | None = said["live"]
    script = joined([*(_asset(f"{name}.js") for name in _SCRIPTS), live.scripts if live else ""])
    library = _library()
    return (
        environment()
        .get_template("report.html.jinja")
        .render(
            said,
            policy=policy([script, library], is_live=live is not None),
            style=style(),
            script=trusted(script),
            bokeh=trusted(library),
            strip_data=trusted(json_text(strip)),
            plots_data=trusted(json_text(plots)),
            curves_data=trusted(json_text(lines)),
        )
    )


def _plots() -> dict[str, Any]:
    document, roots = charts.document()
    return {"document": document, "roots": roots, "plots": [plot._asdict() for plot in charts.PLOTS]}


@cache
def _library() -> str:
    return _BOKEH.read_text("utf-8")


def joined(scripts: Iterable[str]) -> str:
    """Return scripts as one, whose names nobody else sees."""
    return '(() => {\n"use strict";\n' + "".join(scripts) + "})();"


def scheme() -> str:
    """Return the script of the button for light and dark."""
    return _asset("scheme.js")


def style() -> Markup:
    """Return the style of all pages."""
    return trusted(_asset("report.css") + stylesheet())


@cache
def environment(*folders: Path) -> Environment:
    """Return what renders the templates of these folders, and of the page."""
    environment = Environment(
        loader=FileSystemLoader([*folders, _HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": number, "seen": seen}
    return environment


def trusted(text: str) -> Markup:
    """Return a text that is markup already."""
    return Markup(text)  # noqa: S704 - ours and the library's own, or JSON that can't leave its element


def _asset(name: str) -> str:
    return (_HERE / name).read_text("utf-8")


_ESCAPED = {ord(character): f"\\u{ord(character):04x}" for character in "<>&"}


def json_text(value: Any) -> str:
    """Return a value as JSON for a `<script type="application/json">`: no part of it can end or open an element.

    It is ASCII, so that no character of it is invisible, ends a line or changes the direction of the source.
    """
    return json.dumps(value, separators=(",", ":"), allow_nan=False).translate(_ESCAPED)


def policy(scripts: Iterable[str], *, is_live: bool = False) -> str:
    """Return a Content-Security-Policy that allows only these scripts, and loads nothing, but news if it is live.

    The plotting library puts `<style>` elements into the page, so inline styles are allowed. They can load nothing,
    because images may come from `data:` only. Scripts can't turn text into markup: `trusted-types 'none'`.
    """
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    news = "connect-src 'self'; " if is_live else ""
    return (
        f"default-src 'none'; script-src {hashes}; {news}style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


@cache
def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
