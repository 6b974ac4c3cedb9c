"""`predlog export`: one row per token, for DuckDB, Polars, pandas and others."""

import argparse
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from types import NoneType
from typing import Any, BinaryIO, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

from predlog.cli import say
from predlog.cli.io import replacing, target, tell_written, waiting
from predlog.errors import ExportError, required
from predlog.reading.damage import Damages
from predlog.reading.reader import Reading
from predlog.reading.words import counted, left_out
from predlog.records.codec import moment
from predlog.records.schema import Comparison, Passage, Record, Token

with required("export"):
    import pyarrow as pa
    from pyarrow import compute, csv, parquet

T = TypeVar("T")
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


# Rows of one batch: ten times as many take longer, and more memory.
_BATCH: Final = 2048
# Rows of one group of a Parquet file: smaller groups make a larger file, larger ones take more memory.
_GROUP: Final = 30 * _BATCH
# They describe the line, not what it holds, or hold tokens.
_LEFT_OUT: Final = {"level", "schema", "seq", "tokens", "worst", "all_tokens"}
_OF_COMPARISON: Final = [name for name in Comparison.__struct_fields__ if name not in _LEFT_OUT]
_OF_TOKEN: Final = [name for name in Token.__struct_fields__ if name != "alternatives"]
_TYPES: Final = {
    int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string(), dict: pa.string(), tuple: pa.string(),
}  # fmt: skip
_MOMENT: Final = pa.timestamp("us", "UTC")
_HALF = re.compile("[\ud800-\udfff]")


@dataclass(slots=True)
class Exported:
    """What became of the records: rows written, and comparisons that gave none, because they show no token."""

    rows: int = 0
    without_tokens: int = 0


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
        ExportError: The ending is none of these, or not `.csv` with `is_safe`, there is no such folder, something else
            is there, or the file can't be written.
    """
    file = target(output, [records], None if is_forced else _is_export)
    if file.suffix.lower() not in _WRITERS:
        raise ExportError(f"{file.name} must end in .parquet, .csv or .arrow, which selects the format")
    if is_safe and file.suffix.lower() != ".csv":
        raise ExportError(f"{file.name} is no .csv: --safe-csv is for spreadsheets, and other formats have no formulas")
    rows = _Rows(records, _all_tokens if is_all else attrgetter("tokens"))
    write = _safe_csv if is_safe else _WRITERS[file.suffix.lower()]
    try:
        with replacing(file, [records]) as unfinished:
            write(unfinished, rows)
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


def schema() -> pa.Schema:
    """Return the columns: the fields of a comparison but `level`, `schema` and `seq`, then those of a token."""
    return pa.schema([*_fields(Comparison, _OF_COMPARISON), *_fields(Token, _OF_TOKEN)])


def _fields(kind: type[Any], names: Iterable[str]) -> Iterator[pa.Field]:
    hints = get_type_hints(kind)
    for name in names:
        yield pa.field(name, _MOMENT if name == "timestamp" else _type(hints[name]))


def _type(hint: Any) -> pa.DataType:
    (plain,) = {*get_args(hint)} - {NoneType} if NoneType in get_args(hint) else {hint}
    if get_origin(plain) is Literal:
        plain = type(get_args(plain)[0])
    return _TYPES[get_origin(plain) or plain]


class _Rows:
    """Records as batches of rows; an error of the reading is kept, to be distinguished from one of the writing."""

    def __init__(self, records: Iterable[Record], tokens_of: Callable[[Comparison], Sequence[Token]]) -> None:
        self.exported = Exported()
        self.failure: BaseException | None = None
        self._records = records
        self._tokens_of = tokens_of

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        columns = schema()
        try:
            for chunk in _chunks(self._with_tokens(), lambda one: len(one[1]), _BATCH):
                batch = _batch(chunk, columns)
                self.exported.rows += len(batch)
                yield batch
        except GeneratorExit:
            raise
        except BaseException as error:
            self.failure = error
            raise

    def _with_tokens(self) -> Iterator[tuple[Comparison, Sequence[Token]]]:
        for record in self._records:
            if isinstance(record, Comparison):
                if tokens := self._tokens_of(record):
                    yield record, tokens
                else:
                    self.exported.without_tokens += 1


def _all_tokens(one: Comparison) -> Sequence[Token]:
    """Return the tokens of a comparison's columns; none if it has no columns."""
    if one.all_tokens is None:
        return ()
    unknown = dict.fromkeys(_OF_TOKEN)
    return [
        Token(**{
            **unknown, "position": position, "label": label, "prediction": prediction, "match": prediction == label,
            "label_logprob": logprob, "label_rank": rank,
        })
        for position, label, prediction, logprob, rank in zip(
            *map(partial(getattr, one.all_tokens), one.all_tokens.__struct_fields__), strict=True
        )
    ]  # fmt: skip


def _chunks(items: Iterable[T], rows_of: Callable[[T], int], least: int) -> Iterator[list[T]]:
    """Yield items together, in lists of at least so many rows; the last list may have fewer."""
    chunk: list[T] = []
    rows = 0
    for item in items:
        chunk.append(item)
        rows += rows_of(item)
        if rows >= least:
            yield chunk
            chunk, rows = [], 0
    if chunk:
        yield chunk


def _batch(chunk: Sequence[tuple[Comparison, Sequence[Token]]], columns: pa.Schema) -> pa.RecordBatch:
    parents = pa.array([number for number, (_, tokens) in enumerate(chunk) for _ in tokens], pa.int32())
    # A column at a time: a loop over rows and fields in Python takes half as long again.
    above = zip(*map(attrgetter(*_OF_COMPARISON), (one for one, _ in chunk)), strict=True)
    below = zip(*map(attrgetter(*_OF_TOKEN), (token for _, tokens in chunk for token in tokens)), strict=True)
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


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _window(passages: Sequence[Passage] | None) -> str | None:
    return (
        None
        if passages is None
        else _json([{name: getattr(one, name) for name in one.__struct_fields__} for one in passages])
    )


_CONVERTED: Final[dict[str, Callable[[Any], Any]]] = {"timestamp": moment, "context": _json, "window": _window}


def _parquet(file: BinaryIO, rows: Iterable[pa.RecordBatch]) -> None:
    with parquet.ParquetWriter(file, schema(), compression="zstd") as writer:
        for batches in _chunks(rows, len, _GROUP):
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
