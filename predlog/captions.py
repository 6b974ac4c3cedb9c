"""Curves, findings and gaps → what the page tells of the lines and marks in its plots."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from predlog.curves import Curve
from predlog.records import Gap
from predlog.shades import ordered
from predlog.sinks.visible import visible
from predlog.standing import Found

_SIGNS: Final = {"error": "✗", "warning": "!"}
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


class Sign(NamedTuple):
    """A mark of a finding at a step, and what it tells; of level info where the finding is gone there."""

    step: int
    level: str
    says: str


def signs(found: Iterable[Found]) -> Iterator[Sign]:
    """Yield the marks of findings: where each was found, and where it was gone."""
    for one in found:
        finding = one.finding
        level = "error" if finding.level == "error" else "warning"
        code = visible(finding.code, " ")
        yield Sign(finding.step, level, f"{_SIGNS[level]} {code}, step {finding.step}: {visible(finding.message, ' ')}")
        if one.fate == "gone" and one.until is not None:
            yield Sign(one.until, "info", f"{code}, found at step {finding.step}, is gone at step {one.until}")


def strips(gaps: Iterable[Gap]) -> Iterator[dict[str, Any]]:
    """Yield what a strip tells of the comparisons that are missing there."""
    for gap in gaps:
        says = f"{gap.count} missing: {visible(gap.reason, ' ')}"
        yield {"first": gap.first_step, "last": gap.last_step, "says": says}
