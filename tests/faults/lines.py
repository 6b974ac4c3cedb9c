"""What a file holds: read byte by byte as docs/records.md says, without predlog, and as `predlog.read` tells it."""

import io
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

import predlog
from predlog.records import Record


@dataclass(frozen=True, slots=True)
class Lines:
    """A file's undamaged lines in order, and the numbers, from 1, of the damaged ones, as one without its end is."""

    whole: list[dict[str, Any]]
    damaged: list[int]

    @classmethod
    def of(cls, path: Path) -> "Lines":
        """Read a file; one that is not there holds nothing."""
        whole, damaged = [], []
        data = path.read_bytes() if path.exists() else b""
        for number, line in enumerate(io.BytesIO(data), 1):
            body, _, rest = line.rpartition(b',"crc":"')
            if rest == b'%08x"}\n' % zlib.crc32(body):
                whole.append(orjson.loads(body + b"}"))
            else:
                damaged.append(number)
        return cls(whole, damaged)

    def all_of(self, kind: str) -> list[dict[str, Any]]:
        """Give the lines of one kind: run, comparison, finding, gap."""
        return [line for line in self.whole if line["event"] == f"predlog.{kind}"]

    @property
    def missing(self) -> int:
        """How many comparisons the gap records say are not here."""
        return sum(gap["count"] for gap in self.all_of("gap"))


@dataclass(frozen=True, slots=True)
class Reading:
    """The records that `predlog.read` gives, and its warnings."""

    records: list[Record]
    warned: list[str]

    @classmethod
    def of(cls, path: Path) -> "Reading":
        """Read a file, or a folder."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = list(predlog.read(path))
        return cls(found, [str(one.message) for one in caught])
