"""`predlog check`: what is wrong with a run, what could be checked, and an exit status that says whether it failed."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from predlog.cli.io import look_at_each
from predlog.cli.text import objects
from predlog.cli.text.findings import (
    add_coverage,
    add_damage,
    add_ended,
    add_gaps,
    add_lacks,
    add_left_out,
    add_open,
    add_shared,
    broken_off,
    going_on,
)
from predlog.cli.text.paper import Paper
from predlog.findings.ledger import Found, across_ranks
from predlog.reading.coverage import unchecked
from predlog.reading.damage import Damages
from predlog.reading.runs import latest
from predlog.reading.summary import Attempt, Summary
from predlog.reading.words import counted, seen
from predlog.sinks.terminal.style import ERROR, RIGHT


def run(arguments: argparse.Namespace) -> int:
    """List what is wrong; return 1 if a finding is open, a file is damaged or, with `--ended`, has no end; else 0."""

    def failed(path: str, why: str) -> None:
        if arguments.json:
            sys.stdout.write(objects.dumped({"status": 2, "path": path, "error": why}))

    return look_at_each(arguments.path, partial(_check, arguments), failed, attempt=arguments.attempt)


def _check(arguments: argparse.Namespace, path: str, summary: Summary, damage: Damages) -> int:
    found = across_ranks(summary.findings)
    ignored = [one for one in found if one.finding.code in arguments.ignore]
    others = [one for one in found if one.finding.code not in arguments.ignore]
    opened = [one for one in others if one.is_open]
    ended = [one for one in others if not one.is_open]
    last = latest(summary.attempts, summary.beside)
    unended = [one for one in last if one.end is None]
    broken = [one for one in last if one.error is not None]
    status = 1 if opened or damage or (arguments.ended and (unended or broken)) else 0
    if arguments.json:
        whole = _object(path, summary, (opened, ended, ignored), damage, unended, broken)
        sys.stdout.write(objects.dumped({"status": status, **whole}))
    else:
        is_named = len(arguments.path) > 1
        paper = Paper(seen(path) if is_named else None)
        _draw(paper, summary, (opened, ended), damage)
        add_coverage(paper, summary.coverage)
        add_left_out(paper, summary.left_out)
        wrong = [
            counted(len(opened), "open finding") if opened else "",
            counted(damage.total, "damaged place") if damage else "",
        ]
        notes = [counted(summary.comparisons, "comparison")]
        if left_out := sum(one.is_open for one in ignored):
            notes.append(f"{counted(left_out, 'open finding')} ignored")
        (wrong if arguments.ended else notes).extend([going_on(len(unended), len(last)), broken_off(broken)])
        none = "no open findings in what was checked" if any(unchecked(summary.coverage)) else "no open findings"
        what = f"{', '.join(filter(None, wrong)) or none} ({'; '.join(filter(None, notes))})"
        whose = "" if is_named and not paper.is_screen else f"{seen(path)}: "  # there, each line has the path
        paper.paragraph(f"{whose}{what}", ERROR if any(wrong) else RIGHT)
        paper.write()
    return status


def _object(
    path: str, summary: Summary, found: tuple[Sequence[Found], ...], damage: Damages, unended: Sequence[Attempt],
    broken: Sequence[Attempt],
) -> dict[str, Any]:  # fmt: skip
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
        "partial": [objects.lack(one) for one in summary.lacks],
        "left_out": [objects.left_out(one) for one in summary.left_out],
        "comparisons": summary.comparisons,
        "checked": [objects.coverage(one) for one in summary.coverage],
        "unchecked": [objects.unchecked(one) for one in unchecked(summary.coverage)],
        "unaligned": list(summary.unaligned),
        "unended": [objects.attempt(one) for one in unended],
        "broken_off": [objects.attempt(one) for one in broken],
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
    add_lacks(paper, summary.lacks)
    add_shared(paper, summary.shared)
