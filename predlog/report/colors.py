"""A probability → how its cell is painted: one hue, even steps of lightness, and text that can be read on each.

Colours are mixed in OKLCh, where equal steps look equal, and turned into sRGB with the matrices that Björn Ottosson
gives (https://bottosson.github.io/posts/oklab/).
"""

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

LEVELS: Final = 25
# From a little beside the page's background to the far end of what is easy on the eye.
_HUE = 235.0
_LIGHT = (0.975, 0.012), (0.43, 0.105)
_DARK = (0.275, 0.018), (0.86, 0.115)
Colour = tuple[int, int, int]
_BLACK: Final[Colour] = (0, 0, 0)
_WHITE: Final[Colour] = (255, 255, 255)


class Shade(NamedTuple):
    """A background, and the text on it."""

    paper: Colour
    ink: Colour


def shades(*, dark: bool) -> list[Shade]:
    """Give what probability 0 to 1 looks like, in `LEVELS` even steps."""
    start, end = _DARK if dark else _LIGHT
    return [_shade(step / (LEVELS - 1), start, end) for step in range(LEVELS)]


def ordered(count: int) -> list[tuple[str, str]]:
    """Give colours, on light and on dark, for so many lines that have an order: by lightness, from first to last."""
    return [
        (
            written(colour(_between(0.36, 0.66, share), 0.13, _between(290.0, 110.0, share))),
            written(colour(_between(0.88, 0.62, share), 0.13, _between(95.0, 305.0, share))),
        )
        for share in (place / max(count - 1, 1) for place in range(count))
    ]


def stylesheet() -> str:
    """Give the CSS of the classes p0 to p24."""
    return "\n".join(_rules())


def contrast(one: Colour, other: Colour) -> float:
    """Give the contrast of two colours, 1 to 21, as WCAG 2.2 defines it."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def colour(lightness: float, chroma: float, hue: float) -> Colour:
    """Give the sRGB of a colour in OKLCh, with as much of its chroma as there is."""
    parts = _linear(lightness, chroma, hue)
    while chroma > 0 and not all(-0.002 <= part <= 1.002 for part in parts):
        chroma -= 0.002
        parts = _linear(lightness, chroma, hue)
    red, green, blue = (round(255 * _companded(min(max(part, 0.0), 1.0))) for part in parts)
    return red, green, blue


def written(colour: Colour) -> str:
    """Give a colour as CSS writes it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _rules() -> Iterator[str]:
    for level, (light, dark) in enumerate(zip(shades(dark=False), shades(dark=True), strict=True)):
        yield (
            f".p{level}{{background:light-dark({written(light.paper)},{written(dark.paper)});"
            f"color:light-dark({written(light.ink)},{written(dark.ink)})}}"
        )


def _shade(share: float, start: tuple[float, float], end: tuple[float, float]) -> Shade:
    paper = colour(_between(start[0], end[0], share), _between(start[1], end[1], share), _HUE)
    # Pure black and white: between them, one can be read on any colour.
    return Shade(paper, max((_BLACK, _WHITE), key=lambda ink: contrast(ink, paper)))


def _between(start: float, end: float, share: float) -> float:
    return start + (end - start) * share


def _linear(lightness: float, chroma: float, hue: float) -> tuple[float, float, float]:
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )


def _companded(part: float) -> float:
    return 12.92 * part if part <= 0.0031308 else 1.055 * part ** (1 / 2.4) - 0.055


def _luminance(colour: Colour) -> float:
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (one / 255 for one in colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
