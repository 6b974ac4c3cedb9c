"""The report: a line a row for people, or one JSON document for programs."""

import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson
import torch

from tests.benchmarks.harness import Row
from tests.benchmarks.options import Options

_PACKAGES = ("predlog", "structlog", "orjson", "msgspec", "rich", "numpy", "loguru", "torchmetrics")


def versions() -> dict[str, str | None]:
    """Return the versions of what is measured, null for what is not installed."""
    return {"python": platform.python_version(), "torch": torch.__version__} | {
        name: _version(name) for name in _PACKAGES
    }


def device_name(device: torch.device) -> str:
    """Name the device as its maker does, as far as that is known."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def header(options: Options) -> str:
    """Say where the figures come from, and how to read them."""
    known = ", ".join(f"{name} {number}" for name, number in versions().items() if number)
    on = "" if options.device.type == "cpu" else f"; on {options.device}, {device_name(options.device)}"
    return (
        f"{device_name(torch.device('cpu'))}, {options.threads} thread{'s'[: options.threads > 1]}{on}; {known}\n"
        "medians of interleaved rounds, in brackets their quartiles; the note gives predlog's time, or both\n"
    )


def line(row: Row) -> str:
    """Write a row: title, median and quartiles, target, verdict, note."""
    target = "-"
    if row.at_least is not None:
        target = f"≥ {row.at_least:g}"
    elif row.at_most is not None:
        target = f"≤ {row.at_most:g}"
    spread = f"({row.measured.lower:.3g} to {row.measured.upper:.3g})"
    if row.measured.lower == row.measured.upper:
        spread = ""
    measured = f"{row.measured.median:>9.3g} {row.unit:<4} {spread:<20}"
    return f"{row.title:<94}{measured}{target:>7}  {row.verdict:<14}{row.note}".rstrip()


def document(options: Options, rows: list[Row], unmeasured: dict[str, str]) -> bytes:
    """Write everything as one JSON document; times are in seconds."""
    whole: dict[str, Any] = {
        "versions": versions(),
        "cpu": device_name(torch.device("cpu")),
        "threads": options.threads,
        "device": str(options.device),
        "device_name": device_name(options.device),
        "rows": [{**asdict(row), "verdict": row.verdict or None} for row in rows],
        "unmeasured": unmeasured,
    }
    return orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
