"""`predlog summary`: how a run went."""

import argparse
import sys
from typing import Any

from predlog.cli.io import look_at_each
from predlog.cli.text import objects
from predlog.cli.text.curves import add_curves
from predlog.cli.text.findings import add_damage, add_ended, add_gaps, add_lacks, add_left_out, add_open, add_start
from predlog.cli.text.paper import Paper
from predlog.findings.ledger import across_ranks
from predlog.reading.damage import Damages
from predlog.reading.runs import starts
from predlog.reading.summary import Summary
from predlog.reading.words import seen
from predlog.records.text import visible
from predlog.sinks.terminal.style import RIGHT, WARNING


def run(arguments: argparse.Namespace) -> int:
    """Print the summary of each run."""

    def show(path: str, summary: Summary, damage: Damages) -> int:
        if arguments.json:
            sys.stdout.write(objects.dumped(_object(path, summary, damage)))
        else:
            paper = Paper(seen(path) if len(arguments.path) > 1 else None)
            if arguments.attempt == "all" and (many := len(starts(summary.attempts))) > 1:
                joined = f"all {many} attempts are summarized as one, also where one begins anew: --attempt N shows one"
                paper.paragraph(joined, WARNING)
            _draw(paper, summary, damage)
            paper.write()
        return 0

    def failed(path: str, why: str) -> None:
        if arguments.json:
            sys.stdout.write(objects.dumped({"path": path, "error": why}))

    return look_at_each(arguments.path, show, failed, attempt=arguments.attempt)


def _object(path: str, summary: Summary, damage: Damages) -> dict[str, Any]:
    return {
        "path": path,
        "ranks": summary.ranks,
        "comparisons": summary.comparisons,
        "streams": [objects.stream(curve) for curve in summary.curves.values()],
        "findings": [objects.finding(one) for one in across_ranks(summary.findings)],
        "gaps": [objects.gap(one) for one in summary.gaps],
        "lost": summary.lost,
        "partial": [objects.lack(one) for one in summary.lacks],
        "left_out": [objects.left_out(one) for one in summary.left_out],
        "attempts": [objects.attempt(one) for one in summary.attempts],
        "damage": objects.damages(damage),
        "damaged": damage.total,
    }


def _draw(paper: Paper, summary: Summary, damage: Damages) -> None:
    runs = list(dict.fromkeys(visible(one.run or "no folder", " ") for one in summary.attempts))
    if len(runs) > 1:
        paper.paragraph(f"{len(runs)} runs, summarized as one: {', '.join(runs)}", WARNING)
    add_left_out(paper, summary.left_out)
    if not summary.curves:
        paper.line("nothing has been compared")
    add_curves(paper, list(summary.curves.values()))
    paper.heading("findings")
    found = across_ranks(summary.findings)
    for one in found:
        (add_open if one.is_open else add_ended)(paper, one)
    if not found:
        paper.line(("no findings", RIGHT))
    if summary.gaps or summary.lacks or any(summary.lost.values()):
        paper.heading("missing")
        add_gaps(paper, summary.gaps, summary.lost)
        add_lacks(paper, summary.lacks)
    if damage:
        paper.heading("damage")
        add_damage(paper, damage)
    paper.heading("attempts")
    for start in starts(summary.attempts):
        add_start(paper, start, has_run=len(runs) > 1)
