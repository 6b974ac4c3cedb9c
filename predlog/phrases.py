"""The words that the pictures of a run and its page share; whatever text of a run goes through here is harmless."""

import json
from typing import Any
from urllib.parse import urlencode

from predlog.records import Finding
from predlog.sinks.visible import visible

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
