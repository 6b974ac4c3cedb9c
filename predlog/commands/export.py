"""`predlog export`: one row a token, for DuckDB, Polars, pandas and others."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from predlog.damage import Damage
from predlog.errors import MissingExtraError
from predlog.reading import Reading
from predlog.sinks.visible import encodable, visible

# More lines than these say nothing more.
_NAMED = 10


def run(arguments: argparse.Namespace) -> int:
    """Write the file, and say what is in it; on stderr, what is not."""
    try:
        from predlog.exporting import export  # noqa: PLC0415 - it imports what may not be installed
    except ModuleNotFoundError as missing:
        if missing.name not in {"duckdb", "pyarrow"}:
            raise
        raise MissingExtraError("export", missing.name) from None
    records = Reading(arguments.path, all_attempts=arguments.all_attempts, warns=False)
    exported = export(records, arguments.output)
    _say_damage([one for one in records.damage if not one.hole])
    if exported.without_tokens:
        _say(f"no token is shown in {_counted(exported.without_tokens, 'comparison')}: they give no row")
    size = Path(arguments.output).stat().st_size
    name = encodable(visible(os.fspath(arguments.output), " "), sys.stdout.encoding or "utf-8")
    sys.stdout.write(f"{name}: {_counted(exported.rows, 'row')}, {_megabytes(size)}\n")
    return 0


def _say_damage(damage: Sequence[Damage]) -> None:
    for one in damage[:_NAMED]:
        _say(f"not exported: {one.file} line {one.line}: {one.reason}")
    if len(damage) > _NAMED:
        _say(f"not exported: {_counted(len(damage) - _NAMED, 'damaged place')} more")


def _say(text: str) -> None:
    sys.stderr.write(f"predlog: {encodable(visible(text, ' '), sys.stderr.encoding or 'utf-8')}\n")


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' if number != 1 else ''}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"
