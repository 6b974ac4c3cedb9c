"""Runs that begin again: whatever the launcher's environment, the last line and the clock, attempts are told apart.

The rule: no number of a launcher's makes a line that readers refuse; the next attempt has the next number however long
the last line is; and `tail -f` goes on with a rerun, wherever its clock stands.
"""

import datetime as dt
import os
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr
from io import StringIO
from itertools import product
from pathlib import Path

from predlog import Recorder
from predlog.reading.tail import Follower
from predlog.records import codec
from tests import events
from tests.faults.experiment import Figure, Size, equals
from tests.faults.readback import contents

_NAMES = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "RANK", "LOCAL_RANK", "SLURM_PROCID")
_NUMBERS = ("0", "-1", "00", "", " 1", "1.5", "x", "9" * 20, "9" * 5000, "2147483648", "٣", "²", "1e3", "0x1")
_MEBI = 1 << 20


def run(size: Size) -> Iterator[Figure]:
    """Start with each number in each name; behind last lines of each length; with clocks that are behind."""
    cases = [*product(_NAMES, _NUMBERS)]
    bad = [f"{name}={value[:20]}" for name, value in cases if not _is_sound(name, value)]
    yield equals(f"{len(cases)} launchers: files without an undamaged run", len(bad), 0, ", ".join(bad))
    lengths = size.of(range(1, 16), (3, 5, 15))
    wrong = [
        length for length, is_torn in product(lengths, (False, True)) if _attempt_after(length * _MEBI, is_torn) != 2
    ]
    yield equals(f"last lines of up to {max(lengths)} MiB: attempts that are not the next", len(wrong), 0, str(wrong))
    behind = [dt.timedelta(seconds=seconds) for seconds in (0, 1e-6, 1, 3600, 1e8, -1e-6, -1, -1e8)]
    ways = [*product(behind, ("removed", "emptied", "replaced"), (True, False))]
    lost = sum(_not_followed(*way) for way in ways)
    yield equals(f"{len(ways)} reruns whose clocks differ: records that tail -f does not show", lost, 0)


def _is_sound(name: str, value: str) -> bool:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        with tempfile.TemporaryDirectory() as folder:
            with redirect_stderr(StringIO()), Recorder(folder, every=1, ranks="all", console=False) as recorder:
                recorder.compare(*events.pair(), 0)
            found = contents(Path(folder))
            return bool(found.runs and found.comparisons) and not found.faults
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def _attempt_after(length: int, is_torn: bool) -> int:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "predictions.jsonl")
        long = codec.to_line(events.comparison(run=Path(folder).name, context={"a": "x" * length}))
        file.write_bytes(codec.to_line(events.run(run=Path(folder).name)) + (long[:-10] if is_torn else long))
        with redirect_stderr(StringIO()), Recorder(folder, every=1, console=False) as recorder:
            recorder.compare(*events.pair(), 0)
        last = file.read_bytes().rpartition(b"\n{")[2]
        return int(last.partition(b'"attempt":')[2].partition(b",")[0])


def _not_followed(behind: dt.timedelta, way: str, has_recorder: bool) -> int:
    """Return how many records of a rerun were not shown, or were shown twice."""
    start = dt.datetime(2026, 1, 2, tzinfo=dt.timezone.utc)
    first, second = (
        [
            codec.to_line(
                events.comparison(
                    seq=seq, step=seq, recorder=recorder if has_recorder else None,
                    timestamp=(begin + dt.timedelta(milliseconds=seq)).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                )
            )
            for seq in range(8)
        ]
        for recorder, begin in (("a", start), ("b", start - behind - dt.timedelta(microseconds=7)))
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "predictions.jsonl")
        file.write_bytes(b"".join(first))
        follower = Follower(file)
        shown = [one.record.seq for one in follower.poll()]
        if way == "removed":
            file.unlink()
            shown += [one.record.seq for one in follower.poll()]
        elif way == "emptied":
            file.write_bytes(b"")
        else:
            file.rename(file.with_suffix(".old"))
        for lines in (second[:3], second[3:]):
            with file.open("ab") as opened:
                opened.write(b"".join(lines))
            shown += [one.record.seq for one in follower.poll()]
        follower.close()
    return 16 - len(shown) if len(shown) < 16 else len(shown) - 16
