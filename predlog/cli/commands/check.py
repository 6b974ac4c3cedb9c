"""`predlog check`: what is wrong with a run, and an exit status that says whether anything is."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from predlog.cli.io import look
from predlog.cli.text import objects
from predlog.cli.text.findings import add_damage, add_ended, add_gaps, add_open, add_shared, going_on
from predlog.cli.text.paper import Paper
from predlog.findings.ledger import Found, across_ranks
from predlog.reading.damage import Damages
from predlog.reading.runs import latest
from predlog.reading.summary import Attempt, Summary
from predlog.reading.words import counted
from predlog.records.text import visible
from predlog.sinks.terminal.style import ERROR, RIGHT

# Of streams without inputs.
_MOST_NAMED = 4


def run(arguments: argparse.Namespace) -> int:
    """List what is wrong; return 1 if a finding is open, a file is damaged or, with `--ended`, has no end; else 0."""
    summary, damage = look(arguments.path)
    found = across_ranks(summary.findings)
    ignored = [one for one in found if one.finding.code in arguments.ignore]
    others = [one for one in found if one.finding.code not in arguments.ignore]
    opened = [one for one in others if one.is_open]
    ended = [one for one in others if not one.is_open]
    last = latest(summary.attempts, summary.beside)
    unended = [one for one in last if one.end is None]
    status = 1 if opened or damage or (unended and arguments.ended) else 0
    if arguments.json:
        whole = _object(arguments.path, summary, (opened, ended, ignored), damage, unended)
        sys.stdout.write(objects.dumped({"status": status, **whole}))
    else:
        paper = Paper()
        _draw(paper, summary, (opened, ended), damage)
        wrong = [
            counted(len(opened), "open finding") if opened else "",
            counted(damage.total, "damaged place") if damage else "",
        ]
        notes = [counted(summary.comparisons, "comparison"), _unaligned(summary.unaligned)]
        (wrong if arguments.ended else notes).append(going_on(len(unended), len(last)))
        _conclude(paper, arguments.path, wrong, notes)
        paper.write()
    return status


def _object(
    path: str, summary: Summary, found: tuple[Sequence[Found], ...], damage: Damages, unended: Sequence[Attempt]
) -> dict[str, Any]:
    opened, ended, ignored = ([objects.finding(one) for one in ones] for ones in found)
    return {
        "path": path,
        "findings": opened,
        "damage": objects.damages(damage),
        "damaged": damage.total,
        "ended": ended,
        "ignored": ignored,
        "gaps": [objects.gap(one) for one in summary.gaps],
        "lost": summary.lost,
        "comparisons": summary.comparisons,
        "unaligned": list(summary.unaligned),
        "unended": [objects.attempt(one) for one in unended],
        "shared": [objects.shared(one) for one in summary.shared],
    }


def _draw(paper: Paper, summary: Summary, found: tuple[Sequence[Found], ...], damage: Damages) -> None:
    opened, ended = found
    for one in opened:
        add_open(paper, one)
    add_damage(paper, damage)
    for one in ended:
        add_ended(paper, one)
    add_gaps(paper, summary.gaps, summary.lost)
    add_shared(paper, summary.shared)


def _unaligned(streams: Sequence[str]) -> str:
    """Return a note about the streams of which it is not certain how their labels are shifted."""
    if not streams:
        return ""
    names = ", ".join(visible(one, " ") for one in streams[:_MOST_NAMED])
    more = f" and {len(streams) - _MOST_NAMED} more" if len(streams) > _MOST_NAMED else ""
    return f"without inputs, so whether labels are shifted correctly is not certain: {names}{more}"


def _conclude(paper: Paper, path: str, wrong: Sequence[str], notes: Sequence[str]) -> None:
    said = ", ".join(filter(None, wrong))
    what = f"{said or 'nothing is wrong'} ({'; '.join(filter(None, notes))})"
    paper.paragraph(f"{visible(path, ' ')}: {what}", ERROR if said else RIGHT)
