"""`predlog tail`: the last records of a run as the console shows them, and those that come."""

import argparse
import heapq
import sys
import time
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import TypeVar

from rich.console import Console as RichConsole

from predlog import places
from predlog.ending import Read, last, reads
from predlog.errors import NoRecordsError
from predlog.following import Follower
from predlog.lines import Lines
from predlog.options import ALL
from predlog.records import to_event
from predlog.selecting import Selection
from predlog.sinks.console import Console
from predlog.sinks.visible import encodable, visible

_MANY = 10
# Seconds between two looks at the files, and at the folder for those of more ranks.
_PAUSE, _FOLDER = 0.02, 1.0

_Item = TypeVar("_Item")
_Show = Callable[[Iterable[Read]], None]


def run(arguments: argparse.Namespace) -> int:
    """Show what is there; with `--follow`, go on until interrupted."""
    wanted, show = _wanted(arguments), _lines if arguments.json else _tables()
    many = _MANY if arguments.lines is None else arguments.lines
    if arguments.path == places.STDIN:
        comes = reads(Lines(places.STDIN_FILE), wanted)
        show(comes if arguments.lines in {None, ALL} else [*comes][-many or sys.maxsize :])
        return 0
    files = _files(arguments.path, waits=arguments.follow)
    packed = [file for file in files if file.suffix in places.PACKED]
    followed = {file: Follower(file) for file in files if file not in packed}
    if many == ALL:
        show(_merged([*(reads(Lines(file), wanted) for file in packed), *map(_poll(wanted), followed.values())]))
    else:
        show(_last(files, followed, many, wanted))
    if arguments.follow:
        _follow(arguments.path, followed, wanted, show)
    _say_damage(followed.values())
    return 0


def _wanted(arguments: argparse.Namespace) -> Selection:
    return Selection(
        streams=_set(arguments.stream),
        codebooks=_set(arguments.codebook),
        ranks=_set(arguments.rank),
        samples=_set(arguments.sample),
        steps=arguments.step or (None, None),
        only=arguments.only,
    )


def _set(items: Iterable[_Item] | None) -> frozenset[_Item] | None:
    return None if items is None else frozenset(items)


def _files(path: str, *, waits: bool) -> list[Path]:
    try:
        return places.files(path)
    except NoRecordsError as nothing:
        if not waits:
            raise
        _say(f"{nothing}: waiting for it")
        return []


def _last(files: list[Path], followed: dict[Path, Follower], many: int, wanted: Selection) -> list[Read]:
    """Give the last records of all files together, and let each be followed from there."""
    found: list[Read] = []
    for file in files:
        here, end = last(file, many, wanted)
        found += here
        if file in followed:
            followed[file] = Follower(file, end)
    return sorted(found, key=_time)[-many:] if many else []


def _follow(path: str, followed: dict[Path, Follower], wanted: Selection, show: _Show) -> None:
    looked = time.monotonic()
    while True:
        show(chain.from_iterable(map(_poll(wanted), followed.values())))
        _say_damage(followed.values())
        if time.monotonic() - looked >= (_FOLDER if followed else _PAUSE):
            looked = time.monotonic()
            for file in _there(path):
                if file.suffix not in places.PACKED:
                    followed.setdefault(file, Follower(file))
        time.sleep(_PAUSE)


def _there(path: str) -> list[Path]:
    try:
        return places.files(path)
    except NoRecordsError:
        return []


def _poll(wanted: Selection) -> Callable[[Follower], Iterable[Read]]:
    return lambda follower: (read for read in follower.poll() if wanted(read.record))


def _merged(sources: list[Iterable[Read]]) -> Iterable[Read]:
    return heapq.merge(*sources, key=_time)


def _time(read: Read) -> str:
    return read.record.timestamp


def _lines(found: Iterable[Read]) -> None:
    """Pass lines on as they are in the file."""
    some = False
    for _, line in found:
        some = True
        sys.stdout.buffer.write(line + b"\n")
    if some:
        sys.stdout.buffer.flush()


def _tables() -> _Show:
    draw = Console(RichConsole(highlight=False, markup=False, emoji=False), patience=None)

    def show(found: Iterable[Read]) -> None:
        for record, _ in found:
            draw(None, "info", to_event(record))

    return show


def _say_damage(followed: Iterable[Follower]) -> None:
    for follower in followed:
        for one in follower.damage:
            _say(f"{one.file} {one}")
        follower.damage.clear()


def _say(text: str) -> None:
    sys.stderr.write(f"predlog: {encodable(visible(text, ' '), sys.stderr.encoding or 'utf-8')}\n")
