"""The typed records, their schema version, and one line of JSON ↔ one record.

Events travel through structlog as plain dicts; a line is read back as one of the types below. The rules by
which they may change stand in docs/records.md.
"""

import re
import zlib
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Final, Literal, cast

import msgspec
import orjson
from msgspec import Meta

from predlog import escaping, hypertext
from predlog.errors import RecordError, SchemaError, UnknownKindError

SCHEMA: Final = 1
# Bytes of a line. What is longer would fill the memory of whoever reads it, so it is not written, and not read.
LONGEST: Final = 1 << 24

_Count = Annotated[int, Meta(ge=0)]
_Positive = Annotated[int, Meta(ge=1)]
_Id = Annotated[int, Meta(description="A token id as the tokenizer and the loss know it.")]


class Token(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What the model predicted at one supervised position, beside what it was asked to predict."""

    slot: Annotated[Literal["first", "last"], Meta(description="Which end of the sample it was taken from.")]
    position: Annotated[int, Meta(ge=0, description="Index into the labels as they were handed.")]
    label: _Id
    prediction: Annotated[int | None, Meta(description="Index of the largest logit; null where the row holds a NaN.")]
    match: Annotated[bool, Meta(description="Whether prediction and label are the same id.")]
    label_logprob: Annotated[
        float | None,
        Meta(description="Natural log of the label's probability; null where not finite or out of range."),
    ]
    prediction_logprob: Annotated[
        float | None, Meta(description="Natural log of the prediction's probability; null where not finite.")
    ]
    label_rank: Annotated[
        _Positive | None,
        Meta(description="1 + how many raw logits exceed the label's; ties share the better rank."),
    ]
    input: Annotated[
        int | None, Meta(description="The id that the model read at the row of logits shown, where known.")
    ]
    input_text: Annotated[str | None, Meta(description="The input as text, where a decoder was given.")]
    label_text: Annotated[str | None, Meta(description="The label as text, where a decoder was given.")]
    prediction_text: Annotated[str | None, Meta(description="The prediction as text, where a decoder was given.")]


# A key that is not known is forbidden to the decoder, so that a line that has one is noticed, and the key kept.
class _Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="event"):
    level: Annotated[str, Meta(description="info, warning or error.")]
    timestamp: Annotated[str, Meta(description="ISO 8601 in UTC: when the pair was handed over.")]
    schema: Annotated[int, Meta(ge=1, description="Version of this schema.")]
    run: Annotated[str | None, Meta(description="Name of the run's folder; null without one.")]
    attempt: Annotated[int, Meta(ge=1, description="1 for the first start on this file, then 2, …")]
    rank: Annotated[int, Meta(ge=0, description="Global rank of the process that wrote the line.")]
    seq: Annotated[int, Meta(ge=0, description="Counts the lines of one attempt from 0, without holes.")]


class Run(_Line, frozen=True, kw_only=True, tag="predlog.run"):
    """The first line of each attempt, and the last of one that was closed: where it runs, and what became of it."""

    event: ClassVar[str] = "predlog.run"

    host: str
    pid: int
    world_size: _Positive
    versions: dict[str, str]
    settings: dict[str, Any]
    stats: Annotated[
        dict[str, Any] | None,
        Meta(description="In an attempt's last line, what `Recorder.stats` gives; null in its first."),
    ] = None
    context: dict[str, Any]


class Comparison(_Line, frozen=True, kw_only=True, tag="predlog.comparison"):
    """One sample, in one stream and codebook, at one step."""

    event: ClassVar[str] = "predlog.comparison"

    step: _Count
    stream: Annotated[str, Meta(description="Name of the pair: text, audio, eval/text.")]
    codebook: Annotated[_Count | None, Meta(description="Index of the codebook; null where there are none.")]
    sample: Annotated[int, Meta(ge=0, description="Index in the batch.")]
    length: Annotated[int, Meta(ge=1, description="Number of label positions of the sample, as handed.")]
    vocabulary: Annotated[int, Meta(ge=1, description="Number of logits in a row.")]
    shift: Annotated[int, Meta(ge=0, description="By how many positions the labels led the logits.")]
    supervised: Annotated[
        int,
        Meta(ge=0, description="Positions that have a row of logits and a label other than ignore_index."),
    ]
    matched: Annotated[
        _Count | None,
        Meta(description="Supervised positions where the prediction is the label; null if not counted."),
    ]
    nonfinite: Annotated[
        int, Meta(ge=0, description="Log-probabilities below that are null because they were not finite.")
    ]
    context: Annotated[dict[str, Any], Meta(description="What the caller and the processors added.")]
    tokens: tuple[Token, ...]

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        return hypertext.comparison(self)


class Finding(_Line, frozen=True, kw_only=True, tag="predlog.finding"):
    """Something wrong with the pair itself, under a stable code: written when it is found, not at each step."""

    event: ClassVar[str] = "predlog.finding"

    step: Annotated[int, Meta(ge=0, description="The step at which it was found.")]
    stream: str
    codebook: Annotated[
        _Count | None, Meta(description="Null where there are none, and where `evidence` lists several.")
    ]
    sample: Annotated[_Count | None, Meta(description="Index in the batch, where it is one sample alone.")]
    code: Annotated[str, Meta(description="labels-are-inputs, …: each has its page in the documentation.")]
    message: Annotated[str, Meta(description="What is wrong, in numbers, and how to mend it.")]
    evidence: Annotated[dict[str, Any], Meta(description="The numbers that show it.")]
    help: Annotated[str | None, Meta(description="The command that prints the page about this code.")]
    context: dict[str, Any]

    @property
    def codebooks(self) -> set[int | None]:
        """The codebooks that it is about; None stands for a stream without any."""
        several = self.evidence.get("codebooks")
        if self.codebook is not None or not isinstance(several, list):
            return {self.codebook}
        return {one for one in several if type(one) is int} or {None}

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        return hypertext.finding(self)


class Gap(_Line, frozen=True, kw_only=True, tag="predlog.gap"):
    """Comparisons that were captured and are not in the file, and why."""

    event: ClassVar[str] = "predlog.gap"

    count: Annotated[int, Meta(ge=1, description="How many comparisons are missing.")]
    reason: str
    first_step: _Count
    last_step: _Count
    context: dict[str, Any]


Record = Run | Comparison | Finding | Gap
Event = MutableMapping[str, Any]


class Checked(dict[str, Any]):
    """A conformed event that is known to fit the schema, so that nobody need look again."""


_TYPES: Final[dict[str, type[Any]]] = {kind.event: kind for kind in (Run, Comparison, Finding, Gap)}
_TOKEN_KEYS: Final = frozenset(field.name for field in msgspec.structs.fields(Token))
_KEYS: Final = {
    name: ("event", *(field.name for field in msgspec.structs.fields(kind))) for name, kind in _TYPES.items()
}
_decode: Final[Callable[[bytes], Any]] = msgspec.json.Decoder(Record).decode
_VERSION: Final = re.compile(r"[0-9A-Za-z.+!_-]{1,64}")


def is_ours(event: Mapping[str, Any]) -> bool:
    """Say whether a structlog event is one of predlog's."""
    return event.get("event") in _TYPES


def keys(name: str) -> frozenset[str]:
    """Give the keys that all events of a kind have; none for a kind that is not predlog's."""
    return frozenset(_KEYS.get(name, ()))


def conform(event: Mapping[str, Any]) -> dict[str, Any]:
    """Give the event in the schema's shape: its own keys in their order, foreign ones in `context`.

    Raises RecordError where a key of the kind is missing.
    """
    name = event["event"]
    keys = _KEYS[name]
    try:
        conformed = {key: event[key] for key in keys}
    except KeyError as missing:
        raise RecordError(f"a {name} event lacks {missing}: a processor must not remove keys") from None
    if len(event) > len(keys):
        foreign = {key: value for key, value in event.items() if key not in conformed}
        conformed["context"] = {**conformed["context"], **foreign}
    return conformed


@lru_cache(maxsize=1)  # all of a pair's events have the same
def timestamp(at: float) -> str:
    """Give seconds since 1970 as events have them."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def gap(like: Mapping[str, Any], at: float, **fields: Any) -> Checked:
    """Give the event that tells what is missing, of the same run and attempt as `like`."""
    known = {"event": "predlog.gap", "level": "warning", "timestamp": timestamp(at), "context": {}, **fields}
    return Checked({key: known[key] if key in known else like[key] for key in _KEYS["predlog.gap"]})


def from_event(event: Mapping[str, Any]) -> Record:
    """Give the typed record of a conformed event; raises RecordError where a value has the wrong type."""
    try:
        return cast(Record, msgspec.convert(event, Record))
    except msgspec.ValidationError as error:
        raise _no_record(f"a {event.get('event')} event does not fit schema {SCHEMA}: {error}") from None


def to_event(record: Record) -> dict[str, Any]:
    """Give a record as the event that it was; the inverse of `from_event`."""
    return cast(dict[str, Any], msgspec.to_builtins(record))


def to_line(event: Mapping[str, Any]) -> bytes:
    """Give the event as one line of JSON, UTF-8, newline included, its checksum last.

    The line holds no raw control, line-separating, zero-width or bidirectional character, so `splitlines`,
    `tail` and `jq` see one line where there is one. Raises RecordError for an event that does not fit the schema, or
    holds values that JSON cannot.
    """
    if type(event) is not Checked:
        event = conform(event)
        from_event(event)  # what could not be read again is not written
    body = _dump(event)[:-1]
    if len(body) > LONGEST:
        name = f"{event['event']} event"
        raise RecordError(
            f"a {name} of {len(body):,} bytes is longer than a line may be, {LONGEST:,}: show fewer tokens"
        )
    return b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body))


def is_whole(line: bytes) -> bool:
    """Say whether the checksum fits a line; it has no newline."""
    return line[-18:] == b',"crc":"%08x"}' % zlib.crc32(line[:-18])


def from_line(line: bytes) -> Record:
    """Give the typed record that a line holds; the inverse of `to_line`.

    Keys that a later predlog has added to the schema are kept in `context`, those of tokens as a list under `tokens`;
    under a name that the context has already, `lr_` stands beside `lr`.

    Raises RecordError where the line is torn or damaged, SchemaError where it was written with a newer schema.
    """
    # It runs for each line of large files, so it does without every call that it can.
    if line[-1:] == b"\n":
        line = line[:-1]
    body = line[:-18]
    if line[-18:] != b',"crc":"%08x"}' % zlib.crc32(body):
        raise RecordError("the checksum does not fit the line: it is torn or damaged")
    line = body + b"}"
    if escaping.MARK_LEAD in line and escaping.is_marked(line):
        return _from_json(line, escaping.reveal)
    try:
        record: Record = _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _from_json(line)
    if record.schema > SCHEMA:
        return _from_json(line)  # says so
    return record


def json_schema() -> dict[str, Any]:
    """Give the JSON Schema (2020-12) of one line, generated from the types of this module."""
    schema = msgspec.json.schema(Record)
    for name in ("Run", "Comparison", "Finding", "Gap", "Token"):
        definition = schema["$defs"][name]
        del definition["additionalProperties"]  # a later predlog may add keys
        if name == "Token":
            continue
        definition["properties"]["crc"] = {
            "type": "string",
            "pattern": "^[0-9a-f]{8}$",
            "description": 'CRC-32 of the bytes of the line before `,"crc":`.',
        }
        definition["required"] = list(definition["properties"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"A line of a predlog file, schema {SCHEMA}",
        **schema,
    }


def _dump(event: Mapping[str, Any]) -> bytes:
    try:
        body = orjson.dumps(event)
    except TypeError as error:
        if "surrogates" not in str(error):
            raise RecordError(f"not JSON: {error}; context and processors may add plain values only") from None
        body = orjson.dumps(escaping.mapped(event, escaping.hide))
    else:
        if escaping.is_marked(body):
            body = orjson.dumps(escaping.mapped(event, escaping.hide))
    return escaping.escape(body)


def _from_json(line: bytes, change: Callable[[str], str] | None = None) -> Record:
    """Give the record of a whole line that can't be decoded at once, or raise what it deserves."""
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise _no_record(f"no JSON: {error}") from None
    written, kind = (event.get("schema"), event.get("event")) if isinstance(event, dict) else (None, None)
    if isinstance(written, int) and written > SCHEMA:
        raise SchemaError(written, SCHEMA, _writer(event))
    if written == SCHEMA and isinstance(kind, str) and kind not in _TYPES:
        raise UnknownKindError(f"a kind that this predlog does not know: {kind!r}")
    try:
        return cast(Record, msgspec.convert(_known(escaping.mapped(event, change) if change else event), Record))
    except (ValueError, RecursionError) as error:  # msgspec's, and that of a text that `hide` can't have written
        raise _no_record(f"not a record of schema {written}: {error}") from None


def _no_record(why: str) -> RecordError:
    """Give the error; it quotes what is in the line, and is shown on terminals."""
    return RecordError(escaping.harmless(why))


def _known(event: Any) -> Any:
    """Move the keys that this predlog does not know into the context, where those of processors are, too."""
    if not isinstance(event, dict) or not isinstance(event.get("context"), dict):
        return event
    known = {"event", *_KEYS.get(str(event.get("event")), ())}
    extra = {key: value for key, value in event.items() if key not in known}
    tokens = event.get("tokens")
    if isinstance(tokens, list) and all(isinstance(token, dict) for token in tokens):
        more = [{key: value for key, value in token.items() if key not in _TOKEN_KEYS} for token in tokens]
        if any(more):
            extra["tokens"] = more
            tokens = [{key: value for key, value in token.items() if key in _TOKEN_KEYS} for token in tokens]
            event = {**event, "tokens": tokens}
    return {**{key: value for key, value in event.items() if key in known}, "context": _beside(event["context"], extra)}


def _beside(context: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Give a context with more in it: what the caller has put there stays, and a name that is taken gets a `_`."""
    both = dict(context)
    for name, value in more.items():
        while name in both:
            name += "_"  # noqa: PLW2901 - until it is free
        both[name] = value
    return both


def _writer(event: Mapping[str, Any]) -> str | None:
    """Give the version of predlog that wrote a line, which an attempt's first tells; people paste it into a shell."""
    versions = event.get("versions")
    version = versions.get("predlog") if isinstance(versions, dict) else None
    return version if isinstance(version, str) and _VERSION.fullmatch(version) else None
