"""Wording that the terminal and the page share; a text of the run that passes through here is harmless."""

import json
import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any
from urllib.parse import urlencode

from predlog.reading.lacks import Lack
from predlog.reading.restarts import EarlierRun
from predlog.records.schema import Finding
from predlog.records.text import visible

# Characters of settings or evidence.
_LONGEST = 20_000
# Earlier runs that are named.
_MOST_RUNS = 4


def seen(text: object) -> str:
    """Return any text with every character visible and harmless; of a long one, its start."""
    return visible(str(text), " ")


def seen_json(value: Any) -> str:
    """Return a value as indented JSON in ASCII, which hides nothing; of a long one, its start."""
    text = json.dumps(value, indent=2)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"


def number(value: float) -> str:
    """Return a number with thousands separators."""
    return f"{value:,}"


def counted(count: int, what: str) -> str:
    """Return a count and its noun, in the plural if it is not one."""
    return f"{number(count)} {what}{'' if count == 1 else 's'}"


def steps(first: int, last: int) -> str:
    """Return the name of a range of steps."""
    return f"step {first}" if first == last else f"steps {first} to {last}"


def lane(stream: str, codebook: int | None) -> str:
    """Return the name of a stream, and of its codebook if it has one."""
    return seen(stream) if codebook is None else f"{seen(stream)} codebook {codebook}"


def subject(finding: Finding) -> str:
    """Return what a finding is about: stream, codebook or codebooks, and the rank if it is not 0."""
    named = lane(finding.stream, finding.codebook)
    if finding.codebook is None and (several := [one for one in finding.codebooks if one is not None]):
        named += f" codebooks {', '.join(map(str, sorted(several)))}"
    return named if finding.rank == 0 else f"{named}, rank {finding.rank}"


def place(stream: str, codebook: int | None, step: int) -> str:
    """Return the link that opens the strip at a step, with all samples and ranks of a stream and codebook."""
    asked = {"stream": seen(stream), "codebook": codebook, "sample": "all", "rank": "all", "step": step}
    return f"#{urlencode({name: value for name, value in asked.items() if value is not None})}"


def nats(logprob: float | None) -> str:
    """Return a log-probability in two decimals, or in as many as show that it is not 0."""
    if logprob is None or not math.isfinite(logprob):
        return "-"
    if 0 < abs(logprob) < 0.005:
        return f"{logprob:.1g}"
    return f"{logprob + 0.0:.2f}" if abs(logprob) < 1000 else f"{logprob:.1e}"


def rank(rank: float | None) -> str:
    """Return a median rank, with a decimal only if it is not whole."""
    if rank is None:
        return "-"
    return f"{rank:.0f}" if rank == int(rank) or rank >= 1000 else f"{rank:.1f}"


def between(values: Iterable[str]) -> str:
    """Return the one value that all have, or the first and the last."""
    known = list(dict.fromkeys(values))
    return known[0] if len(known) == 1 else f"{known[0]} to {known[-1]}"


def listed(numbers: Collection[int]) -> str:
    """Return whole numbers in short form: 0 to 7, or 0, 2, 5."""
    known = sorted({*numbers})
    if len(known) > 2 and known[-1] - known[0] == len(known) - 1:
        return f"{known[0]} to {known[-1]}"
    more = f" and {len(known) - 8} more" if len(known) > 8 else ""
    return ", ".join(map(str, known[:8])) + more


def moment(timestamp: str | None) -> str:
    """Return a timestamp without its fraction of a second."""
    return "-" if timestamp is None else visible(timestamp[:19].replace("T", " "), " ")


def attempts_named(numbers: Collection[int | None]) -> str:
    """Return the name of attempts: attempt 1, or attempts 1 to 3."""
    known = {one for one in numbers if one is not None}
    both = " and ".join(map(str, sorted(known)))
    return f"attempt {both}" if len(known) == 1 else f"attempts {both if len(known) == 2 else listed(known)}"


def lacking(lack: Lack) -> str:
    """Return which comparisons lack which parts: those of ranks, or else of ids, or of positions."""
    many, lacks = counted(lack.many, "comparison"), "lacks" if lack.many == 1 else "lack"
    where = steps(lack.first_step, lack.last_step)
    if lack.ranks:
        return f"{many} {lacks} parts of rank{'s' if len(lack.ranks) > 1 else ''} {listed(lack.ranks)} ({where})"
    if not lack.ids:
        has = "has" if lack.many == 1 else "have"
        return f"{many} {has} parts of several samples: pass group= or sample_ids=, which tell them apart ({where})"
    what = "positions" if lack.lacks_rows else "ids"
    ids = ", ".join(f"{first} to {last}" for first, last in lack.ids[:_MOST_RUNS])
    more = f" and {len(lack.ids) - _MOST_RUNS} more ranges" if len(lack.ids) > _MOST_RUNS else ""
    return f"{many} {lacks} parts: no file has those of the {what} {ids}{more} ({where})"


def left_out(runs: Sequence[EarlierRun]) -> str:
    """Return in one line which earlier runs are left out, and how to see them; nothing if there are none."""
    if not runs:
        return ""
    folders = dict.fromkeys(run.folder for run in runs)
    where = "" if None in folders else " in this folder" if len(folders) == 1 else f" in {len(folders)} folders"
    many = "an earlier run" if len(runs) == 1 else f"{number(len(runs))} earlier runs"
    named = [_earlier(run, has_folder=len(folders) > 1) for run in runs[-_MOST_RUNS:]]
    more = f"{number(len(runs) - _MOST_RUNS)} more; " if len(runs) > _MOST_RUNS else ""
    last = runs[-1]
    is_one = len(runs) == len(last.attempts) == 1
    shows = f"--attempt {last.attempts[-1]} shows {'it' if is_one else 'the last of these attempts'}, "
    how = f"{shows if last.is_numbered else ''}--attempt all {'' if last.is_numbered else 'shows '}everything"
    return f"{many}{where} {'is' if len(runs) == 1 else 'are'} left out: {more}{'; '.join(named)}; {how}"


def _earlier(run: EarlierRun, *, has_folder: bool) -> str:
    folder = f" of {seen(run.folder.name)}" if has_folder and run.folder else ""
    return f"{attempts_named(run.attempts)}{folder}, {steps(*run.steps) if run.steps else 'no comparison'}"
