"""`predlog export`: one row per token, for DuckDB, Polars, pandas and others."""

import argparse
import os
from collections.abc import Iterable
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, Final

from predlog.cli import say
from predlog.cli.io import replacing, target, tell_written, waiting, why_not
from predlog.cli.token_table import Exported, TokenRows, all_tokens, chunks, schema
from predlog.errors import ExportError, NoRecordsError, required
from predlog.reading.damage import Damages
from predlog.reading.reader import Reading
from predlog.reading.words import counted, left_out
from predlog.records.schema import Record

with required("export"):
    import pyarrow as pa
    from pyarrow import compute, csv, parquet

# Bytes in which the first line of a table ends.
_LONGEST_HEAD: Final = 4096
# More lines than these say nothing more.
_NAMED = 10


def run(arguments: argparse.Namespace) -> int:
    """Write the file, and report what is in it; on stderr, what is not."""
    records = Reading(arguments.path, attempt=arguments.attempt, warns=False)
    with waiting(records):
        how = {"is_safe": arguments.safe_csv, "is_all": arguments.all_tokens, "is_forced": arguments.force}
        exported = export(records, arguments.output, **how)
    _say_damage(records.damage)
    if records.left_out:
        say(left_out(records.left_out))
    if exported.without_tokens:
        what = "all tokens were not kept" if arguments.all_tokens else "no token is shown"
        say(f"{what} in {counted(exported.without_tokens, 'comparison')}: they have no row")
    counts = {"rows": exported.rows, "without_tokens": exported.without_tokens, "damaged": records.damage.total}
    size = Path(arguments.output).stat().st_size
    tell_written(arguments, size, counted(exported.rows, "row"), path=arguments.path, **counts)
    return 0


def _say_damage(damage: Damages) -> None:
    named = [one for one in damage if not one.hole][:_NAMED]
    for one in named:
        say(f"not exported: {one.file} line {one.line}: {one.reason}")
    if more := damage.passed.total() - len(named):
        say(f"not exported: {counted(more, 'damaged place')} more")


# Rows of one group of a Parquet file: smaller groups make a larger file, larger ones take more memory.
_GROUP: Final = 61_440


def export(
    records: Iterable[Record],
    output: str | os.PathLike[str],
    *,
    is_safe: bool = False,
    is_all: bool = False,
    is_forced: bool = False,
) -> Exported:
    """Write one row per token to `output`, whose ending says how: `.parquet`, `.csv` or `.arrow`.

    A row holds its comparison's fields, then its own; `schema` has their types. With `is_safe`, a text in a CSV file
    that a spreadsheet would read as a formula begins with an apostrophe. With `is_all`, the rows are those of the
    columns that `all_tokens` keeps, and not of the tokens shown. A file with other columns than an export has is
    replaced only if `is_forced`.

    Raises:
        NoRecordsError: Not one record can be read.
        ExportError: The ending is none of these, or not `.csv` with `is_safe`, there is no such folder, something else
            is there, or the file can't be written.
    """
    file = target(output, [records], None if is_forced else _is_export)
    if file.suffix.lower() not in _WRITERS:
        raise ExportError(f"{file.name} must end in .parquet, .csv or .arrow, which selects the format")
    if is_safe and file.suffix.lower() != ".csv":
        raise ExportError(f"{file.name} is no .csv: --safe-csv is for spreadsheets, and other formats have no formulas")
    rows = TokenRows(records, all_tokens if is_all else attrgetter("tokens"))
    write = _safe_csv if is_safe else _WRITERS[file.suffix.lower()]
    try:
        with replacing(file, [records]) as unfinished:
            write(unfinished, rows)
            if isinstance(records, Reading) and not rows.has_records:
                raise NoRecordsError(f"{records.path} holds no records: {why_not(records.damage)}")
    except OSError as error:
        if rows.failure is not None:
            raise rows.failure from None
        raise ExportError(f"{file.parent.absolute()} can't be written to: {error}") from None
    return rows.exported


# By these columns an export is recognised, also one of another version.
_MARK: Final = {"step", "stream", "codebook", "position", "label", "prediction", "label_logprob"}


def _is_export(file: Path) -> bool:
    names: list[str]
    try:
        if file.suffix.lower() == ".csv":
            with file.open("rb") as opened:
                names = opened.readline(_LONGEST_HEAD).decode().rstrip().split(",")
        elif file.suffix.lower() == ".parquet":
            names = parquet.read_schema(file).names
        else:
            names = pa.ipc.open_file(pa.memory_map(os.fspath(file))).schema.names
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        return False
    return {*names} >= _MARK


def _parquet(file: BinaryIO, rows: Iterable[pa.RecordBatch]) -> None:
    with parquet.ParquetWriter(file, schema(), compression="zstd") as writer:
        for batches in chunks(rows, len, _GROUP):
            writer.write_table(pa.Table.from_batches(batches))
            del batches  # or they would be held while the next ones are collected


def _csv(file: BinaryIO, rows: Iterable[pa.RecordBatch]) -> None:
    file.write(f"{','.join(schema().names)}\n".encode())  # pyarrow would put the names in quotes
    columns = schema().set(0, pa.field("timestamp", pa.string()))
    with csv.CSVWriter(file, columns, write_options=csv.WriteOptions(include_header=False)) as writer:
        for batch in rows:
            moments = compute.strftime(batch["timestamp"].view(pa.timestamp("us")), "%Y-%m-%dT%H:%M:%SZ")
            writer.write_batch(pa.RecordBatch.from_arrays([moments, *batch.columns[1:]], schema=columns))


def _safe_csv(file: BinaryIO, rows: Iterable[pa.RecordBatch]) -> None:
    _csv(file, map(_without_formulas, rows))


# What spreadsheets take as the beginning of a formula, or remove before they look for one.
_SIGN: Final = r"[=+\-@\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}]"
_FORMULA: Final = rf"^[\s\x00]*{_SIGN}|^[\t\r\n]"
# The same where a spreadsheet that splits lines elsewhere than at commas, so that quotation marks keep nothing
# together, begins another cell.
_INNER: Final = rf"([;\t\r\n][\s\x00\"]*)({_SIGN})"


def _without_formulas(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = [_harmless(column) if pa.types.is_string(column.type) else column for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _harmless(column: pa.Array) -> pa.Array:
    inner = compute.replace_substring_regex(column, _INNER, r"\1'\2")
    begins = compute.match_substring_regex(column, _FORMULA)
    return compute.if_else(begins, compute.binary_join_element_wise("'", inner, ""), inner)


def _arrow(file: BinaryIO, rows: Iterable[pa.RecordBatch]) -> None:
    with pa.ipc.new_file(file, schema()) as writer:
        for batch in rows:
            writer.write_batch(batch)


_WRITERS: Final = {".parquet": _parquet, ".csv": _csv, ".arrow": _arrow}
