"""Curves, findings and gaps → what the page tells of the lines and marks in its plots."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from predlog.records import Finding, Gap
from predlog.shades import ordered
from predlog.sinks.visible import visible
from predlog.summary import Curve

_SIGNS: Final = {"error": "✗", "warning": "!", "info": "gone:"}
# Of streams without codebooks, on light and on dark: hues far apart, each with a contrast of 3 and more.
STREAMS: Final = (
    ("#0b63a5", "#6fb7f2"), ("#b4431a", "#f2996b"), ("#1d7a3c", "#6fd08f"), ("#7a3fb0", "#c6a0f0"),
    ("#8a5f00", "#e3b95c"), ("#b0246f", "#f18fc2"), ("#1b7a80", "#6bcfd4"), ("#5b5f66", "#b4b9c1"),
)  # fmt: skip


def lines(curves: Sequence[Curve]) -> Iterator[dict[str, Any]]:
    """Yield each line's names and colours: a stream has a hue of its own, its codebooks a scale from dark to light."""
    codebooks = Counter(curve.stream for curve in curves if curve.codebook is not None)
    streams = list(dict.fromkeys(curve.stream for curve in curves if curve.codebook is None))
    scales = {stream: iter(ordered(count)) for stream, count in codebooks.items()}
    for curve in curves:
        name = visible(curve.stream, " ")
        if curve.codebook is None:
            light, dark = STREAMS[streams.index(curve.stream) % len(STREAMS)]
            yield {"group": "", "name": name, "title": name, "light": light, "dark": dark}
        else:
            light, dark = next(scales[curve.stream])
            title = f"{name} codebook {curve.codebook}"
            yield {
                "group": f"{name} codebook",
                "name": str(curve.codebook),
                "title": title,
                "light": light,
                "dark": dark,
            }


def mark(finding: Finding) -> dict[str, Any]:
    """Give what a mark tells of its finding."""
    return {
        "step": finding.step,
        "sign": _SIGNS.get(finding.level, "!"),
        "code": visible(finding.code, " "),
        "message": visible(finding.message, " "),
    }


def gap(gap: Gap) -> dict[str, Any]:
    """Give what a strip tells of the comparisons that are missing there."""
    says = f"{gap.count} comparisons missing: {visible(gap.reason, ' ')}"
    return {"first": gap.first_step, "last": gap.last_step, "says": says}
