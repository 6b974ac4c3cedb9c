"""Findings, gaps, attempts and damage → their lines."""

from collections.abc import Iterable, Sequence

from predlog.cli.text.paper import Paper
from predlog.findings.catalog import CODES
from predlog.findings.ledger import Found
from predlog.reading.coverage import Coverage, unchecked
from predlog.reading.damage import Damages
from predlog.reading.lacks import Lack
from predlog.reading.restarts import EarlierRun
from predlog.reading.runs import Attempt, Start
from predlog.reading.summary import Missing
from predlog.reading.words import counted, lacking, lane, left_out, listed, moment, number, seen, steps
from predlog.reading.writers import Shared
from predlog.records.text import visible
from predlog.sinks.terminal.style import ERROR, NAME, PLAIN, RIGHT, WARNING

# Whoever sees so many damaged lines knows.
MOST_DAMAGE = 20
_MOST_HOSTS = 4
_MOST_SHARED, _MOST_LACKS = 3, 8
# Streams that are named.
_MOST_NAMED = 4


def add_open(paper: Paper, one: Found) -> None:
    """Add a finding that is open: since when, what is wrong, and how to read more about it."""
    finding = one.finding
    is_error = finding.level == "error"
    more = f" More: predlog explain {finding.code}" if finding.code in CODES else ""
    said = f"since step {finding.step}{_whose(one)}: {visible(finding.message, ' ')}{more}"
    if paper.is_screen:
        sign = paper.glyphs.error if is_error else paper.glyphs.warning
        paper.paragraph(f"{sign} {visible(finding.code)} {said}", ERROR if is_error else WARNING)
    else:
        paper.paragraph(f"finding {visible(finding.code)} is open, {visible(finding.level)}, {said}")


def add_ended(paper: Paper, one: Found) -> None:
    """Add a finding that is no longer open, and why."""
    finding = one.finding
    why = {
        "gone": f"gone at step {one.until}",
        "explained": f"explained at step {one.until} by {visible(one.by or '')}",
        "earlier": f"of attempt {finding.attempt}, superseded by a later attempt",
    }.get(one.fate, "")
    said = f"{_about(one)}, found at step {finding.step}{_whose(one)}: {why}"
    if paper.is_screen:
        paper.paragraph(f"{paper.glyphs.right} {visible(finding.code)}, {said}", RIGHT)
    else:
        paper.paragraph(f"finding {visible(finding.code)} is no longer open, {said}")


def add_gaps(paper: Paper, gaps: Iterable[Missing], lost: dict[str, int]) -> None:
    """Add what is not in the file, and what the last lines count."""
    for gap in gaps:
        said = f"{counted(gap.count, 'comparison')} missing, {steps(gap.first_step, gap.last_step)}"
        paper.paragraph(f"{_start(paper, 'gap')}{said}: {visible(gap.reason, ' ')}", WARNING)
    if counts := ", ".join(f"{number} {name}" for name, number in lost.items() if number and name != "refused"):
        paper.paragraph(f"{_start(paper, 'lost')}captured but not recorded, as the last lines count: {counts}", WARNING)
    if lost["refused"]:
        pairs = counted(lost["refused"], "pair")
        paper.paragraph(f"{_start(paper, 'refused')}{pairs} refused: they could not be compared", WARNING)


def add_lacks(paper: Paper, lacks: Iterable[Lack]) -> None:
    """Add which comparisons lack parts that other processes have; beyond the first few, how many."""
    every = [*lacks]
    for one in every[:_MOST_LACKS]:
        what = lacking(one)
        paper.paragraph(f"{_start(paper, 'partial')}{what}: of these, there are no figures", WARNING)
    if more := sum(one.many for one in every[_MOST_LACKS:]):
        paper.paragraph(f"{_start(paper, 'partial')}{counted(more, 'comparison')} more lack parts", WARNING)


def add_shared(paper: Paper, shared: Sequence[Shared]) -> None:
    """Add which recorders wrote to one file at the same time; beyond the first few, how many."""
    for pair in shared[:_MOST_SHARED]:
        one, other = pair.one, pair.other
        numbers = f"attempts {one.attempt} and {other.attempt}"
        whose = f"attempt {one.attempt}" if one.attempt == other.attempt else numbers
        where = f"{whose}, rank {one.rank}, lines {number(pair.first)} to {number(pair.last)}"
        paper.paragraph(
            f"{_start(paper, 'shared')}two recorders wrote to {visible(str(one.file), ' ')} at the same time"
            f" ({where}): the records of both are kept. Give each recorder a folder of its own.",
            WARNING,
        )
    if len(shared) > _MOST_SHARED:
        more = counted(len(shared) - _MOST_SHARED, "pair")
        paper.paragraph(f"{_start(paper, 'shared')}{more} more of recorders wrote to one file", WARNING)


def add_left_out(paper: Paper, runs: Sequence[EarlierRun], name: str = "") -> None:
    """Add in one line which earlier runs are left out; before it the name of what was read, if there are several."""
    if runs:
        paper.paragraph(f"{name}{left_out(runs)}")


def add_coverage(paper: Paper, streams: Sequence[Coverage]) -> None:
    """Add what was checked: in which streams, of how many samples; and what could not be checked, and why."""
    checked = [f"{visible(one.stream, ' ')} ({counted(one.samples, 'sample')})" for one in streams]
    paper.paragraph(f"checked: {_some(checked) or 'nothing, because no comparison is recorded'}", NAME)
    for one in unchecked(streams):
        names = [visible(stream, " ") for stream in one.streams]
        paper.paragraph(f"not checked: {one.what} ({one.why}: {_some(names)})", NAME)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}"


def add_start(paper: Paper, one: Start, *, has_run: bool) -> None:
    """Add an attempt: when and where, of which steps, and how it ended."""
    runs = [run for attempt in one.processes if (run := attempt.start or attempt.end)]
    hosts = list(dict.fromkeys(run.host for run in runs))
    many = f" and {len(hosts) - _MOST_HOSTS} more" if len(hosts) > _MOST_HOSTS else ""
    parts = [
        moment(runs[0].timestamp) if runs else "",
        f"on {', '.join(visible(host, ' ') for host in hosts[:_MOST_HOSTS])}{many}" if hosts else "",
        f"ranks {listed([attempt.rank for attempt in one.processes])}"
        if len(one.processes) > 1
        else f"rank {one.processes[0].rank}",
        f"of {runs[0].world_size}" if runs else "",
        ", ".join(f"{visible(name, ' ')} {visible(version, ' ')}" for name, version in runs[0].versions.items())
        if runs
        else "its first line is missing",
        _compared(one),
    ]
    whose = f" of {visible(one.run or 'no folder', ' ')}" if has_run else ""
    text = f"attempt {one.number}{whose}: {', '.join(filter(None, parts)).replace(', of ', ' of ')}; "
    paper.paragraph(f"{text}{_end(one)}", PLAIN if one.ended else NAME)


def add_damage(paper: Paper, damage: Damages) -> None:
    """Add the lines that are damaged and those that are missing; beyond the first twenty, how many."""
    sign = f"{paper.glyphs.warning} " if paper.is_screen else ""
    for one in damage[:MOST_DAMAGE]:
        where = f"{visible(str(one.file), ' ')} line {one.line}"
        paper.paragraph(f"{sign}damage {where}: {visible(one.reason, ' ')}", WARNING)
    if damage.total > MOST_DAMAGE:
        paper.paragraph(f"{sign}damage: {counted(damage.total - MOST_DAMAGE, 'place')} more", WARNING)


def going_on(unended: int, processes: int) -> str:
    """Return which processes have no last line in their last attempt; nothing where all have."""
    if not unended:
        return ""
    whose = "the last attempt has"
    if processes > 1:
        whose = f"{number(unended)} of {number(processes)} processes {'has' if unended == 1 else 'have'}"
    return f"{whose} no last line: killed, or still running"


def broken_off(attempts: Sequence[Attempt]) -> str:
    """Return which exceptions ended the processes of an attempt; nothing without one."""
    return f"the last attempt ended{_by(attempts)}" if attempts else ""


def _by(attempts: Sequence[Attempt]) -> str:
    errors = list(dict.fromkeys(seen(one.error) for one in attempts if one.error is not None))
    return f" by {', '.join(errors[:_MOST_NAMED])}" if errors else ""


def _start(paper: Paper, name: str) -> str:
    return f"{paper.glyphs.warning} " if paper.is_screen else f"{name}: "


def _about(one: Found) -> str:
    finding = one.finding
    if finding.codebook is None and one.codebooks:
        return f"{lane(finding.stream, None)} codebooks {listed(one.codebooks)}"
    return lane(finding.stream, finding.codebook)


def _whose(one: Found) -> str:
    """Return which attempt and ranks reported it, if not only rank 0 of the first attempt."""
    parts = [
        f"attempt {one.finding.attempt}" if one.finding.attempt > 1 else "",
        f"rank{'s' if len(one.ranks) > 1 else ''} {listed(one.ranks)}" if one.ranks != (0,) else "",
    ]
    said = ", ".join(filter(None, parts))
    return f" ({said})" if said else ""


def _compared(one: Start) -> str:
    """Return what of an attempt counts, and what a later one has done again."""
    if one.steps is not None:
        again = f", {number(one.replaced)} more done again by a later attempt" if one.replaced else ""
        return f"{steps(*one.steps)}, {counted(one.records, 'record')}{again}"
    if one.replaced:
        return f"{counted(one.replaced, 'comparison')}, all done again by a later attempt"
    return "no comparison"


def _end(one: Start) -> str:
    last = max((attempt.timestamp for attempt in one.processes if attempt.timestamp), default=None)
    if not one.ended:
        return "no last line: killed, or still running" + (f"; latest record {moment(last)}" if last else "")
    ended = moment(max(attempt.end.timestamp for attempt in one.processes if attempt.end))
    if one.ended < len(one.processes):
        return f"{one.ended} of {len(one.processes)} ranks ended, the last at {ended}; the others: killed, or running"
    return f"ended {ended}{_by(one.processes)}"
