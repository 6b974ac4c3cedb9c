"""Lines whose checksum fits and whose contents nobody could have recorded: every command answers them.

The rule: a command ends with 0, 1 or 2, never with a traceback or an error of its own, and nothing that it prints
steers a terminal.
"""

import io
import json
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

from predlog.cli import main
from predlog.records import codec
from tests import events
from tests.faults.experiment import Figure, Size, equals
from tests.faults.hostile import harmful
from tests.written import sealed

_DEEP = (100, 252, 253, 500, 990, 1020, 5000)
_TEXTS = ("\x9b31m\u202e\u2028\x1b[2J", "", "9" * 5000, "\ud800", "9999-12-31T23:59:59.999999-23:59", "\U0010fffdx")
VALUES = [
    *(b"9" * digits for digits in (19, 20, 30, 400, 4300, 4301, 5000)),
    *(b"-1", b"-" + b"9" * 5000, b"1e400", b"-1e308", b"1e308", b"0.5", b"true", b"null", b"{}", b"[]", b'{"a":1}'),
    *(b"[" * levels + b"]" * levels for levels in _DEEP),
    *(b'{"a":' * levels + b"0" + b"}" * levels for levels in _DEEP),
    *(json.dumps(text, ensure_ascii=text == "\ud800").encode() for text in _TEXTS),
    b'"\xff"',
]
COMMANDS = (
    ("tail",), ("tail", "-n", "all", "--json"), ("summary",), ("summary", "--json"), ("check",), ("check", "--json"),
    ("diff",), ("diff", "--json"), ("export", "-o", "o.csv"), ("export", "-o", "o.parquet"), ("report", "-o", "o.html"),
)  # fmt: skip
# Of so many pairs of a line and a command one is done; in full, all, but those that take as long as all others.
_EVERY, _EVERY_SLOW = 239, 17
_SLOW = {"export", "report"}


@dataclass
class _Tally:
    runs: int = 0
    escaped: list[str] = field(default_factory=list)
    internal: list[str] = field(default_factory=list)
    harmful: list[str] = field(default_factory=list)


def run(size: Size) -> Iterator[Figure]:
    """Put each value in place of each of a line's, and of all values in its context; ask every command."""
    tally = _Tally()
    for number, line in enumerate(_lines()):
        for place, command in enumerate(COMMANDS):
            # So that each command meets lines of each kind.
            every = size.of(_EVERY_SLOW if command[0] in _SLOW else 1, _EVERY)
            if (number * 7 + place) % every == 0 and (size.is_full or command[0] != "report"):
                _ask(tally, command, line)
    yield equals("commands that ended with an exception", len(tally.escaped), 0, _first(tally.escaped, tally.runs))
    yield equals("commands that report an error of their own", len(tally.internal), 0, _first(tally.internal))
    yield equals("commands that print what steers a terminal", len(tally.harmful), 0, _first(tally.harmful))


def _lines() -> Iterator[bytes]:
    token = events.token(1, 2, 3)
    for event in (events.run(), events.comparison(tokens=[token]), events.finding(), events.gap()):
        for key in [key for key in event if key != "event"]:
            yield from (_with({**event, key: _HERE}, value) for value in VALUES)
        for key in ("context", "evidence", "settings", "versions"):
            yield from (_with({**event, key: {"a": _HERE}}, value) for value in VALUES if key in event)
        yield from (_with({**event, "more": _HERE}, value) for value in VALUES)
    for key in token:
        yield from (_with(events.comparison(tokens=[{**token, key: _HERE}]), value) for value in VALUES)


_HERE = "a value"


def _with(event: dict[str, object], value: bytes) -> bytes:
    text = json.dumps(event, separators=(",", ":"))
    return sealed(text.encode().replace(json.dumps(_HERE).encode(), value))


def _ask(tally: _Tally, command: tuple[str, ...], line: bytes) -> None:
    name, *more = command
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "predictions.jsonl")
        file.write_bytes(codec.to_line(events.run()) + codec.to_line(events.comparison()) + line)
        more = [str(Path(folder, one)) if one.startswith("o.") else one for one in more]
        printed, said = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
        tally.runs += 1
        with redirect_stdout(printed), redirect_stderr(said):
            try:
                status = main.main([name, *[str(file)] * (1 + (name == "diff")), *more])
            except BaseException as error:  # noqa: BLE001 - that is what is counted
                tally.escaped.append(f"{name}: {type(error).__name__}: {line[:200]!r}")
                return
        printed.flush()
        shown = printed.buffer.getvalue().decode() + said.getvalue()
        if status not in {0, 1, 2}:
            tally.escaped.append(f"{name}: status {status}: {line[:200]!r}")
        if "internal error" in said.getvalue():
            tally.internal.append(f"{name}: {said.getvalue()[:200]}")
        if harmful(shown):
            tally.harmful.append(f"{' '.join(command)}: {line[:200]!r}")


def _first(failed: list[str], runs: int = 0) -> str:
    return failed[0] if failed else f"of {runs:,}" if runs else ""
