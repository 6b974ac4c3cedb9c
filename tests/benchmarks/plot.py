"""A plot of a few lines on logarithmic axes, as SVG."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 50, 60
_COLOURS = ("#0b6e99", "#c2410c", "#4d7c0f")


class Line(NamedTuple):
    """A name, and points (x, y), both above zero."""

    name: str
    points: Sequence[tuple[float, float]]


class _Axis(NamedTuple):
    """Places values between two powers of a base along a stretch of the picture."""

    base: int
    first: int
    last: int
    begin: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], base: int, begin: float, end: float) -> "_Axis":
        first = math.floor(math.log(min(values), base) + 1e-9)
        return cls(base, first, max(math.ceil(math.log(max(values), base) - 1e-9), first + 1), begin, end)

    def place(self, value: float) -> float:
        share = (math.log(value, self.base) - self.first) / (self.last - self.first)
        return round(self.begin + share * (self.end - self.begin), 1)

    @property
    def ticks(self) -> list[int | float]:
        return [self.base**power for power in range(self.first, self.last + 1)]


def plotted(title: str, x_name: str, y_name: str, lines: Sequence[Line]) -> str:
    """Draw the lines, x in powers of two and y in powers of ten, each line named in the corner."""
    points = [point for line in lines for point in line.points]
    across = _Axis.over([x for x, _ in points], 2, _LEFT, _WIDTH - _RIGHT)
    up = _Axis.over([y for _, y in points], 10, _HEIGHT - _BOTTOM, _TOP)
    drawn = [*_frame(title, x_name, y_name), *_grid(across, up)]
    for number, line in enumerate(lines):
        drawn += _drawn(line, across, up, number)
    size = f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *drawn, "</svg>\n"])


def _frame(title: str, x_name: str, y_name: str) -> Iterator[str]:
    middle = (_HEIGHT - _BOTTOM + _TOP) / 2
    yield _text(_LEFT, 25, title, "start", 'font-weight="bold"')
    yield _text((_WIDTH + _LEFT - _RIGHT) / 2, _HEIGHT - 15, x_name)
    yield _text(18, middle, y_name, "middle", f'transform="rotate(-90 18 {middle})"')


def _grid(across: _Axis, up: _Axis) -> Iterator[str]:
    for value in across.ticks:
        yield _stroke([(across.place(value), up.begin), (across.place(value), up.end)], "#ddd")
        yield _text(across.place(value), up.begin + 18, f"{value:g}")
    for value in up.ticks:
        yield _stroke([(across.begin, up.place(value)), (across.end, up.place(value))], "#ddd")
        yield _text(_LEFT - 8, up.place(value) + 4, f"{value:g}", "end")


def _drawn(line: Line, across: _Axis, up: _Axis, number: int) -> Iterator[str]:
    colour = _COLOURS[number % len(_COLOURS)]
    places = [(across.place(x), up.place(y)) for x, y in line.points]
    yield _stroke(places, colour, 2)
    for x, y in places:
        yield f'<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}"/>'
    yield _text(_LEFT + 12, _TOP + 18 + 18 * number, line.name, "start", f'fill="{colour}"')


def _stroke(places: Sequence[tuple[float, float]], colour: str, width: int = 1) -> str:
    points = " ".join(f"{x},{y}" for x, y in places)
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _text(x: float, y: float, text: str, anchor: str = "middle", more: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{more and f" {more}"}>{escape(text)}</text>'
