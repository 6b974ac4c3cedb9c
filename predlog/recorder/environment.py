"""What the environment says: whether predlog is off, and the arguments of the default recorder."""

import os
import re
from typing import Any

from predlog._runtime.notices import Notices
from predlog.sinks.console import FORMS


def is_disabled() -> bool:
    """Return whether PREDLOG_DISABLE switches predlog off."""
    return _flag("PREDLOG_DISABLE", otherwise=False)


def from_environment(notices: Notices) -> dict[str, Any]:
    """Return a recorder's arguments from the environment, such as PREDLOG_DIR; report invalid values."""
    form = os.environ.get("PREDLOG_CONSOLE", "").strip().lower()
    arguments: dict[str, Any] = {"console": form if form in FORMS else _flag("PREDLOG_CONSOLE", otherwise=True)}
    if directory := os.environ.get("PREDLOG_DIR"):
        arguments["directory"] = directory
    if every := os.environ.get("PREDLOG_EVERY"):
        if every.isdecimal() and len(every) < 19 and int(every):
            arguments["every"] = int(every)
        else:
            notices.report("environment", f"PREDLOG_EVERY={every[:40]!r} is not a positive number, so it is ignored")
    if window := os.environ.get("PREDLOG_TEXT_WINDOW"):
        if window.isdecimal() and len(window) < 19:
            arguments["text_window"] = int(window)
        elif not _flag("PREDLOG_TEXT_WINDOW", otherwise=True):
            arguments["text_window"] = 0
        else:
            problem = f"PREDLOG_TEXT_WINDOW={window[:40]!r} is no number of characters, so it is ignored"
            notices.report("environment of the window", problem)
    if samples := os.environ.get("PREDLOG_SAMPLES", "").strip():
        if found := _samples(samples):
            arguments["samples"] = found
        else:
            what = f"PREDLOG_SAMPLES={samples[:40]!r} is neither a positive number nor places such as 0,-1"
            notices.report("environment: samples", f"{what}, so it is ignored")
    if follow := os.environ.get("PREDLOG_FOLLOW"):
        arguments["follow"] = tuple(one.strip() for one in follow.split(",") if one.strip())
    return arguments


def _samples(text: str) -> int | tuple[int, ...] | None:
    """Return a number of samples, or places that are separated by commas; None for anything else."""
    listed = [one.strip() for one in text.split(",") if one.strip()]
    if not listed or not all(re.fullmatch("-?[0-9]{1,9}", one) for one in listed):
        return None
    return tuple(map(int, listed)) if "," in text else max(int(text), 0) or None


def _flag(name: str, *, otherwise: bool) -> bool:
    value = os.environ.get(name, "").strip().lower()
    return otherwise if not value else value not in {"0", "false", "no", "off"}
