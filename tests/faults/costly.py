"""Files that are made to cost whoever reads them: few bytes that unpack to many, and more of everything than a run has.

The rule: a command takes 256 MiB and ten times the file's size at most, ends by itself, and has few files open at once.
"""

import gzip
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import zstandard

from predlog.records import codec
from tests import events
from tests.faults.experiment import Figure, Size, at_most, equals

MEBI = 1 << 20
# At the end, on stderr, the most memory that it took, in KiB; no more files than these may be open.
_MEASURED = """
import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from predlog.cli.main import main; status = main(sys.argv[1:])
sys.stderr.write(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0]); sys.exit(status)
"""
_COMMANDS = ("summary", "check", "diff", "tail -n all --json", "tail", "export -o out.csv", "report -o out.html")
_SECONDS = 300
_TOKENS = [events.token(1, 2, 3)]


def run(size: Size) -> Iterator[Figure]:
    """Ask each command about each file; at reduced size, some of them about small ones."""
    commands = size.of(_COMMANDS, ("summary", "tail"))
    for kind, made in _files(size).items():
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder, "run")
            place.mkdir()
            made(place)
            given = sum(file.stat().st_size for file in place.iterdir())
            ends = [_ask(command.split(), place, folder) for command in commands]
            worst = max(memory for _, memory in ends)
            note = f"{worst / MEBI:,.0f} MiB for {given / MEBI:,.1f} MiB"
            yield at_most(f"{kind}: memory without 10 × the file", (worst - 10 * given) / MEBI, 256, "MiB", note)
            failed = sum(status not in {0, 1} for status, _ in ends)
            yield equals(f"{kind}: commands that did not end by themselves", failed, 0, f"of {len(ends)}")


def _files(size: Size) -> dict[str, Callable[[Path], None]]:
    many, attempts = size.of(50_000, 500), size.of(10_000, 100)
    head = codec.to_line(events.run()) + codec.to_line(events.comparison())
    unpacked = size.of(1000, 64)
    return {
        "zstd of zeros": lambda place: _zstd(place, head, bytes(MEBI), unpacked),
        "zstd of lines": lambda place: _zstd(place, head, codec.to_line(events.comparison(seq=2)) * 430, unpacked),
        "gzip of zeros": lambda place: _gzip(place, head, bytes(MEBI), unpacked),
        "attempts that overlap": lambda place: _plain(place, _attempts(attempts)),
        "attempts side by side": lambda place: _plain(place, _attempts(attempts, turns=True)),
        "streams": lambda place: _plain(
            place, (events.comparison(stream=f"s{seq}", seq=seq, tokens=_TOKENS) for seq in range(many))
        ),
        "findings": lambda place: _plain(
            place,
            chain(
                [events.comparison(seq=0, tokens=_TOKENS)],
                (events.finding(seq=seq + 1, step=seq, codebook=seq) for seq in range(many)),
            ),
        ),
        "zstd of streams": lambda place: _packed(
            place, (events.comparison(stream=f"s{seq}", seq=seq, tokens=_TOKENS) for seq in range(4 * many))
        ),
        "zstd of findings": lambda place: _packed(
            place,
            chain(
                [events.comparison(seq=0, tokens=_TOKENS)],
                (events.finding(seq=seq + 1, step=seq, stream=f"s{seq}") for seq in range(4 * many)),
            ),
        ),
        "zstd of starts": lambda place: _packed(
            place,
            chain([events.comparison(seq=1, tokens=_TOKENS)], (events.run(attempt=seq + 1) for seq in range(4 * many))),
        ),
        "zstd of one step": lambda place: _packed(
            place, (events.comparison(sample=seq, seq=seq, tokens=_TOKENS) for seq in range(4 * many))
        ),
        "codebooks": lambda place: _plain(
            place, (events.comparison(codebook=seq, seq=seq, tokens=_TOKENS) for seq in range(many))
        ),
        "ranks": lambda place: _ranks(place, size.of(1100, 100)),
    }


def _ask(command: list[str], place: Path, folder: str) -> tuple[int, int]:
    name, *more = command
    paths = [str(place)] * (1 + (name == "diff"))
    call = [sys.executable, "-c", _MEASURED, name, *paths, *more]
    done = subprocess.run(
        call, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False, timeout=_SECONDS
    )
    if "Traceback" in done.stderr:
        raise RuntimeError(done.stderr[-1000:])
    return done.returncode, int(done.stderr.split()[-1]) << 10


def _attempts(number: int, *, turns: bool = False) -> Iterator[dict[str, Any]]:
    places = [(attempt, step) for attempt in range(1, number + 1) for step in range(3)]
    for attempt, step in sorted(places, key=lambda place: place[1]) if turns else places:
        yield events.comparison(attempt=attempt, step=step, seq=step, tokens=_TOKENS)


def _plain(place: Path, made: Iterable[dict[str, Any]], rank: int = 0) -> None:
    with (place / f"predictions-rank{rank}.jsonl").open("wb") as file:
        file.writelines(map(codec.to_line, made))


def _ranks(place: Path, number: int) -> None:
    for rank in range(number):
        _plain(place, (events.comparison(rank=rank, seq=seq, step=seq, tokens=_TOKENS) for seq in range(3)), rank)


def _packed(place: Path, made: Iterable[dict[str, Any]]) -> None:
    with (place / "predictions.jsonl.zst").open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) as packed:
        for event in made:
            packed.write(codec.to_line(event))


def _zstd(place: Path, head: bytes, block: bytes, times: int) -> None:
    with (place / "predictions.jsonl.zst").open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) as packed:
        packed.write(head)
        for _ in range(times):
            packed.write(block)


def _gzip(place: Path, head: bytes, block: bytes, times: int) -> None:
    with gzip.open(place / "predictions.jsonl.gz", "wb", 1) as packed:
        packed.write(head)
        for _ in range(times):
            packed.write(block)
