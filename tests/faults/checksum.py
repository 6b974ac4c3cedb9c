"""No bit of a line can flip without the reader's word: the record comes back as it was, or the damage is named."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from predlog.records import codec
from tests import events
from tests.faults.experiment import Figure, Size, equals, told
from tests.faults.lines import Reading


def run(size: Size) -> Iterator[Figure]:
    """Flip every bit of a comparison with ten tokens and texts; at full size, of a line of every other kind, too."""
    kinds = {"comparison": _comparison()}
    if size.is_full:
        kinds |= {"run": events.run(), "finding": events.finding(), "gap": events.gap()}
    for kind, event in kinds.items():
        yield from _flipped(kind, codec.to_line(event))


def _flipped(kind: str, line: bytes) -> Iterator[Figure]:
    before, after = (codec.to_line(events.comparison(step=step)) for step in (1, 2))
    flips = undetected = unharmed = parsed = 0
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "predictions.jsonl")
        path.write_bytes(before + line + after)
        sound = Reading.of(path)
        assert (len(sound.records), sound.warned) == (3, [])
        file = os.open(path, os.O_WRONLY)
        for at in range(len(line)):
            for bit in range(8):
                flipped = bytes([line[at] ^ 1 << bit])
                os.pwrite(file, flipped, len(before) + at)
                reading = Reading.of(path)
                flips += 1
                undetected += not any("line 2" in warning for warning in reading.warned)
                undetected += any(record not in sound.records for record in reading.records)
                unharmed += sound.records[0] in reading.records
                parsed += _is_json(line[:at] + flipped + line[at + 1 :])
            os.pwrite(file, line[at : at + 1], len(before) + at)
        os.close(file)
    yield equals(f"{kind}: single bits flipped, one file each", flips, 8 * len(line))
    yield equals(f"{kind}: flips of which the reader says nothing, or gives another record", undetected, 0)
    yield equals(f"{kind}: files in which the line before is still read", unharmed, flips)
    yield told(f"{kind}: flips that leave valid JSON behind", parsed)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _comparison() -> dict[str, object]:
    texts = [" the", "表示", "\u202e", "\x1b[31m", "e\u0301", "\ud83d", '"', "\\", "\n", " "]
    tokens = [
        events.token(60 + number, number, number + number % 2, label_text=text, prediction_text=text)
        for number, text in enumerate(texts)
    ]
    return events.comparison(tokens=tokens)
