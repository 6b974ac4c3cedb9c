"""A file that can't be written costs the lines of that time and nothing else, and what it lacks is reported, once."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.faults.experiment import Figure, Size, at_most, equals, told
from tests.faults.interrupted import Seen
from tests.faults.lines import Lines
from tests.faults.outages import OUTAGES
from tests.faults.training import Training, fingerprints_without_predlog

_NO_GAPS = {
    "folder removed", "failing fdatasync", "unsupported fdatasync", "server hangs", "short writes", "second sink full",
}  # fmt: skip
# Seconds that a step may take, also on a busy machine; those outside of predlog take milliseconds.
_SLOWEST = 0.5


@dataclass(frozen=True, slots=True)
class _Outcome:
    kind: str
    code: int
    output: str
    errors: str
    kept: Path

    @property
    def seen(self) -> Seen:
        return Seen(**json.loads(self.output))

    @property
    def foreign_lines(self) -> int:
        return sum(not line.startswith("predlog: ") for line in self.errors.splitlines())


def run(size: Size) -> Iterator[Figure]:
    """Interrupt trainings, each in its own way; at full size, the first for so long that a rest takes 60 s."""
    seconds = {kind: size.of(3.0, 1.1) for kind in OUTAGES}
    seconds["size limit"] = size.of(66.0, 1.1)
    # Longer than a rest may be that is taken in such an outage.
    patience = size.of(90.0, 8.0)
    with tempfile.TemporaryDirectory() as directory:
        wanted = [kind for kind in OUTAGES if size.is_full or not OUTAGES[kind].is_relative]
        possible = {kind: lacks for kind in wanted if (lacks := _lacks(kind)) is None}
        shim = _compiled(Path(directory)) if _has_compiler() else None
        with ThreadPoolExecutor(6) as pool:
            outcomes = pool.map(
                lambda kind: _interrupted(kind, seconds[kind], patience, Path(directory), shim), possible
            )
            for outcome in outcomes:
                yield from _judged(outcome)
    for kind in {*wanted} - possible.keys():
        yield told(f"{kind}: not done", 1, note=_lacks(kind) or "")


def _lacks(kind: str) -> str | None:
    outage = OUTAGES[kind]
    if outage.needs_mount and (os.geteuid() or shutil.which("unshare") is None):
        return "mounting a file system needs root and unshare"
    return "no C compiler" if outage.needs_shim and not _has_compiler() else None


def _has_compiler() -> bool:
    return shutil.which("cc") is not None


def _compiled(directory: Path) -> Path:
    shim = directory / "failing_writes.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O1", "-o", shim, Path(__file__).with_name("failing_writes.c"), "-ldl"], check=True
    )
    return shim


def _interrupted(kind: str, seconds: float, patience: float, directory: Path, shim: Path | None) -> _Outcome:
    place = directory / kind.replace(" ", "-").replace(",", "")
    place.mkdir()
    kept = place / "kept.jsonl"
    mounted = place / "mounted"
    mounted.mkdir()
    command: list[str | Path] = [sys.executable, "-m", "tests.faults.interrupted", kind, mounted / "run", kept]
    command += [str(seconds), str(patience)]
    environment = dict(os.environ)
    if OUTAGES[kind].needs_shim:
        environment |= {"LD_PRELOAD": str(shim), "PREDLOG_TESTS_FAULT": str(place / "fault")}
    if OUTAGES[kind].needs_mount:
        # A mount of the process's own: whatever becomes of it, it ends with it.
        mount = f'mount -t tmpfs -o size=512k predlog "{mounted}" && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", mount, "sh", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return _Outcome(kind, done.returncode, done.stdout, done.stderr, kept)


def _judged(outcome: _Outcome) -> Iterator[Figure]:
    kind = outcome.kind
    if outcome.code:
        yield equals(f"{kind}: exit code", outcome.code, 0, note=outcome.errors[-200:])
        return
    seen, lines = outcome.seen, Lines.of(outcome.kept)
    calls = seen.steps * Training.samples
    present = seen.removed + len(lines.all_of("comparison"))
    lacking = calls - seen.stats["filtered"] - present
    broken = [what for what, holds in _promises(outcome, calls, lines).items() if not holds]
    yield equals(f"{kind}: what is not as without an outage", len(broken), 0, note="; ".join(broken))
    yield equals(f"{kind}: claimed as written, less what is in the file", seen.stats["written"] - present, 0)
    yield equals(
        f"{kind}: missing by the gap records, less what is", lines.missing - lacking, 0,
        note=f"{lacking} of {calls} are",
    )  # fmt: skip
    yield at_most(f"{kind}: the slowest step while it lasted", seen.slowest, _SLOWEST, "s")
    yield _gaps(kind, len(lines.all_of("gap")))
    if kind == "second sink full":
        yield _failed_sinks(kind, seen, calls)
    else:
        yield _recovery(kind, seen)


def _promises(outcome: _Outcome, calls: int, lines: Lines) -> dict[str, bool]:
    seen, stats = outcome.seen, outcome.seen.stats
    accounted = sum(stats[key] for key in ("written", "filtered", "dropped", "failed", "pending"))
    return {
        "the weights": seen.fingerprint == next(itertools.islice(fingerprints_without_predlog(), seen.steps, None)),
        "stderr has more than predlog's own lines": outcome.foreign_lines == 0,
        "the outage never began": seen.begun,
        "the recorder did not close": seen.closed,
        "comparisons pending after close": stats["pending"] == 0,
        "comparisons not accounted for": accounted == stats["submitted"] == calls,
        "damaged lines": not lines.damaged,
    }


def _gaps(kind: str, count: int) -> Figure:
    return equals(f"{kind}: gap records", count, 0 if kind in _NO_GAPS else 1)


def _failed_sinks(kind: str, seen: Seen, calls: int) -> Figure:
    failed = [one["failed"] for one in seen.stats.get("sinks", {}).values() if not one["written"]]
    return equals(f"{kind}: failures that the full sink is charged with", sum(failed), calls)


def _recovery(kind: str, seen: Seen) -> Figure:
    took = float("inf") if seen.recovered_after is None else seen.recovered_after
    return at_most(f"{kind}: from the outage's end to the next comparison written", took, 60, "s")
