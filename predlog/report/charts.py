"""The plots of the page as a Bokeh document without data: the page's own script fills it, and fills it again.

It contains no text and no value of a run, so it is the same for every page.
"""

from functools import cache
from typing import Any, Final, NamedTuple

from bokeh.document import Document
from bokeh.models import (
    BasicTickFormatter,
    BoxZoomTool,
    ColumnDataSource,
    FixedTicker,
    LinearScale,
    NumeralTickFormatter,
    Range1d,
    ResetTool,
    SaveTool,
)
from bokeh.models.annotations import Span
from bokeh.models.glyph import Glyph
from bokeh.models.glyphs import MultiLine, Patches, Scatter, VSpan, VStrip
from bokeh.plotting import figure


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
# 1, 2, 5, 10 and so on: an axis shows those that are in its range.
_RANKS: Final = [digit * 10**power for power in range(7) for digit in (1, 2, 5)]
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', sans-serif"


@cache
def document() -> tuple[Any, dict[Any, str]]:
    """Return a Bokeh document as plain values, and for each of its roots the id of the element that shows it."""
    steps = Range1d(name="steps", start=0, end=1)
    drawn = [_figure(plot, steps) for plot in PLOTS]
    # Added last, because a document searches all of its models at each change.
    whole = Document()
    for one in drawn:
        whole.add_root(one)
    roots = {one.id: f"plot-{one.name}" for one in drawn}
    return whole.to_json(deferred=False), roots


def _figure(plot: Plot, steps: Range1d) -> figure:
    drawn = figure(
        name=plot.name,
        x_range=steps,
        y_range=Range1d(name=f"values-{plot.name}", start=0.5, end=1),
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
    _gaps(drawn)
    _lines(drawn)
    _marks(drawn)
    return drawn


def _axes(drawn: figure, plot: Plot) -> None:
    drawn.xaxis.axis_label = "step"
    drawn.xaxis.formatter = BasicTickFormatter(use_scientific=False)
    if plot.written == "share":
        drawn.yaxis.formatter = NumeralTickFormatter(format="0.[0]%")
    if plot.name == "rank":
        drawn.yaxis.formatter = NumeralTickFormatter(format="0,0")
        drawn.yaxis.ticker = drawn.ygrid.ticker = FixedTicker(ticks=_RANKS)
    drawn.axis.major_label_text_font = drawn.axis.axis_label_text_font = _FONT
    drawn.axis.major_label_text_font_size = drawn.axis.axis_label_text_font_size = "12px"
    drawn.axis.axis_label_text_font_style = "normal"
    drawn.axis.minor_tick_line_color = None
    drawn.axis.major_tick_in = 0


def _empty(*columns: str) -> ColumnDataSource:
    return ColumnDataSource({column: [] for column in columns})


def _draw(drawn: figure, source: ColumnDataSource, glyph: Glyph, name: str, **how: Any) -> None:
    # Nothing is selected or muted, so that no glyph needs the looks that Bokeh would add for it.
    whole = {"selection_glyph": None, "nonselection_glyph": None, "muted_glyph": None}
    drawn.add_glyph(source, glyph, name=f"{name}-{drawn.name}", **whole, **how)


def _gaps(drawn: figure) -> None:
    _draw(drawn, _empty("x0", "x1"), VStrip(x0="x0", x1="x1", fill_alpha=0.25, line_alpha=0.6), "gaps")


def _lines(drawn: figure) -> None:
    """Add what draws all lines of a plot at once: a new line is one more row, and no new model."""
    band = Patches(xs="xs", ys="ys", fill_color="colour", fill_alpha="alpha", line_color=None)
    _draw(drawn, _empty("xs", "ys", "colour", "alpha"), band, "bands")
    for name in ("raw", "lines"):
        line = MultiLine(
            xs="xs", ys="ys", line_color="colour", line_alpha="alpha", line_width="width", line_dash="dash",
            line_join="round",
        )  # fmt: skip
        _draw(drawn, _empty("xs", "ys", "colour", "alpha", "width", "dash"), line, name)
    dot = Scatter(x="x", y="y", size=4.5, fill_color="colour", line_color=None, fill_alpha="alpha")
    _draw(drawn, _empty("x", "y", "colour", "alpha"), dot, "dots")


# Each level has its own shape, so that colour is not needed.
_FORMS: Final = {"error": "inverted_triangle", "warning": "diamond", "info": "circle"}


def _marks(drawn: figure) -> None:
    for level, form in _FORMS.items():
        source = _empty("step", "top")
        rule = VSpan(x="step", line_dash="dashed", line_width=1.2, line_alpha=0.75)
        _draw(drawn, source, rule, f"rule-{level}")
        _draw(drawn, source, Scatter(x="step", y="top", marker=form, size=10), f"mark-{level}", y_range_name="marks")
