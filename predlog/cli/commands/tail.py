"""`predlog tail`: the last records of a run as the console shows them, and those that come."""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any, Literal

import predlog._runtime.first_imports  # noqa: F401 - before rich is imported

# isort: split
from rich.console import Console as RichConsole

from predlog.cli import say
from predlog.cli.arguments import ALL
from predlog.errors import NoRecordsError
from predlog.reading import paths
from predlog.reading.filters import Asked, Selection
from predlog.reading.lines import Lines, block
from predlog.reading.shards import ROOM, STEPS, Joiner
from predlog.reading.tail import Follower, Read, Wanted, latest, reads
from predlog.reading.tails import as_read, joined, last_joined, merged
from predlog.reading.words import counted
from predlog.records.codec import escape, to_event
from predlog.records.schema import Comparison, Part, Record, Run
from predlog.sinks.console import Console, one_line
from predlog.sinks.terminal.style import WARNING

_MANY = 10
# Not shown, these still say which errors are open where what is shown was recorded.
_BESIDE = (b'{"event":"predlog.finding"', b'{"event":"predlog.run"')
# Seconds between two looks at the files, and at the folder for those of more ranks.
_PAUSE, _FOLDER = 0.02, 1.0
# More files are opened for each look: a process may have a few hundred open.
_MOST_OPEN = 64
# Carriage returns and tabs, which JSON allows outside of texts, and blanks.
_BLANKS = bytes.maketrans(b"\t\r", b"  ")
# Comparisons that are drawn at once: of a crafted file, any number may be of one step.
_MOST_TOGETHER = 16
_TOO_LATE = "their comparisons were shown without them; `predlog tail FOLDER` joins them"
# What is shown, and how many of it at most, the last ones.
_Show = Callable[[Iterable[Read], int | None], None]


def run(arguments: argparse.Namespace) -> int:
    """Show what there is; with `--follow`, also what is written from then on, until interrupted.

    Returns 1 if there are records, and none of them is what was asked for.
    """
    selection = _wanted(arguments)
    chosen = selection if arguments.json else _drawn(selection)
    wanted = Asked(chosen)
    show = _lines(wanted) if arguments.json else _tables(wanted, "full" if arguments.full else "compact")
    many = _MANY if arguments.lines is None else arguments.lines
    if arguments.path == paths.STDIN:
        if sys.stdin is None:
            raise NoRecordsError("standard input is closed")
        joiner = Joiner(sys.maxsize, ROOM)
        comes = chain(joined(reads(Lines(paths.STDIN_FILE)), joiner), _ended(joiner))
        if arguments.lines in {None, ALL}:
            for read in comes:  # shown one by one, so that none waits for the next
                show([read], None)
        else:
            show(latest(comes, many, wanted, _BESIDE), many)
        if joiner.late:
            say(f"{counted(joiner.late, 'part')} came after more than {ROOM >> 20} MiB of others: {_TOO_LATE}")
    else:

        def takes(record: Record) -> bool:
            if not isinstance(record, Part):
                return wanted(record)
            wanted.note(record)
            return selection.may_take(record)

        _of_files(arguments, many, (wanted, chosen, takes), show)
    if many and not wanted.fitting:
        _say_why_nothing(arguments.path, wanted)
        return 1
    return 0


def _of_files(
    arguments: argparse.Namespace, many: int, which: tuple[Asked, Wanted, Wanted], show: _Show
) -> None:  # fmt: skip
    wanted, chosen, takes = which
    files = _files(arguments.path, waits=arguments.follow)
    packed = [file for file in files if file.suffix in paths.PACKED]
    follower = partial(Follower, stays_open=len(files) <= _MOST_OPEN, block=block(max(len(files), 1)))
    followed = {file: follower(file) for file in files if file not in packed}
    if many == ALL:
        sources: list[Iterable[Read]] = [reads(Lines(file)) for file in packed]
        sources += map(Follower.poll, followed.values())
        joiner = Joiner(STEPS)
        shown = joined(merged(sources), joiner)
        show(shown if arguments.follow else chain(shown, _ended(joiner)), None)
    else:
        found, joiner, ends = last_joined(files, many, chosen, takes, _BESIDE)
        followed |= {file: follower(file, ends[file]) for file in followed}
        show(found if arguments.follow else chain(found, _ended(joiner)), many)
    if arguments.follow:
        if many and wanted.asked and not wanted.fitting:
            _say_why_nothing(arguments.path, wanted)
        _follow(arguments.path, followed, joiner, show, follower)
    _say_damage(followed.values())


def _say_why_nothing(path: str, wanted: Asked) -> None:
    """Report what there is, if nothing of it was asked for: a name may be mistyped."""
    if not wanted.asked:
        raise NoRecordsError(f"{path} holds no records: is it a predictions.jsonl, and has the run begun?")
    say(f"nothing in {path} matches: {wanted.there()}")


def _wanted(arguments: argparse.Namespace) -> Selection:
    return Selection(
        streams=arguments.stream and frozenset(arguments.stream),
        codebooks=arguments.codebook and frozenset(arguments.codebook),
        ranks=arguments.rank and frozenset(arguments.rank),
        samples=arguments.sample and frozenset(arguments.sample),
        sample_ids=arguments.sample_id and frozenset(arguments.sample_id),
        steps=arguments.step or (None, None),
        only=arguments.only,
        attempt=None if arguments.attempt == "all" else arguments.attempt,
    )


def _drawn(selection: Selection) -> Callable[[Record], bool]:
    """Leave out what no table, nor line, is drawn of: the last line of an attempt that lacks nothing."""

    def wanted(record: Record) -> bool:
        is_silent = isinstance(record, Run) and record.stats is not None and not _missing(record.stats)
        return not is_silent and selection(record)

    return wanted


def _files(path: str, *, waits: bool) -> list[Path]:
    try:
        return paths.files(path)
    except NoRecordsError as nothing:
        if not waits or paths.is_stream(Path(path)):
            raise
        say(f"{nothing}: waiting for it")
        return []


def _ended(joiner: Joiner) -> Iterator[Read]:
    return map(as_read, joiner.end())


def _coming(followed: Iterable[Follower], joiner: Joiner) -> Iterator[Read]:
    """Yield what has come to files since the last look, and what has waited for parts long enough."""
    now = time.monotonic()
    yield from joined(chain.from_iterable(map(Follower.poll, followed)), joiner, now)
    yield from map(as_read, joiner.settle(now))


def _follow(
    path: str, followed: dict[Path, Follower], joiner: Joiner, show: _Show, follower: Callable[[Path], Follower]
) -> None:
    looked = time.monotonic()
    while True:
        show(_coming(followed.values(), joiner), None)
        _say_damage(followed.values())
        if time.monotonic() - looked >= (_FOLDER if followed else _PAUSE):
            looked = time.monotonic()
            with suppress(NoRecordsError):
                for file in paths.files(path):
                    if file.suffix not in paths.PACKED and file not in followed:
                        is_many = len(followed) >= _MOST_OPEN
                        followed[file] = Follower(file, stays_open=False) if is_many else follower(file)
        time.sleep(_PAUSE)


def _lines(wanted: Asked) -> _Show:
    """Pass lines on as they are in the file, but for what steers a terminal: of that, the same JSON is printed."""

    def show(found: Iterable[Read], many: int | None) -> None:
        for (_, line), is_shown in _chosen(found, many, wanted):
            if is_shown:
                sys.stdout.buffer.write(escape(line).translate(_BLANKS) + b"\n")
        sys.stdout.buffer.flush()

    return show


def _tables(wanted: Asked, form: Literal["compact", "full"]) -> _Show:
    console = RichConsole(highlight=False, markup=False, emoji=False)
    draw = Console(console, form=form, patience=None)

    def show(found: Iterable[Read], many: int | None) -> None:
        for _, group in groupby(_chosen(found, many, wanted), key=_pair):
            while together := [*islice(group, _MOST_TOGETHER)]:
                shown = [(record, to_event(record), is_shown) for (record, _), is_shown in together]
                draw.expect([event for _, event, is_shown in shown if is_shown])
                for record, event, is_shown in shown:
                    if is_shown and isinstance(record, Run) and record.stats is not None:
                        draw.show(one_line(_closing(record.stats), WARNING, console), console)
                    elif is_shown:
                        draw(None, "info", event)
                    elif not isinstance(record, Comparison):
                        draw.remember(event)

    return show


def _pair(chosen: tuple[Read, bool]) -> tuple[object, ...]:
    """Return what the comparisons of one pair have in common; they are drawn together."""
    (record, _), is_shown = chosen
    if not is_shown or not isinstance(record, Comparison):
        return ()
    return record.attempt, record.rank, record.step, record.stream


def _missing(stats: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an attempt's last line counts as missing; if nothing is missing, the line is not shown."""
    return {name: stats[name] for name in ("dropped", "failed", "pending") if stats.get(name)}


def _closing(stats: Mapping[str, Any]) -> str:
    listed = ", ".join(f"{count} {name}" for name, count in _missing(stats).items())
    submitted = f"{stats['submitted']} comparisons" if "submitted" in stats else "the comparisons"
    return f"predlog: closed; of {submitted} {listed}"


def _chosen(found: Iterable[Read], many: int | None, wanted: Asked) -> Iterator[tuple[Read, bool]]:
    """Yield each with whether it is shown: it is wanted and, unless `many` is None, among the last so many of those."""
    passed = 0
    if many is not None:
        found = list(found)
        passed = sum(wanted(read.record) for read in found) - many
    for read in found:
        is_wanted = wanted(read.record)
        passed -= is_wanted
        yield read, is_wanted and passed < 0


def _say_damage(followed: Iterable[Follower]) -> None:
    for follower in followed:
        for one in follower.damage:
            say(f"{one.file} {one}")
        follower.damage.clear()
