"""What a file holds: read byte by byte as records.md says, without predlog, and as `predlog.read` tells it."""

import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

import predlog
from predlog.records.schema import WholeRecord


def each(path: Path) -> Iterator[dict[str, Any] | None]:
    """Yield what each line holds, None for a damaged one; a file that is not there has no lines."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            body, _, rest = line.rpartition(b',"crc":"')
            yield orjson.loads(body + b"}") if rest == b'%08x"}\n' % zlib.crc32(body) else None


@dataclass(frozen=True, slots=True)
class Lines:
    """A file's undamaged lines in order, and the numbers, from 1, of the damaged ones, as one without its end is."""

    whole: list[dict[str, Any]]
    damaged: list[int]

    @classmethod
    def of(cls, path: Path) -> "Lines":
        """Read a file; one that is not there holds nothing."""
        whole, damaged = [], []
        for number, line in enumerate(each(path), 1):
            if line is None:
                damaged.append(number)
            else:
                whole.append(line)
        return cls(whole, damaged)

    def all_of(self, kind: str) -> list[dict[str, Any]]:
        """Return the lines of one kind: run, comparison, finding, gap."""
        return [line for line in self.whole if line["event"] == f"predlog.{kind}"]

    @property
    def missing(self) -> int:
        """How many comparisons the gap records say are not here."""
        return sum(gap["count"] for gap in self.all_of("gap"))


@dataclass(frozen=True, slots=True)
class Reading:
    """The records that `predlog.read` gives, and its warnings."""

    records: list[WholeRecord]
    warned: list[str]

    @classmethod
    def of(cls, path: Path) -> "Reading":
        """Read a file, or a folder."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = list(predlog.read(path, attempt="all"))
        return cls(found, [str(one.message) for one in caught])
