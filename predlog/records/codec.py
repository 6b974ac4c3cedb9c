"""A record as one line of JSON with its checksum, and back."""

import json
import os
import re
import zlib
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any, Final, cast

import msgspec
import orjson

from predlog.errors import RecordError, SchemaError, UnknownKindError
from predlog.records import text
from predlog.records.bounds import DEEPEST, FEW, LONGEST, excess, is_deeper
from predlog.records.plain import Conversion
from predlog.records.schema import (
    JOINED_KEYS,
    LATER_KEYS,
    SCHEMA,
    Checked,
    Comparison,
    Finding,
    Gap,
    Part,
    Record,
    Run,
    Token,
)  # fmt: skip
from predlog.records.surrogates import MARK_LEAD, hide, is_marked, mapped, reveal
from predlog.records.text import _INVISIBLE
from predlog.records.window import kept

# A flag for `os.open`. Without it, Windows writes and reads other bytes than these, so offsets would not fit.
BINARY: Final[int] = getattr(os, "O_BINARY", 0)
_TYPES: Final[dict[str, type[Any]]] = {kind.event: kind for kind in (Run, Comparison, Part, Finding, Gap)}
_TOKEN_KEYS: Final = frozenset(field.name for field in msgspec.structs.fields(Token))
_KEYS: Final = {
    name: ("event", *(field.name for field in msgspec.structs.fields(kind) if field.name not in JOINED_KEYS))
    for name, kind in _TYPES.items()
}
# The keys whose values have no schema.
_FREE: Final[dict[type[Any], tuple[str, ...]]] = {
    kind: tuple(
        name for name in ("settings", "stats", "evidence", "context", "facts") if name in kind.__struct_fields__
    )
    for kind in _TYPES.values()
}
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_OLD_KEYS: Final = {name: tuple(key for key in keys if key not in LATER_KEYS) for name, keys in _KEYS.items()}
_decode: Final[Callable[[bytes], Any]] = msgspec.json.Decoder(Record).decode
_VERSION: Final = re.compile(r"[0-9A-Za-z.+!_-]{1,64}")


def is_ours(event: Mapping[str, Any]) -> bool:
    """Return whether a structlog event is one of predlog's."""
    return event.get("event") in _TYPES


def keys(name: str) -> frozenset[str]:
    """Return the keys that all events of a kind have; none for a kind that is not predlog's."""
    return frozenset(_KEYS.get(name, ()))


def conform(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the event in the schema's shape: its own keys in their order, foreign ones in `context`.

    Raises RecordError if a key of the kind is missing.
    """
    name = event["event"]
    keys = (_OLD_KEYS if event.get("recorder") is None else _KEYS)[name]
    try:
        conformed = {key: event[key] for key in keys}
    except KeyError as missing:
        raise RecordError(f"a {name} event lacks {missing}: a processor must not remove keys") from None
    if conformed.get("window") is not None:
        conformed["window"] = kept(conformed["window"])
    if len(event) > len(keys):
        # Of a line without a recorder's name, a key that the schema has gained is a processor's, if it has a value.
        own = _KEYS[name]
        conformed |= {key: event[key] for key in JOINED_KEYS if event.get(key) is not None}
        others = event.keys() - conformed.keys() - JOINED_KEYS
        foreign = {key: event[key] for key in event if key in others and (event[key] or key not in own)}
        conformed["context"] = conformed["context"] | foreign
    return conformed


@lru_cache(maxsize=1)  # all of a pair's events have the same
def timestamp(at: float) -> str:
    """Return seconds since 1970 in the format of events: ISO 8601 in UTC."""
    return datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")


@lru_cache(maxsize=64)  # all of a step have the same
def moment(timestamp: str) -> datetime | None:
    """Return a timestamp as a time, in UTC if it names no zone; None for anything else that a processor put there."""
    try:
        at = msgspec.convert(timestamp, datetime)  # Python's own `fromisoformat` refuses "Z" before 3.11
    except msgspec.ValidationError:
        try:
            at = datetime.fromisoformat(timestamp)  # which takes more forms: dates alone, and times without seconds
        except ValueError:
            return None
    return at if at.tzinfo else at.replace(tzinfo=timezone.utc)


def gap(like: Mapping[str, Any], at: float, **fields: Any) -> Checked:
    """Return the event that reports what is missing, of the same run and attempt as `like`."""
    known = {"event": "predlog.gap", "level": "warning", "timestamp": timestamp(at), "context": {}, **fields}
    keys = (_OLD_KEYS if like.get("recorder") is None else _KEYS)["predlog.gap"]
    return Checked({key: known[key] if key in known else like[key] for key in keys})


def from_event(event: Mapping[str, Any]) -> Record:
    """Return the typed record of a conformed event; raises RecordError if a value has the wrong type."""
    try:
        return cast(Record, msgspec.convert(event, Record))
    except msgspec.ValidationError as error:
        raise _no_record(f"a {event.get('event')} event does not fit schema {SCHEMA}: {error}") from None


def to_event(record: Record) -> dict[str, Any]:
    """Return a record as the event that it was, without keys that an older line lacks; the inverse of `from_event`."""
    event = cast(dict[str, Any], msgspec.to_builtins(record))
    for one in (event, *event.get("tokens", ())) if record.recorder is None else ():
        for key in LATER_KEYS & one.keys():
            del one[key]
    for one in (event, *event.get("tokens", ()), *event.get("worst", ())):
        for key in JOINED_KEYS & one.keys():
            if one[key] is None:
                del one[key]
    return event


def to_line(event: Mapping[str, Any]) -> bytes:
    """Return the event as one line of JSON, UTF-8, newline included, its checksum last.

    The line holds no raw control, line-separating, zero-width or bidirectional character, so `splitlines`,
    `tail` and `jq` see exactly one line. Raises RecordError for an event that does not fit the schema, or
    contains values that JSON can't represent.
    """
    if type(event) is not Checked:
        event = conform(event)
        from_event(event)  # what could not be read back is not written
    body = _dump(event)[:-1]
    if len(body) > LONGEST:
        name = f"{event['event']} event"
        raise RecordError(
            f"a {name} of {len(body):,} bytes is longer than a line may be, {LONGEST:,}: show fewer tokens"
        )
    if too_many := excess(body):
        raise RecordError(f"a {event['event']} event has {too_many}, more than a line may have")
    return b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body))


def is_whole(line: bytes) -> bool:
    """Return whether the checksum fits a line, which has no newline."""
    return line[-18:] == b',"crc":"%08x"}' % zlib.crc32(line[:-18])


def from_line(line: bytes) -> Record:
    """Return the typed record that a line holds; the inverse of `to_line`.

    Keys that a later predlog has added to the schema are kept in `context`, those of tokens as a list under `tokens`;
    if the context has `lr` already, the key becomes `lr_`.

    Raises RecordError if the line is torn or damaged, SchemaError if it was written with a newer schema.
    """
    # It runs for each line of large files, so it avoids function calls.
    if line[-1:] == b"\n":
        line = line[:-1]
    body = line[:-18]
    if line[-18:] != b',"crc":"%08x"}' % zlib.crc32(body):
        raise RecordError("the checksum does not fit the line: it is torn or damaged")
    if len(line) > FEW and (too_many := excess(line)):
        raise RecordError(f"no record: it has {too_many}")
    line = body + b"}"
    if MARK_LEAD in line and is_marked(line):
        return _from_json(line, reveal)
    try:
        record: Record = _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _from_json(line)
    if record.schema > SCHEMA:
        return _from_json(line)  # raises SchemaError
    if type(record) is not Comparison or not _PLAIN.issuperset(map(type, record.context.values())):
        _check_depth(record)
    return record


def _dump(event: Mapping[str, Any]) -> bytes:
    try:
        body = orjson.dumps(event)
    except TypeError as error:
        if "surrogates" not in str(error):
            conversion = Conversion()
            event = {key: conversion.of(value, key) for key, value in event.items()}
            if conversion.refused:
                what = conversion.refused[0]
                raise RecordError(f"not JSON: {what}; context and processors may add plain values only") from None
        body = orjson.dumps(mapped(event, hide))
    else:
        if is_marked(body):
            body = orjson.dumps(mapped(event, hide))
    return escape(body)


def _from_json(line: bytes, change: Callable[[str], str] | None = None) -> Record:
    """Return the record of a whole line that can't be decoded directly, or raise the error that explains why."""
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
        record = cast(Record, msgspec.convert(_known(mapped(event, change) if change else event), Record))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:  # or a text that `hide` can't have written
        named = written if isinstance(written, int | str) else type(written).__name__
        raise _no_record(f"not a record of schema {named}: {error}") from None
    _check_depth(record)
    return record


def _check_depth(record: Record) -> None:
    """Raise RecordError if a record is nested deeper than any that is written."""
    if is_deeper([getattr(record, name) for name in _FREE[type(record)]]):
        raise RecordError(f"no record: its lists and objects are nested deeper than {DEEPEST} levels")


def _no_record(why: str) -> RecordError:
    """Return the error, made safe for terminals, because it quotes what is in the line."""
    return RecordError(text.harmless(why))


def _known(event: Any) -> Any:
    """Return the event with its unknown keys in the context, where those of processors are, too."""
    if not isinstance(event, dict) or not isinstance(event.get("context"), dict):
        return event
    known = {"event", *_KEYS.get(str(event.get("event")), ()), *JOINED_KEYS}
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
    """Return a context with more in it; what the caller has put there stays, and a name that is taken gets a `_`."""
    both = dict(context)
    for name, value in more.items():
        while name in both:
            name += "_"  # noqa: PLW2901 - until it is free
        both[name] = value
    return both


def _writer(event: Mapping[str, Any]) -> str | None:
    """Return the version of predlog that a first line names; checked, because people paste it into a shell."""
    versions = event.get("versions")
    version = versions.get("predlog") if isinstance(versions, dict) else None
    return version if isinstance(version, str) and _VERSION.fullmatch(version) else None


def escape(body: bytes) -> bytes:
    """Return JSON text with its control and invisible characters as JSON escapes."""
    if body.isascii() and b"\x7f" not in body:
        return body  # nothing to escape, as in nearly all lines
    return _INVISIBLE.sub(lambda found: json.dumps(found[0])[1:-1], body.decode()).encode()
