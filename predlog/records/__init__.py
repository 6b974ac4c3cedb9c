"""The contract between the recorder and its readers: typed records, their schema, and one line per record.

The names are resolved on first use, so that `predlog --help` does not load msgspec.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from predlog.records.codec import conform, from_event, from_line, is_ours, keys, timestamp, to_event, to_line
    from predlog.records.published import json_schema
    from predlog.records.schema import SCHEMA, Columns, Comparison, Event, Finding, Gap, Part, Record, Run, Token

__all__ = [
    "SCHEMA",
    "AllTokens",
    "Alternative",
    "Columns",
    "Comparison",
    "Event",
    "Finding",
    "Gap",
    "Part",
    "Passage",
    "Record",
    "Run",
    "Split",
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
    home = "published" if name == "json_schema" else "schema" if name[0].isupper() else "codec"
    return getattr(import_module(f"predlog.records.{home}"), name)
