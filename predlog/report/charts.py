"""Curves of a run → a Bokeh document: plots over the same steps, one line per stream or codebook, and marks.

It contains no text of the run: lines, marks and gaps are numbered, and the page itself names them.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from bokeh.document import Document
from bokeh.model import Model
from bokeh.models import (
    BasicTickFormatter,
    BoxZoomTool,
    ColumnDataSource,
    DataRange1d,
    LinearScale,
    NumeralTickFormatter,
    Range1d,
    ResetTool,
    SaveTool,
)
from bokeh.models.annotations import Span
from bokeh.plotting import figure

from predlog.findings.ledger import Found
from predlog.reading.curves import Curve
from predlog.reading.words import lane, seen
from predlog.records.figures import Point
from predlog.records.schema import Gap
from predlog.records.text import HIGHEST
from predlog.report.colors import ordered


class Sign(NamedTuple):
    """A mark at the step where a finding was reported, with its text; level info marks where the finding is gone."""

    step: int
    level: str
    says: str


class Plot(NamedTuple):
    """One of the plots: the column that it draws, its heading, and how its values are written."""

    name: str
    title: str
    says: str
    written: str


PLOTS: Final = (
    Plot("loss", "Loss", "of all supervised tokens of the samples shown, mean, in nats", "nats"),
    Plot("accuracy", "Accuracy", "correct predictions among the supervised tokens", "share"),
    Plot("logprob", "Log-probability", "of the labels shown, mean, in nats", "logprob"),
    Plot("rank", "Rank", "of the labels shown, median; 1 is best", "rank"),
    Plot("entropy", "Entropy", "of the predictions at these tokens, mean, in nats", "nats"),
    Plot("share", "Supervised share", "share of all positions that count in the loss", "share"),
)
# Without a score there are none.
_SCORED: Final = frozenset({"loss", "entropy"})
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', sans-serif"
# With more points than these, their dots would hide the line.
_MOST_DOTS = 60


def plots(curves: Sequence[Curve]) -> list[Plot]:
    """Return the plots of which any curve has a value; those that need no score always."""
    points = [point for curve in curves for point in curve.points]
    known = {name for name in _SCORED if any(getattr(point, name) is not None for point in points)}
    return [plot for plot in PLOTS if plot.name not in _SCORED - known]


def document(curves: Sequence[Curve], signs: Sequence[Sign], gaps: Sequence[Gap]) -> tuple[Any, dict[Any, str]]:
    """Return a Bokeh document as plain values, and for each of its roots the id of the element that shows it."""
    wanted = plots(curves)
    sources = [_source(curve.points, place, wanted) for place, curve in enumerate(curves)]
    steps = DataRange1d(name="steps", range_padding=0.02)
    drawn = [_figure(plot, steps, curves) for plot in wanted]
    every: list[Model] = []
    for one, plot in zip(drawn, wanted, strict=True):
        lines = [_line(one, plot, source, place) for place, source in enumerate(sources)]
        if isinstance(one.y_range, DataRange1d):
            one.y_range.renderers = lines
        every += lines
        _gaps(one, gaps)
        _marks(one, plot, signs)
    steps.renderers = every
    # Added last, because a document searches all of its models at each change.
    whole = Document()
    for one in drawn:
        whole.add_root(one)
    roots = {one.id: f"plot-{one.name}" for one in drawn}
    return whole.to_json(deferred=False), roots


def _source(points: Sequence[Point], place: int, wanted: Sequence[Plot]) -> ColumnDataSource:
    columns = {
        "first": [_place(point.first_step) for point in points],
        "last": [_place(point.last_step) for point in points],
        "step": [(_place(point.first_step) + _place(point.last_step)) / 2 for point in points],
    }
    values = {plot.name: [_number(getattr(point, plot.name)) for point in points] for plot in wanted}
    return ColumnDataSource(columns | values, name=f"points-{place}")


def _place(step: int) -> float:
    return float(min(step, HIGHEST))  # a step may be any whole number


def _number(value: float | None) -> float:
    return math.nan if value is None else round(value, 6)


def _figure(plot: Plot, steps: DataRange1d, curves: Sequence[Curve]) -> figure:
    drawn = figure(
        name=plot.name,
        x_range=steps,
        y_range=_range(plot, curves),
        y_axis_type="log" if plot.name == "rank" else "linear",
        tools=[BoxZoomTool(dimensions="width"), ResetTool(), SaveTool()],  # no wheel tool: the wheel scrolls the page
        toolbar_location="above",
        toolbar_inner=True,
        height=260,
        sizing_mode="stretch_width",
        outline_line_color=None,
        background_fill_color=None,
        border_fill_color=None,
        min_border=4,
    )
    drawn.toolbar.logo = None
    drawn.toolbar.autohide = True
    drawn.toolbar.stylesheets = [":host(.bk-inner) { background-color: transparent; }"]
    drawn.extra_y_ranges = {"marks": Range1d(start=0, end=1)}
    drawn.extra_y_scales = {"marks": LinearScale()}
    drawn.add_layout(Span(name=f"cursor-{plot.name}", dimension="height", line_width=1, visible=False))
    _axes(drawn, plot)
    return drawn


def _range(plot: Plot, curves: Sequence[Curve]) -> DataRange1d | Range1d:
    if plot.name == "share":
        return Range1d(start=0, end=1.04)
    if plot.name == "rank":
        worst = max((point.rank or 1 for curve in curves for point in curve.points), default=1)
        return Range1d(start=0.85, end=max(10.0, 1.3 * worst))
    if plot.name in {"loss", "accuracy", "entropy"}:
        return DataRange1d(start=0, only_visible=True)
    return DataRange1d(end=0, only_visible=True)


def _axes(drawn: figure, plot: Plot) -> None:
    drawn.xaxis.axis_label = "step"
    drawn.xaxis.formatter = BasicTickFormatter(use_scientific=False)
    if plot.written == "share":
        drawn.yaxis.formatter = NumeralTickFormatter(format="0%")
    if plot.name == "rank":
        drawn.yaxis.formatter = NumeralTickFormatter(format="0,0")
    drawn.axis.major_label_text_font = drawn.axis.axis_label_text_font = _FONT
    drawn.axis.major_label_text_font_size = drawn.axis.axis_label_text_font_size = "12px"
    drawn.axis.axis_label_text_font_style = "normal"
    drawn.axis.minor_tick_line_color = None
    drawn.axis.major_tick_in = 0


def _line(drawn: figure, plot: Plot, source: ColumnDataSource, place: int) -> Model:
    line = drawn.line("step", plot.name, source=source, line_width=1.8, line_join="round")
    has_dots = len(source.data["step"]) <= _MOST_DOTS
    dots = drawn.scatter("step", plot.name, source=source, size=4.5 if has_dots else 0)
    line.name, dots.name = f"line-{place}-{plot.name}", f"dots-{place}-{plot.name}"
    return line


def _gaps(drawn: figure, gaps: Sequence[Gap]) -> None:
    strips = {"x0": [_place(gap.first_step) for gap in gaps], "x1": [_place(gap.last_step) for gap in gaps]}
    drawn.vstrip(
        "x0", "x1", source=ColumnDataSource(strips), name=f"gaps-{drawn.name}", fill_alpha=0.25, line_alpha=0.6
    )


def _marks(drawn: figure, plot: Plot, signs: Sequence[Sign]) -> None:
    # Each level has its own shape, so that colour is not needed.
    for level, form in (("error", "inverted_triangle"), ("warning", "diamond"), ("info", "circle")):
        steps = [_place(sign.step) for sign in signs if sign.level == level]
        source = ColumnDataSource({"step": steps, "top": [0.965] * len(steps)})
        rule = drawn.vspan("step", source=source, line_dash="dashed", line_width=1.2, line_alpha=0.75)
        mark = drawn.scatter("step", "top", source=source, marker=form, size=10, y_range_name="marks")
        rule.name, mark.name = f"rule-{level}-{plot.name}", f"mark-{level}-{plot.name}"


# Colours of streams without codebooks, on light and on dark: distant hues, each with a contrast of at least 3.
STREAMS: Final = (
    ("#0b63a5", "#6fb7f2"), ("#b4431a", "#f2996b"), ("#1d7a3c", "#6fd08f"), ("#7a3fb0", "#c6a0f0"),
    ("#8a5f00", "#e3b95c"), ("#b0246f", "#f18fc2"), ("#1b7a80", "#6bcfd4"), ("#5b5f66", "#b4b9c1"),
)  # fmt: skip


def lines(curves: Sequence[Curve]) -> Iterator[dict[str, Any]]:
    """Yield each line's names and colours: a stream has its own hue, its codebooks a scale from dark to light."""
    codebooks = Counter(curve.stream for curve in curves if curve.codebook is not None)
    scales = {stream: iter(ordered(count)) for stream, count in codebooks.items()}
    hues = itertools.cycle(STREAMS)
    for curve in curves:
        stream, title = seen(curve.stream), lane(curve.stream, curve.codebook)
        if curve.codebook is None:
            group, name, (light, dark) = "", title, next(hues)
        else:
            group, name, (light, dark) = f"{stream} codebook", str(curve.codebook), next(scales[curve.stream])
        yield {"group": group, "name": name, "title": title, "light": light, "dark": dark}


def signs(found: Iterable[Found]) -> Iterator[Sign]:
    """Yield the marks of findings: the step at which each was found, and the step at which it was gone."""
    for one in found:
        finding = one.finding
        level, sign = ("error", "✗") if finding.level == "error" else ("warning", "!")
        code = seen(finding.code)
        yield Sign(finding.step, level, f"{sign} {code}, step {finding.step}: {seen(finding.message)}")
        if one.fate == "gone" and one.until is not None:
            yield Sign(one.until, "info", f"{code}, found at step {finding.step}, is gone at step {one.until}")


def strips(gaps: Iterable[Gap]) -> Iterator[dict[str, Any]]:
    """Yield the grey strips of missing comparisons, each with its text."""
    for gap in gaps:
        yield {"first": gap.first_step, "last": gap.last_step, "says": f"{gap.count} missing: {seen(gap.reason)}"}
