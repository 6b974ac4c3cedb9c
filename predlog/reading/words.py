"""The words that the pictures of a run and its page share; whatever text of a run goes through here is harmless."""

import json
import math
from collections.abc import Collection, Iterable
from typing import Any
from urllib.parse import urlencode

from predlog.records.schema import Finding
from predlog.records.text import visible

# Characters of settings or evidence.
_LONGEST = 20_000


def seen(text: object) -> str:
    """Give any text so that nothing in it is invisible or steers; of a long one, its start."""
    return visible(str(text), " ")


def seen_json(value: Any) -> str:
    """Give a value as indented JSON in ASCII, which hides nothing; of a long one, its start."""
    text = json.dumps(value, indent=2)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"


def number(value: float) -> str:
    """Give a number with its thousands apart."""
    return f"{value:,}"


def counted(count: int, what: str) -> str:
    """Give a count and its noun."""
    return f"{number(count)} {what}{'' if count == 1 else 's'}"


def steps(first: int, last: int) -> str:
    """Name a range of steps."""
    return f"step {first}" if first == last else f"steps {first} to {last}"


def lane(stream: str, codebook: int | None) -> str:
    """Name a stream, and its codebook where it has one."""
    return seen(stream) if codebook is None else f"{seen(stream)} codebook {codebook}"


def subject(finding: Finding) -> str:
    """Name what a finding is about: stream, codebook or codebooks, and the rank where it is not the first."""
    named = lane(finding.stream, finding.codebook)
    if finding.codebook is None and (several := [one for one in finding.codebooks if one is not None]):
        named += f" codebooks {', '.join(map(str, sorted(several)))}"
    return named if finding.rank == 0 else f"{named}, rank {finding.rank}"


def place(stream: str, codebook: int | None, step: int) -> str:
    """Give the link that opens the strip at a step, with all samples and ranks of a stream and codebook."""
    asked = {"stream": seen(stream), "codebook": codebook, "sample": "all", "rank": "all", "step": step}
    return f"#{urlencode({name: value for name, value in asked.items() if value is not None})}"


def nats(logprob: float | None) -> str:
    """Give a log-probability in two decimals, or in as many as tell it from 0."""
    if logprob is None or not math.isfinite(logprob):
        return "-"
    if 0 < abs(logprob) < 0.005:
        return f"{logprob:.1g}"
    return f"{logprob + 0.0:.2f}" if abs(logprob) < 1000 else f"{logprob:.1e}"


def rank(rank: float | None) -> str:
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
