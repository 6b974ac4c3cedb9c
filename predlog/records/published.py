"""The JSON Schema of a line, as it is published: generated from the types of `records/schema.py`."""

from typing import Any

import msgspec

from predlog.records.schema import LATER_KEYS, SCHEMA, Record


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of one line, generated from the types of the records."""
    schema = msgspec.json.schema(Record)
    for definition in schema["$defs"].values():
        del definition["additionalProperties"]  # a later predlog may add keys
        if "event" in definition["properties"]:
            definition["properties"]["crc"] = {
                "type": "string",
                "pattern": "^[0-9a-f]{8}$",
                "description": 'CRC-32 of the bytes of the line before `,"crc":`.',
            }
            definition["required"] = [name for name in definition["properties"] if name not in LATER_KEYS]
    generated: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(schema))  # with lists in place of tuples
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"A line of a predlog file, schema {SCHEMA}",
        **generated,
    }
