"""Runs' files that tests write line by line, and the command line run on them."""

import zlib
from collections import Counter
from pathlib import Path
from typing import Any

from predlog.cli import main
from predlog.records import codec, schema
from tests import ROOT


def written(folder: Path, *events: dict[str, Any]) -> str:
    """Write events to the files of their ranks, counted as a recorder counts them, and give the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = Counter[tuple[int, int]]()
    for event in events:
        key = event["rank"], event["attempt"]
        name = f"predictions-rank{event['rank']}.jsonl" if event["rank"] else "predictions.jsonl"
        with (folder / name).open("ab") as file:
            file.write(codec.to_line({**event, "seq": numbers[key]}))
        numbers[key] += 1
    return str(folder)


def sealed(text: bytes) -> bytes:
    """Return any JSON object as a line whose checksum fits, as only a recorder's should."""
    body = text.removesuffix(b"}")
    return b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body))


def typed(*events: dict[str, Any]) -> list[schema.Record]:
    """Return the records of events."""
    return [codec.from_event(event) for event in events]


def command(*arguments: str) -> int:
    """Run the command line in this process."""
    return main.main(arguments)


def undocumented(found: Any) -> set[str]:
    """Return the keys of an object, at any depth but in what users choose themselves, that summary.md lacks."""
    if isinstance(found, list):
        return set[str]().union(*map(undocumented, found))
    if not isinstance(found, dict):
        return set()
    inner = [value for key, value in found.items() if key not in _FREE]
    return {key for key in found if f"`{key}`" not in _PAGE} | undocumented(inner)


_PAGE = (ROOT / "docs" / "results" / "summary.md").read_text()
_FREE = {"settings", "versions", "evidence", "context", "stats"}
