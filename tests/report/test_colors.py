"""The page's colours: constants that follow a recipe, can be read, and go in even steps.

They are mixed in OKLCh and turned into sRGB with the matrices that Björn Ottosson gives
(https://bottosson.github.io/posts/oklab/).
"""

import math
from itertools import combinations, pairwise

import pytest

from predlog.report import colors
from predlog.report.colors import LEVELS, ordered, shades, stylesheet

Colour = tuple[int, int, int]


def parsed(colour: str) -> Colour:
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue


def between(start: float, end: float, share: float) -> float:
    return start + (end - start) * share


def mixed(lightness: float, chroma: float, hue: float) -> str:
    """Return a colour in OKLCh as CSS writes it, with as much of its chroma as sRGB has."""
    parts = linear(lightness, chroma, hue)
    while chroma > 0 and not all(-0.002 <= part <= 1.002 for part in parts):
        chroma -= 0.002
        parts = linear(lightness, chroma, hue)
    return "#{:02x}{:02x}{:02x}".format(*(round(255 * companded(min(max(part, 0.0), 1.0))) for part in parts))


def linear(lightness: float, chroma: float, hue: float) -> tuple[float, float, float]:
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )


def companded(part: float) -> float:
    return 12.92 * part if part <= 0.0031308 else 1.055 * part ** (1 / 2.4) - 0.055


def expanded(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4


def contrast(one: str | Colour, other: str | Colour) -> float:
    """Return the contrast of two colours, 1 to 21, as WCAG 2.2 defines it."""
    darker, lighter = sorted(luminance(parsed(each) if isinstance(each, str) else each) for each in (one, other))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: Colour) -> float:
    red, green, blue = (expanded(part / 255) for part in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def lightness(colour: str) -> float:
    """Return the lightness of a colour in OKLab, in which equal steps look equal."""
    red, green, blue = (expanded(part / 255) for part in parsed(colour))
    return oklab(red, green, blue)[0]


def oklab(red: float, green: float, blue: float) -> tuple[float, float, float]:
    """Return linear light in OKLab: lightness, green to red, blue to yellow."""
    long = (0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue) ** (1 / 3)
    medium = (0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue) ** (1 / 3)
    short = (0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )


LIGHT = (0.975, 0.012), (0.43, 0.105)
DARK = (0.275, 0.018), (0.86, 0.115)


@pytest.mark.parametrize(("dark", "ends"), [(False, LIGHT), (True, DARK)])
def test_shades_follow_the_recipe(dark: bool, ends: tuple[tuple[float, float], tuple[float, float]]) -> None:
    """Each shade is the mixture of its probability, and its text the one of black and white that is read better."""
    (start, chroma), (end, full) = ends
    for level, shade in enumerate(shades(dark=dark)):
        share = level / (LEVELS - 1)
        assert shade.paper == mixed(between(start, end, share), between(chroma, full, share), 235.0)
        assert shade.ink == max(("#000000", "#ffffff"), key=lambda ink: contrast(ink, shade.paper))


def test_lines_follow_the_recipe() -> None:
    """The scale of lines goes through the hues in even steps, from dark to light and from light to dark."""
    last = len(colors._ORDERED_ON_LIGHT) - 1
    for place, (light, dark) in enumerate(ordered(last + 1)):
        share = place / last
        assert light == mixed(between(0.36, 0.66, share), 0.13, between(290.0, 110.0, share))
        assert dark == mixed(between(0.88, 0.62, share), 0.13, between(95.0, 305.0, share))


@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read_on_every_shade(dark: bool) -> None:
    """Each shade has a text of the contrast that WCAG asks for at level AA, and they go one way, in even steps."""
    every = shades(dark=dark)
    assert len(every) == LEVELS
    assert min(contrast(*shade) for shade in every) >= 4.5
    against = [contrast(shade.paper, (0, 0, 0)) for shade in every]
    assert against == sorted(against, reverse=not dark)
    assert len({shade.paper for shade in every}) == LEVELS
    steps = [abs(lightness(two.paper) - lightness(one.paper)) for one, two in pairwise(every)]
    assert max(steps) - min(steps) < 0.006


def test_that_test_can_fail() -> None:
    """Contrast is that of WCAG: 21 at most, and grey on grey is too little."""
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.01)
    assert contrast((120, 120, 120), (110, 110, 110)) < 1.3
    assert lightness("#ffffff") == pytest.approx(1, abs=1e-6)
    assert lightness(mixed(0.5, 0.05, 235.0)) == pytest.approx(0.5, abs=0.002)


# How those see colours who lack one kind of cones, applied to linear light (Machado, Oliveira and Fernandes, 2009).
SEEN_BY = {
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no long cones": (
        (0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998),
    ),
    "no medium cones": (
        (0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881),
    ),
    "no short cones": (
        (1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900),
    ),
}  # fmt: skip


def seen_by(cones: str, colour: str) -> tuple[float, float, float]:
    """Return the place in OKLab at which somebody sees a colour."""
    light = [expanded(part / 255) for part in parsed(colour)]
    red, green, blue = (
        min(max(sum(share * part for share, part in zip(row, light, strict=True)), 0.0), 1.0) for row in SEEN_BY[cones]
    )
    return oklab(red, green, blue)


@pytest.mark.parametrize("cones", SEEN_BY)
def test_runs_are_told_apart(cones: str) -> None:
    """No two runs look alike, on light or dark, whichever cones somebody lacks; the first two differ most."""
    for dark, paper in ((0, (255, 255, 255)), (1, (0x16, 0x1B, 0x22))):
        colours = [pair[dark] for pair in colors.RUNS]
        assert all(contrast(colour, paper) >= 3 for colour in colours)
        places = [seen_by(cones, colour) for colour in colours]
        apart = [math.dist(one, other) for one, other in combinations(places, 2)]
        assert min(apart) > 0.08
        assert apart[0] > 0.15


def test_that_the_test_of_runs_can_fail() -> None:
    """Red and green of the same lightness look alike without the cones that tell them apart, and black is not white."""
    red, green = mixed(0.6, 0.12, 40), mixed(0.6, 0.12, 110)
    assert math.dist(seen_by("all cones", red), seen_by("all cones", green)) > 0.1
    assert math.dist(seen_by("no medium cones", red), seen_by("no medium cones", green)) < 0.08
    black, white = (seen_by("no long cones", colour) for colour in ("#000000", "#ffffff"))
    assert math.dist(black, white) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("count", [1, 2, 8, 32])
def test_lines_are_seen_on_light_and_dark(count: int) -> None:
    """Each line's colour has a contrast of 3 against what it is drawn on, and no two are the same."""
    lines = ordered(count)
    assert len(set(lines)) == count
    for light, dark in lines:
        assert contrast(light, (255, 255, 255)) >= 3
        assert contrast(dark, (0x16, 0x1B, 0x22)) >= 3


@pytest.mark.parametrize("count", [2, 3, 8, 32, 200])
def test_lines_spread_over_the_whole_scale(count: int) -> None:
    """The first line and the last one have its ends, and the steps between are even, however many there are."""
    scale = list(zip(colors._ORDERED_ON_LIGHT, colors._ORDERED_ON_DARK, strict=True))
    places = [scale.index(one) for one in ordered(count)]
    assert (places[0], places[-1]) == (0, len(scale) - 1)
    steps = {second - first for first, second in pairwise(places)}
    assert max(steps) - min(steps) <= 1


def test_the_stylesheet_has_a_class_a_level() -> None:
    """p0 to p24 are there, each for light and dark."""
    assert stylesheet().count("light-dark(") == 2 * LEVELS + len(colors.RUNS)
    assert all(f".p{level}{{" in stylesheet() for level in range(LEVELS))
