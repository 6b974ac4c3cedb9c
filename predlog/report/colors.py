"""The colours of the page: the shade of a cell by its probability, and the colours of lines that have an order.

They are constants, mixed in OKLCh, where equal steps look equal; tests/report/test_colors.py has the recipe.
"""

from typing import Final, NamedTuple

# One hue, from close to the page's background to as strong as is still easy to read.
_LIGHT: Final = (
    "#eff8fe", "#e6f1f9", "#dceaf3", "#d2e3ee", "#c8dce9", "#bfd5e3", "#b5cede", "#abc8d9", "#a2c1d4",
    "#98bace", "#8fb3c9", "#85acc4", "#7ca6bf", "#729fba", "#6998b4", "#5f92af", "#558baa", "#4b84a5",
    "#417ea0", "#37779a", "#2b7195", "#1e6a90", "#0b648b", "#005d84", "#00577b",
)  # fmt: skip
_DARK: Final = (
    "#1f292f", "#233037", "#27363f", "#2b3d48", "#2e4450", "#324a59", "#365161", "#3a586a", "#3e6073",
    "#42677c", "#466e86", "#4a768f", "#4e7d98", "#5285a2", "#568cac", "#5a94b5", "#5e9cbf", "#63a4c9",
    "#67acd3", "#6bb4de", "#6fbce8", "#73c4f2", "#78cdfd", "#8ad4fe", "#9cdaff",
)  # fmt: skip
LEVELS: Final = len(_LIGHT)
# From these levels on, the text has the other colour: on every shade, either black or white is readable.
_WHITE_ON_LIGHT, _BLACK_ON_DARK = 19, 12
_BLACK, _WHITE = "#000000", "#ffffff"
# From dark to light on a light page, and from light to dark on a dark one; the hue changes with the lightness.
_ORDERED_ON_LIGHT: Final = (
    "#3f2b7b", "#3d2d7e", "#3b3080", "#383383", "#353685", "#323887", "#2f3b89", "#2b3e8b", "#26418d", "#21448e",
    "#1b478f", "#124990", "#054c91", "#004f90", "#00528c", "#00558a", "#005887", "#005a86", "#005c84", "#005f83",
    "#006181", "#006380", "#006580", "#00677f", "#01697e", "#006b7d", "#006d7d", "#006f7c", "#00717b", "#00737a",
    "#00757a", "#007779", "#007978", "#027b77", "#017d76", "#017f74", "#008173", "#008371", "#00856f", "#03876d",
    "#00896a", "#008b67", "#008d64", "#008f5f", "#15915c", "#269258", "#329355", "#3c9452", "#45944e", "#4e954b",
    "#559647", "#5d9644", "#649740", "#6b973d", "#729739", "#799836", "#7f9833", "#859830", "#8c982d", "#92982a",
    "#979828",
)  # fmt: skip
_ORDERED_ON_DARK: Final = (
    "#f2d76c", "#ecd76c", "#e6d86c", "#dfd86d", "#d8d96e", "#d2d970", "#cbda72", "#c4da74", "#bcda77", "#b5da7a",
    "#adda7e", "#a6da81", "#9eda85", "#96da89", "#8eda8d", "#86d991", "#7ed995", "#75d89a", "#6dd89e", "#64d7a2",
    "#5bd6a7", "#52d5ab", "#49d4af", "#40d2b3", "#36d1b8", "#2bcfbc", "#20cec0", "#12ccc4", "#00cac7", "#05c8ca",
    "#00c6ce", "#0bc3d0", "#0bc1d3", "#00bfd7", "#07bcd9", "#04badd", "#14b7df", "#20b5e1", "#29b2e3", "#32afe4",
    "#3aace5", "#41a9e6", "#48a6e7", "#4ea3e8", "#55a0e8", "#5b9de8", "#609ae7", "#6697e7", "#6b94e6", "#7091e4",
    "#748ee3", "#798be1", "#7d88df", "#8185dc", "#8581da", "#897ed7", "#8c7cd4", "#9079d0", "#9376cd", "#9673c9",
    "#9970c4",
)  # fmt: skip
# Colours of streams, on light and on dark: distant hues, each with a contrast of at least 3.
STREAMS: Final = (
    ("#0b63a5", "#6fb7f2"), ("#b4431a", "#f2996b"), ("#1d7a3c", "#6fd08f"), ("#7a3fb0", "#c6a0f0"),
    ("#8a5f00", "#e3b95c"), ("#b0246f", "#f18fc2"), ("#1b7a80", "#6bcfd4"), ("#5b5f66", "#b4b9c1"),
)  # fmt: skip
# Colours of runs: they differ in lightness as well as in hue, so that they can be told apart without red or green, too.
RUNS: Final = (
    ("#1f77c4", "#6fb7f2"), ("#d1590a", "#f2996b"), ("#115400", "#9af7d7"), ("#aa3262", "#c74c3d"),
    ("#2c33d7", "#9445ef"), ("#ba6f87", "#a25089"), ("#44059b", "#8085c8"), ("#661752", "#ca7b87"),
)  # fmt: skip


class Shade(NamedTuple):
    """The colour of a background, and of the text on it."""

    paper: str
    ink: str


def shades(*, dark: bool) -> list[Shade]:
    """Return the shades of the probabilities from 0 to 1, in `LEVELS` even steps."""
    if dark:
        return [Shade(paper, _BLACK if level >= _BLACK_ON_DARK else _WHITE) for level, paper in enumerate(_DARK)]
    return [Shade(paper, _WHITE if level >= _WHITE_ON_LIGHT else _BLACK) for level, paper in enumerate(_LIGHT)]


def ordered(count: int) -> list[tuple[str, str]]:
    """Return `count` colours, each on light and on dark, for lines that have an order: it is shown by lightness."""
    scale = list(zip(_ORDERED_ON_LIGHT, _ORDERED_ON_DARK, strict=True))
    return [scale[round((len(scale) - 1) * line / max(count - 1, 1))] for line in range(count)]


def stylesheet() -> str:
    """Return the CSS of the classes p0 to p24, the shades, and run0 to run7, the colours of runs."""
    shaded = [
        f".p{level}{{background:light-dark({light.paper},{dark.paper});color:light-dark({light.ink},{dark.ink})}}"
        for level, (light, dark) in enumerate(zip(shades(dark=False), shades(dark=True), strict=True))
    ]
    of_runs = [f".run{place}{{--colour:light-dark({light},{dark})}}" for place, (light, dark) in enumerate(RUNS)]
    return "\n".join([*shaded, *of_runs])
