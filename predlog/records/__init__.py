"""The contract between the recorder and its readers: typed records, their schema, and one line per record.

The names are resolved on first use, so that `predlog --help` does not load msgspec.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from predlog.records.codec import conform, from_event, from_line, is_ours, keys, timestamp, to_event, to_line
    from predlog.records.schema import (
        SCHEMA,
        Comparison,
        Event,
        Finding,
        Gap,
        Part,
        Record,
        Run,
        Shard,
        Token,
        json_schema,
    )  # fmt: skip

__all__ = [
    "SCHEMA",
    "AllTokens",
    "Alternative",
    "Comparison",
    "Event",
    "Finding",
    "Gap",
    "Part",
    "Record",
    "Run",
    "Shard",
    "Token",
    "conform",
    "from_event",
    "from_line",
    "is_ours",
    "json_schema",
    "keys",
    "timestamp",
    "to_event",
    "to_line",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'predlog.records' has no attribute {name!r}")
    home = "schema" if name in {"SCHEMA", "Event", "Record", "json_schema"} or name[0].isupper() else "codec"
    return getattr(import_module(f"predlog.records.{home}"), name)
