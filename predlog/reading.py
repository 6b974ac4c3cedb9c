"""Files → typed records, in any process, while the run goes on; torch is never imported."""

import os
import time
import warnings
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from predlog.errors import RecordError, UnknownKindError
from predlog.records import Record, from_line

# Seconds. A line is one `write`, so one without its end is whole within less, or never.
_FRESH = 1.0


def read(path: str | os.PathLike[str]) -> Iterator[Record]:
    """Give every record of a file, or of the `predictions*.jsonl` files of a folder, in the order of the lines.

    Damaged lines are passed over, and named in one warning a file when it has been read. So is a last line without its
    end, which a kill has torn, unless the file was written to within the last second: then it is left for later.

    Raises:
        FileNotFoundError: There is nothing at `path`, or no such file in the folder.
    """
    place = Path(path)
    files = sorted(place.glob("predictions*.jsonl")) if place.is_dir() else [place]
    if not files:
        raise FileNotFoundError(f"{place} holds no predictions*.jsonl: is it the folder of a run?")
    if not place.exists():
        raise FileNotFoundError(f"{place} does not exist")
    return chain.from_iterable(map(_read_file, files))


def _read_file(file: Path) -> Iterator[Record]:
    damaged: list[str] = []
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                if time.time() - os.fstat(lines.fileno()).st_mtime > _FRESH:
                    damaged.append(f"line {number}: it has no end: a kill has torn it")
                break
            if line == b"\n":
                continue
            try:
                yield from_line(line)
            except UnknownKindError:
                continue
            except RecordError as error:
                damaged.append(f"line {number}: {error}")
    if damaged:
        more = f" (and {len(damaged) - 3} more)" if len(damaged) > 3 else ""
        lines_are = "1 line is" if len(damaged) == 1 else f"{len(damaged)} lines are"
        warnings.warn(f"{file}: {lines_are} passed over: {'; '.join(damaged[:3])}{more}", stacklevel=2)
