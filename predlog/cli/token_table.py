"""Records as a table of tokens: its columns, and its rows in batches."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from types import NoneType
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

from predlog.errors import required
from predlog.records.codec import moment
from predlog.records.schema import Comparison, Passage, Record, Token

with required("export"):
    import pyarrow as pa

T = TypeVar("T")

# Rows of one batch: ten times as many take longer, and more memory.
_BATCH: Final = 2048
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


class TokenRows:
    """Records as batches of rows; an error of the reading is kept, to be distinguished from one of the writing."""

    def __init__(self, records: Iterable[Record], tokens_of: Callable[[Comparison], Sequence[Token]]) -> None:
        self.exported = Exported()
        self.failure: BaseException | None = None
        self.has_records = False
        self._records = records
        self._tokens_of = tokens_of

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        columns = schema()
        try:
            for chunk in chunks(self._with_tokens(), lambda one: len(one[1]), _BATCH):
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
            self.has_records = True
            if isinstance(record, Comparison):
                if tokens := self._tokens_of(record):
                    yield record, tokens
                else:
                    self.exported.without_tokens += 1


def all_tokens(one: Comparison) -> Sequence[Token]:
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


def chunks(items: Iterable[T], rows_of: Callable[[T], int], least: int) -> Iterator[list[T]]:
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
