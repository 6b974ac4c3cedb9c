"""Figures of a run → the words that all its pictures share."""

import math
from collections.abc import Collection, Iterable

from predlog.sinks.visible import visible


def percent(share: float | None) -> str:
    """Give a share in percent; what is not all or nothing never reads as if it were."""
    if share is None:
        return "-"
    if 0 < share < 0.0005:
        return "<0.1%"
    if 0.9995 <= share < 1:
        return ">99.9%"
    return f"{100 * share:.1f}%"


def nats(logprob: float | None) -> str:
    """Give a log-probability in two decimals, or in as many as tell it from 0."""
    if logprob is None or not math.isfinite(logprob):
        return "-"
    if 0 < abs(logprob) < 0.005:
        return f"{logprob:.1g}"
    return f"{logprob + 0.0:.2f}" if abs(logprob) < 1000 else f"{logprob:.1e}"


def place(rank: float | None) -> str:
    """Give a median rank, whole where it is."""
    if rank is None:
        return "-"
    return f"{rank:.0f}" if rank == int(rank) or rank >= 1000 else f"{rank:.1f}"


def between(values: Iterable[str]) -> str:
    """Give a value that all have, or the least and the most in the order given."""
    known = list(dict.fromkeys(values))
    return known[0] if len(known) == 1 else f"{known[0]} to {known[-1]}"


def listed(numbers: Collection[int]) -> str:
    """Give whole numbers in a few words: 0 to 7, or 0, 2, 5."""
    known = sorted(numbers)
    if len(known) > 2 and known == list(range(known[0], known[-1] + 1)):
        return f"{known[0]} to {known[-1]}"
    more = f" and {len(known) - 8} more" if len(known) > 8 else ""
    return ", ".join(map(str, known[:8])) + more


def moment(timestamp: str | None) -> str:
    """Give a timestamp without what nobody reads: its fraction of a second."""
    return "-" if timestamp is None else visible(timestamp[:19].replace("T", " "), " ")
