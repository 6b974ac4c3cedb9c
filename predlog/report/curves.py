"""Runs → the data of the plots: points of each stream and codebook in columns, marks and gaps, in bounded size.

Points that several codebooks share, their steps and counts, are there once.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from predlog.findings.ledger import Found
from predlog.reading.curves import Curve
from predlog.reading.words import seen
from predlog.records.figures import Point, merged
from predlog.records.schema import Gap
from predlog.records.text import HIGHEST
from predlog.report.charts import PLOTS
from predlog.report.colors import RUNS, STREAMS, ordered
from predlog.report.contents import Contents

# Streams and codebooks of a run that have a line.
MOST_LINES: Final = 200
# Points of all lines together: each takes about 45 bytes of the page.
_MOST_POINTS: Final = 100_000
_FEWEST_POINTS: Final = 60
# Of a run.
_MOST_MARKS: Final = 1000


def data(runs: Sequence[Contents]) -> dict[str, Any]:
    """Return what the plots draw, as plain values; `curves.js` has a function that takes it again at any time.

    `lanes` has one entry per run, stream and codebook, with a column per plot, None if no point has a value; `axis`
    is the place of its steps in `axes`. `marks` are the findings, and `gaps` the missing comparisons.
    """
    curves = [list(run.summary.curves.values())[:MOST_LINES] for run in runs]
    most = max(_MOST_POINTS // max(sum(map(len, curves)), 1), _FEWEST_POINTS)
    names = list(dict.fromkeys(curve.stream for ones in curves for curve in ones))
    hues = zip(names, itertools.cycle(STREAMS), strict=False)
    axes: dict[tuple[Any, ...], int] = {}
    lanes = [
        lane
        for number, ones in enumerate(curves)
        for lane in _lanes(number, ones, {name: place for place, name in enumerate(names)}, axes, most)
    ]
    return {
        "runs": [
            {"name": seen(run.name), "light": light, "dark": dark}
            for run, (light, dark) in zip(runs, itertools.cycle(RUNS), strict=False)
        ],
        "streams": [{"name": seen(name), "light": light, "dark": dark} for name, (light, dark) in hues],
        "axes": [dict(zip(("first", "last", "records", "tokens"), axis, strict=True)) for axis in axes],
        "lanes": lanes,
        "marks": [
            {"run": number, **mark}
            for number, run in enumerate(runs)
            for mark in islice(marks(run.summary.findings), _MOST_MARKS)
        ],
        "gaps": [{"run": number, **gap} for number, run in enumerate(runs) for gap in _gaps(run.gaps)],
    }


def named(runs: Sequence[Contents]) -> list[str]:
    """Return the names of the plots of which any line has a value."""
    points = [point for run in runs for curve in [*run.summary.curves.values()][:MOST_LINES] for point in curve.points]
    return [plot.name for plot in PLOTS if any(getattr(point, plot.name) is not None for point in points)]


def _lanes(
    run: int, curves: Sequence[Curve], streams: dict[str, int], axes: dict[tuple[Any, ...], int], most: int
) -> Iterator[dict[str, Any]]:
    codebooks = Counter(curve.stream for curve in curves if curve.codebook is not None)
    scales = {stream: iter(ordered(count)) for stream, count in codebooks.items()}
    for curve in curves:
        points = thinned(curve.points, most)
        place = streams[curve.stream]
        hue = STREAMS[place % len(STREAMS)]
        light, dark = hue if curve.codebook is None else next(scales[curve.stream])
        axis = (
            tuple(_place(point.first_step) for point in points),
            tuple(_place(point.last_step) for point in points),
            tuple(point.records for point in points),
            tuple(point.scored or point.supervised for point in points),
        )
        yield {
            "run": run,
            "stream": place,
            "codebook": curve.codebook,
            "light": light,
            "dark": dark,
            "axis": axes.setdefault(axis, len(axes)),
            **{plot.name: _column(points, plot.name) for plot in PLOTS},
        }


def thinned(points: Sequence[Point], most: int) -> Sequence[Point]:
    """Return at most so many points: neighbours are merged in pairs until they fit."""
    while len(points) > most:
        pairs = [merged(*pair) for pair in zip(points[::2], points[1::2], strict=False)]
        points = [*pairs, *points[2 * len(pairs) :]]
    return points


def _place(step: int) -> float:
    return float(min(step, HIGHEST))  # a step may be any whole number


def _column(points: Sequence[Point], name: str) -> list[float | None] | None:
    values = [getattr(point, name) for point in points]
    if all(value is None for value in values):
        return None
    return [None if value is None else float(f"{value:.6g}") for value in values]


def marks(found: Iterable[Found]) -> Iterator[dict[str, Any]]:
    """Yield the marks of findings: the step at which each was found, and, of level info, where it was gone."""
    for one in found:
        finding = one.finding
        level, sign = ("error", "✗") if finding.level == "error" else ("warning", "!")
        code = seen(finding.code)
        says = f"{sign} {code}, step {finding.step}: {seen(finding.message)}"
        yield {"step": _place(finding.step), "level": level, "says": says}
        if one.fate == "gone" and one.until is not None:
            says = f"{code}, found at step {finding.step}, is gone at step {one.until}"
            yield {"step": _place(one.until), "level": "info", "says": says}


def _gaps(gaps: Iterable[Gap]) -> Iterator[dict[str, Any]]:
    for gap in gaps:
        says = f"{gap.count} missing: {seen(gap.reason)}"
        yield {"first": _place(gap.first_step), "last": _place(gap.last_step), "says": says}
