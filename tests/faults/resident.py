"""How much memory a process holds, by the kernel's account, and whether it grows."""

import ctypes
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import linear_regression

_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def trim() -> None:
    """Let the C library give back what it holds and nobody uses, where it can."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def slope(times: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Return the slope of the line of least squares, and its standard error."""
    steepness, start = linear_regression(times, values)
    middle = sum(times) / len(times)
    left = sum((value - start - steepness * at) ** 2 for at, value in zip(times, values, strict=True))
    spread = sum((at - middle) ** 2 for at in times)
    return steepness, math.sqrt(left / (len(times) - 2) / spread)
