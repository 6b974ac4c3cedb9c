"""A row of numbers → a line of characters, each as high as its number."""

import math
from collections.abc import Sequence
from itertools import pairwise

BLOCKS = "▁▂▃▄▅▆▇█"
INK = ".:-=+*%#"
# Sums of so much are still finite.
_HIGHEST = 1e300


def sparkline(values: Sequence[float | None], width: int, levels: str = BLOCKS, *, is_log: bool = False) -> str:
    """Draw numbers from the lowest to the highest, at most `width` of them: of more, neighbours are averaged.

    Where there is no number there is a space, and where there is no room, nothing. A logarithmic scale is for numbers
    above 0.
    """
    if width < 1:
        return ""
    shown = [_scaled(value, is_log=is_log) for value in values]
    if len(shown) > width:
        edges = [place * len(shown) // width for place in range(width + 1)]
        shown = [_mean(shown[start:end]) for start, end in pairwise(edges)]
    known = [value for value in shown if value is not None]
    if not known:
        return ""
    lowest, span = min(known), max(known) - min(known)
    return "".join(" " if value is None else levels[_level(value - lowest, span, len(levels))] for value in shown)


def _scaled(value: float | None, *, is_log: bool) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return math.log(max(value, 1e-9)) if is_log else min(max(value, -_HIGHEST), _HIGHEST)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _level(height: float, span: float, levels: int) -> int:
    # A hair more: 0.6 / 0.8 of eight levels is six, whatever rounding makes of it.
    return min(int(height / span * levels + 1e-9), levels - 1) if span else 0
