"""`predlog export`: one row a token, for DuckDB, Polars, pandas and others."""

import argparse
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from types import NoneType
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from predlog.cli.io import say, target, tell, waiting
from predlog.errors import ExportError, MissingExtraError, RecordError
from predlog.reading.damage import Damages
from predlog.reading.reader import Reading
from predlog.reading.words import counted
from predlog.records.schema import Comparison, Record, Token

try:
    import duckdb
    import pyarrow as pa
except ModuleNotFoundError as missing:
    raise MissingExtraError("export", str(missing.name).partition(".")[0]) from None

# More lines than these say nothing more.
_NAMED = 10


def run(arguments: argparse.Namespace) -> int:
    """Write the file, and say what is in it; on stderr, what is not."""
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


# Rows handed over at once: as many as DuckDB works on at once. Ten times as many take longer, and more memory.
_ROWS = 2048
# They tell of the line, not of what it holds.
_LEFT_OUT: Final = {"level", "schema", "seq", "tokens"}
_OF_COMPARISON: Final = [name for name in Comparison.__struct_fields__ if name not in _LEFT_OUT]
_OF_TOKEN: Final = list(Token.__struct_fields__)
_TYPES: Final = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string(), dict: pa.string()}
_MOMENT: Final = pa.timestamp("us", "UTC")
# One thread, the caller's: so a Ctrl-C reaches the reading, whatever that waits for. A second one saves a sixth of the
# time, and takes 75 MB. What needs an extension needs a network.
_SETTINGS: Final[dict[str, str | bool | int | float | list[str]]] = {
    "threads": 1,
    "temp_directory": "",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}
_HALF = re.compile("[\ud800-\udfff]")


@dataclass(slots=True)
class Exported:
    """What became of the records: rows written, and comparisons that gave none, because they show no token."""

    rows: int = 0
    without_tokens: int = 0


def export(records: Iterable[Record], output: str | os.PathLike[str]) -> Exported:
    """Write one row a token to `output`, whose ending says how: `.parquet`, `.csv` or `.arrow`.

    A row holds its comparison's fields, then its own; `schema` has their types.

    Raises:
        ExportError: The ending is none of these, there is no such folder, or the file can't be written.
        RecordError: A record holds a number that 64 bits do not.
    """
    target = Path(os.path.abspath(output))  # noqa: PTH100 - resolve() would replace what a link points at
    write = _writer(target)
    rows = _Rows(records)
    with tempfile.TemporaryDirectory(prefix=".predlog-export-", dir=target.parent) as folder:
        unfinished = Path(folder, f"unfinished{target.suffix}")
        rows.write(write, unfinished)
        unfinished.replace(target)
    return rows.exported


def schema() -> pa.Schema:
    """Give the columns: the fields of a comparison but `level`, `schema` and `seq`, then those of a token."""
    return pa.schema([*_fields(Comparison, _OF_COMPARISON), *_fields(Token, _OF_TOKEN)])


def _fields(kind: type[Any], names: Iterable[str]) -> Iterator[pa.Field]:
    hints = get_type_hints(kind)
    for name in names:
        yield pa.field(name, _MOMENT if name == "timestamp" else _type(hints[name]))


def _type(hint: Any) -> pa.DataType:
    if get_origin(hint) is Literal:
        hint = type(get_args(hint)[0])
    (plain,) = {*get_args(hint)} - {NoneType} if NoneType in get_args(hint) else {hint}
    return _TYPES[get_origin(plain) or plain]


class _Rows:
    """Records on their way to batches of rows.

    What goes wrong on it is kept, because DuckDB tells of it in its own words only.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self.exported = Exported()
        self._records = records
        self._failure: BaseException | None = None

    def write(self, write: Callable[[pa.RecordBatchReader, Path], None], file: Path) -> None:
        columns = schema()
        try:
            write(pa.RecordBatchReader.from_batches(columns, self._batches(columns)), file)
        except (duckdb.Error, OSError, RuntimeError) as error:
            if self._failure is not None:
                raise self._failure from None
            if _is_interrupt(error):
                raise KeyboardInterrupt from None
            raise ExportError(f"{file.parent.parent} can't be written to: {_first_line(error)}") from None

    def _batches(self, columns: pa.Schema) -> Iterator[pa.RecordBatch]:
        try:
            for chunk in _chunks(self._with_tokens()):
                batch = _batch(chunk, columns)
                self.exported.rows += len(batch)
                yield batch
        except GeneratorExit:
            raise
        except BaseException as error:
            self._failure = error
            raise

    def _with_tokens(self) -> Iterator[Comparison]:
        for record in self._records:
            if isinstance(record, Comparison):
                if record.tokens:
                    yield record
                else:
                    self.exported.without_tokens += 1


def _chunks(comparisons: Iterable[Comparison]) -> Iterator[list[Comparison]]:
    chunk: list[Comparison] = []
    rows = 0
    for comparison in comparisons:
        chunk.append(comparison)
        rows += len(comparison.tokens)
        if rows >= _ROWS:
            yield chunk
            chunk, rows = [], 0
    if chunk:
        yield chunk


def _batch(chunk: Sequence[Comparison], columns: pa.Schema) -> pa.RecordBatch:
    parents = pa.array([number for number, one in enumerate(chunk) for _ in one.tokens], pa.int32())
    # A column at a time: a loop over rows and fields in Python takes half as long again.
    above = zip(*map(attrgetter(*_OF_COMPARISON), chunk), strict=True)
    below = zip(*map(attrgetter(*_OF_TOKEN), (token for one in chunk for token in one.tokens)), strict=True)
    fields = iter(columns)
    arrays = [_array(values, next(fields)).take(parents) for values in above]
    return pa.RecordBatch.from_arrays([*arrays, *map(_array, below, fields)], schema=columns)


def _array(values: Sequence[Any], field: pa.Field) -> pa.Array:
    if field.name in _CONVERTED:
        values = [_CONVERTED[field.name](value) for value in values]
    try:
        return pa.array(values, field.type)
    except UnicodeEncodeError:
        return pa.array([value if value is None else _HALF.sub("\ufffd", value) for value in values], field.type)
    except OverflowError:
        too_large = next(value for value in values if value is not None and not -(2**63) <= value < 2**63)
        raise RecordError(f"{field.name} {too_large} has more than 64 bits: a processor has put it there") from None


@lru_cache(maxsize=64)  # all of a step have the same
def _moment(text: str) -> datetime | None:
    """Give a time; None for what a processor has put there instead of one."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _json(context: dict[str, Any]) -> str:
    return json.dumps(context, ensure_ascii=False, separators=(",", ":"))


_CONVERTED: Final[dict[str, Callable[[Any], Any]]] = {"timestamp": _moment, "context": _json}


def _parquet(rows: pa.RecordBatchReader, file: Path) -> None:
    with _connected() as connection:
        connection.from_arrow(rows).to_parquet(str(file), compression="zstd")


def _csv(rows: pa.RecordBatchReader, file: Path) -> None:
    with _connected() as connection:
        connection.from_arrow(rows).to_csv(str(file), header=True, timestamp_format="%Y-%m-%dT%H:%M:%S.%fZ")


def _connected() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config=_SETTINGS)
    connection.execute("set TimeZone = 'UTC'")
    connection.execute("set enable_progress_bar = false")  # it draws one on any stdout
    return connection


def _arrow(rows: pa.RecordBatchReader, file: Path) -> None:
    with pa.OSFile(str(file), "wb") as opened, pa.ipc.new_file(opened, rows.schema) as writer:
        for batch in rows:
            writer.write_batch(batch)


_WRITERS: Final = {".parquet": _parquet, ".csv": _csv, ".arrow": _arrow}


def _writer(target: Path) -> Callable[[pa.RecordBatchReader, Path], None]:
    if target.suffix.lower() not in _WRITERS:
        raise ExportError(f"{target.name} must end in .parquet, .csv or .arrow: it says how to write it")
    if not target.parent.is_dir():
        raise ExportError(f"{target.parent} is no folder: make it first")
    if target.is_dir():
        raise ExportError(f"{target} is a folder: name a file in it")
    if target.exists() and not target.is_file():
        raise ExportError(f"{target} is a pipe or a device: write to a file, and pass that on")
    try:
        str(target.parent).encode()
    except UnicodeEncodeError:
        # DuckDB and Arrow take a path as text. The file's own name may be anything: it gets that when it is whole.
        raise ExportError(
            f"the path of {target.parent} is not UTF-8: write to another folder, and move the file"
        ) from None
    return _WRITERS[target.suffix.lower()]


def _is_interrupt(error: Exception) -> bool:
    # How DuckDB tells of a Ctrl-C: while it works itself, and while it asks for rows.
    return "Query interrupted" in str(error) or "KeyboardInterrupt" in str(error)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
