"""`predlog export`: one row a token, for DuckDB, Polars, pandas and others."""

import argparse

from predlog.commands.saying import say, tell
from predlog.commands.targets import target
from predlog.commands.waiting import waiting
from predlog.damage import Damages
from predlog.errors import MissingExtraError
from predlog.phrases import counted
from predlog.reading import Reading

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
    file = target(arguments.output, records)
    with waiting(records):
        exported = export(records, file)
    _say_damage(records.damage)
    if exported.without_tokens:
        say(f"no token is shown in {counted(exported.without_tokens, 'comparison')}: they give no row")
    tell(f"{arguments.output}: {counted(exported.rows, 'row')}, {_megabytes(file.stat().st_size)}")
    return 0


def _say_damage(damage: Damages) -> None:
    named = [one for one in damage if not one.hole][:_NAMED]
    for one in named:
        say(f"not exported: {one.file} line {one.line}: {one.reason}")
    if more := damage.passed.total() - len(named):
        say(f"not exported: {counted(more, 'damaged place')} more")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"
