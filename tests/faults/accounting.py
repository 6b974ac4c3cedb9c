"""What `stats()` says of one sink, and what does not add up in it."""

import math
from collections.abc import Mapping
from typing import Any

_FATES = ("written", "filtered", "dropped", "failed", "pending")


def of_sink(stats: Mapping[str, Any], name: str, key: str) -> float:
    """Return one count of one sink, not a number where `stats()` has none, so that it equals nothing."""
    sinks = stats.get("sinks", {})
    return float(sinks[name][key]) if name in sinks else math.nan


def unaccounted(stats: Mapping[str, Any]) -> int:
    """Count the comparisons that were submitted and met none of the fates, or two; all sinks' together."""
    counted = [stats, *stats.get("sinks", {}).values()]
    return sum(abs(one["submitted"] - sum(one[fate] for fate in _FATES)) for one in counted)
