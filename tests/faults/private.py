"""What a run's files may reveal: no more to others than their source does, no formula, and nothing that is redacted.

The rule: a report or an export is at most as open as each of its sources and as the file that it replaces; with
`--safe-csv` no cell is a formula; and of what `Redact` is to hide nothing is in a file, at any depth.
"""

import csv
import io
import itertools
import json
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from structlog.typing import EventDict, Processor

from predlog import Recorder
from predlog.cli import main
from predlog.processors import Redact
from predlog.records import codec
from tests import events
from tests.faults.experiment import Figure, Size, at_least, equals
from tests.faults.lines import Lines

_MODES = (0o600, 0o640, 0o644, 0o660, 0o604, 0o400, 0o666)
# Of the group and of others: an owner may always write what is made.
_OTHERS = 0o077
_UMASKS = (0o000, 0o022, 0o077)
_TARGETS = ("csv", "parquet", "arrow", "html")
# With what a formula begins, after blanks; and what a spreadsheet passes over at the start of a cell.
_OPERATORS, _PASSED_OVER = "=+-@\uff1d\uff0b\uff0d\uff20", "\t\r\n"
_SECRET = "20261129"


def run(size: Size) -> Iterator[Figure]:
    """Make each output of sources of each mode; export texts that begin in each way; hide a number at each place."""
    cases = [*itertools.product(_MODES, _UMASKS, size.of(_TARGETS, _TARGETS[:1]), (None, 0o600, 0o644))]
    opened = [case for case in cases if _opened(*case)]
    yield equals("outputs more open than their source, or what they replace", len(opened), 0, f"of {len(cases)}")
    texts = [
        f"{before}{start}{rest}"
        for before in ("", " ", "  ", " \t", "\r\n", "\u00a0", "\u202d", "'")
        for start in (*_OPERATORS, *_PASSED_OVER)
        for rest in ("", "1+1", "cmd|' /C calc'!A0")
    ]
    formulas, changed = _formulas(texts)
    yield equals("cells that are formulas, with --safe-csv", len(formulas), 0, f"of {len(texts)}")
    yield equals("cells that are not exact, without", changed, 0)
    many = size.of(2000, 50)
    found, hidden = _revealed(many)
    yield equals(f"{many} values with a secret in them: secrets in the file", found, 0)
    yield at_least(f"{many} values with a secret in them: places that were redacted", hidden, many)


def _opened(mode: int, umask: int, target: str, replaced: int | None) -> bool:
    """Return whether an output has a permission that its source, the umask, or the file before it has not."""
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder, "predictions.jsonl"), Path(folder, f"out.{target}")
        source.write_bytes(codec.to_line(events.run()) + codec.to_line(events.comparison()))
        source.chmod(mode)
        if replaced is not None:
            made.touch()
            made.chmod(replaced)
        before = os.umask(umask)
        try:
            _command("report" if target == "html" else "export", str(source), "-o", str(made))
        finally:
            os.umask(before)
        allowed = mode & ~umask & (0o777 if replaced is None else replaced)
        return bool(made.stat().st_mode & _OTHERS & ~allowed)


def _formulas(texts: list[str]) -> tuple[list[str], int]:
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder, "predictions.jsonl"), Path(folder, "out.csv")
        tokens = [events.token(place, label_text=text) for place, text in enumerate(texts)]
        source.write_bytes(codec.to_line(events.run()) + codec.to_line(events.comparison(tokens=tokens)))
        cells = []
        for more in ([], ["--safe-csv"]):
            _command("export", str(source), "-o", str(made), *more)
            rows = csv.DictReader(io.StringIO(made.read_bytes().decode(), newline=""))
            cells.append([row["label_text"] for row in rows])
    exact, safe = cells
    formulas = [one for one in safe if one[:1] in {*_PASSED_OVER} or one.lstrip(" \t\r\n")[:1] in {*_OPERATORS}]
    return formulas, sum(map(str.__ne__, exact, texts))


def _revealed(many: int) -> tuple[int, int]:
    """Return how many secrets are in a file, and how many places were redacted."""
    chance = random.Random(1)

    def add(_logger: Any, _name: str, event: EventDict) -> EventDict:
        return {**event, "added": _wrapped(chance)} if event["event"] == "predlog.comparison" else event

    with tempfile.TemporaryDirectory() as folder, redirect_stderr(io.StringIO()):
        processors: list[Processor] = [add, Redact(r"\d{8}")]
        with Recorder(folder, every=1, samples=1, console=False, processors=processors, queue=many) as recorder:
            for step in range(many):
                recorder.compare(*events.pair(samples=1), step, note=_wrapped(chance))
        lines = Lines.of(Path(folder, "predictions.jsonl")).all_of("comparison")
    shown = [json.dumps({name: line.get(name) for name in ("context", "added")}) for line in lines]
    assert len(shown) == many
    return sum(_SECRET in one for one in shown), sum(one.count("redacted") for one in shown)


def _wrapped(chance: random.Random) -> Any:
    """Return a secret in one of its forms, at some depth."""
    forms: tuple[Any, ...] = (_SECRET, int(_SECRET), -int(_SECRET), float(_SECRET), f"id {_SECRET}.", {_SECRET: 1})
    value = chance.choice(forms)
    for _ in range(chance.randrange(6)):
        value = chance.choice(([value], [1, value], {"a": value}, {"a": 0, "b": [value]}, (value,)))
    return value


def _command(*arguments: str) -> None:
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as said:
        status = main.main(arguments)
    assert status == 0, said.getvalue()
