"""`predlog list`: the runs in a folder, one row each."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from operator import attrgetter
from pathlib import Path

from predlog.cli import say
from predlog.cli.bar import Bar
from predlog.cli.text import objects
from predlog.cli.text.listing import add_runs
from predlog.cli.text.paper import Paper
from predlog.errors import NoRecordsError
from predlog.reading.listing import Listed, listed
from predlog.reading.words import counted

# Where nothing is named, the folder in which most training scripts keep their runs.
_USUAL = Path("runs")
# Runs that are named of those with the same problem.
_NAMED = 3


def run(arguments: argparse.Namespace) -> int:
    """Print a row per run, the newest first; return 1 if one of them can't be read, else 0."""
    folders = [Path(path) for path in arguments.path] or [_USUAL if _USUAL.is_dir() else Path()]
    with Bar(unit="runs") as bar:
        found, missing = _found(folders, bar)
    problems = [one for one in found if one.problem is not None]
    if arguments.json:
        sys.stdout.writelines(objects.dumped(objects.run(one)) for one in found)
    else:
        paper = Paper()
        add_runs(paper, [one for one in found if one.problem is None], folders[0] if len(folders) == 1 else None)
        paper.write()
    sys.stdout.flush()  # what can't be read comes after what can
    for line in (*missing, *_said(problems)):
        say(line)
    if not found and not missing:
        where = " or ".join(map(str, folders))
        raise NoRecordsError(f"{where} holds no run: there is no predictions*.jsonl in it, or in a folder below it")
    return 1 if problems or missing else 0


def _found(folders: Sequence[Path], bar: Bar) -> tuple[list[Listed], list[str]]:
    """Return the runs of all folders, each once, and what is reported of folders that are none."""
    found: dict[Path, Listed] = {}
    missing = []
    for folder in folders:
        try:
            for one in listed(folder, lambda _: bar.told(1)):
                found.setdefault(one.path, one)
        except NoRecordsError as error:
            if len(folders) == 1:
                raise
            missing.append(str(error))
    return sorted(found.values(), key=attrgetter("at"), reverse=True), missing


def _said(problems: Iterable[Listed]) -> list[str]:
    """Return one line for each problem, and which runs have it."""
    groups: dict[str, list[str]] = {}
    for one in problems:
        groups.setdefault(one.problem or "", []).append(str(one.path))
    return [
        f"not read: {', '.join(paths[:_NAMED])}{_more(len(paths) - _NAMED)}: {problem}"
        for problem, paths in groups.items()
    ]


def _more(count: int) -> str:
    return f" and {counted(count, 'run')} more" if count > 0 else ""
