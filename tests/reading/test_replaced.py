"""Which records a later attempt has done again: the same as looking at each later attempt, in far fewer looks."""

import gzip
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predlog.reading import attempts
from predlog.reading.attempts import Part
from predlog.reading.lines import Lines
from predlog.reading.reader import Reading
from predlog.reading.replaced import Replaced
from predlog.reading.summary import Summary
from predlog.records import codec
from predlog.records.schema import Comparison, Finding, Gap
from tests import events

STEPS = st.integers(0, 12)
LINES = st.lists(
    st.tuples(st.integers(1, 5), st.sampled_from([None, "a", "b", "c"]), STEPS, STEPS, st.sampled_from("xyg")),
    max_size=40,
)


def line(attempt: int, recorder: str | None, first: int, last: int, kind: str) -> bytes:
    fields: dict[str, Any] = {"attempt": attempt, "recorder": recorder}
    if kind == "g":
        return codec.to_line(events.gap(first_step=min(first, last), last_step=max(first, last), **fields))
    return codec.to_line(events.comparison(step=first, stream=kind, **fields))


@given(LINES)
def test_it_is_what_looking_at_each_later_attempt_gives(drawn: list[tuple[int, str | None, int, int, str]]) -> None:
    """Whatever recorders have written, in whatever order, a record is replaced where a later attempt covers it."""
    lines = [line(*one) for one in drawn]
    found = attempts.parts(one[:-1] for one in lines)
    replaced = Replaced(found)
    for record in map(codec.from_line, lines):
        own = next(n for n, part in enumerate(found) if part.holds(record))
        later = [part for part in found[own + 1 :] if found[own].is_replaced_by(part)]
        assert replaced(record) == any(part.covers(record) for part in later)


def lines_run(run: Callable[[], object]) -> int:
    """Return how many lines of predlog's run while something does, those of each round of a loop among them."""
    count = 0

    def trace(frame: FrameType, what: str, _argument: object) -> Any:
        nonlocal count
        if "/predlog/" not in frame.f_code.co_filename:
            return None
        count += what == "line"
        return trace

    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(None)
    return count


def overlapping(number: int) -> Iterator[dict[str, Any]]:
    for attempt in range(1, number + 1):
        yield events.run(attempt=attempt)
        yield from (events.comparison(attempt=attempt, step=step, seq=step + 1) for step in range(3))


def staggered(number: int) -> Iterator[dict[str, Any]]:
    for attempt in range(1, number + 1):
        yield events.run(attempt=attempt)
        yield from (events.comparison(attempt=attempt, step=attempt + n, seq=n + 1) for n in range(3))


def resumed(number: int) -> Iterator[dict[str, Any]]:
    yield from (events.comparison(stream=f"s{seq}", step=1, seq=seq) for seq in range(2 * number))
    for attempt in range(2, 2 * number + 2):
        yield events.comparison(attempt=attempt, stream=f"s{attempt}", step=5, seq=0)


def alternating(number: int) -> Iterator[dict[str, Any]]:
    for seq in range(4):
        yield from (events.comparison(attempt=attempt, step=seq, seq=seq) for attempt in range(1, number + 1))


def streams(number: int) -> Iterator[dict[str, Any]]:
    yield from (events.comparison(stream=f"s{seq}", step=1, seq=seq) for seq in range(4 * number))


def processes(number: int) -> Iterator[dict[str, Any]]:
    yield from (events.comparison(rank=rank, step=1, seq=0) for rank in range(4 * number))


def findings(number: int) -> Iterator[dict[str, Any]]:
    yield from (events.finding(step=seq, seq=seq, codebook=seq) for seq in range(4 * number))


def explained(number: int) -> Iterator[dict[str, Any]]:
    codes = ["prediction-misaligned"] * 2 * number + ["labels-are-inputs"] * 2 * number
    yield from (events.finding(step=seq, seq=seq, codebook=seq, code=code) for seq, code in enumerate(codes))


def gone(number: int) -> Iterator[dict[str, Any]]:
    for seq in range(4 * number):
        is_gone = seq >= 2 * number
        fields: dict[str, Any] = {"level": "info", "evidence": {"since": -1}} if is_gone else {}
        yield events.finding(step=seq, seq=seq, **fields)


@pytest.mark.parametrize("packing", ["", ".gz"])
@pytest.mark.parametrize(
    "make", [overlapping, staggered, resumed, alternating, streams, processes, findings, explained, gone]
)
def test_the_work_is_linear(tmp_path: Path, make: Callable[[int], Iterator[dict[str, Any]]], packing: str) -> None:
    """Four times as many attempts, streams or findings are at most five times as much work."""
    pack = gzip.compress if packing else bytes

    def work(number: int) -> int:
        file = tmp_path / f"{number}.jsonl{packing}"
        file.write_bytes(pack(b"".join(map(codec.to_line, make(number)))))
        made: list[Summary] = []

        def summarize() -> None:
            made.append(Summary.of(Reading(file, warns=False)))
            assert made[0].curves or made[0].findings

        return lines_run(summarize)

    assert work(400) < 5 * work(100)


@pytest.mark.parametrize("packing", ["", ".gz"])
def test_attempts_whose_lines_alternate_are_read_once(tmp_path: Path, packing: str) -> None:
    """A file of very many attempts side by side is read twice, whatever their number, and gives what is valid."""
    pack = gzip.compress if packing else bytes
    file = tmp_path / f"predictions.jsonl{packing}"
    file.write_bytes(pack(b"".join(map(codec.to_line, alternating(50)))))
    found = attempts.parts(Lines(file))
    assert attempts.is_costly(found, is_packed=bool(packing))
    records = [*Reading(file, warns=False)]
    assert [(record.attempt, record.seq) for record in records] == [(50, seq) for seq in range(4)]
    assert all(isinstance(record, Comparison | Finding | Gap) for record in records)
    assert not attempts.is_costly([Part(1, line=1, last=9, lines=9), Part(2, line=10, last=20)], is_packed=False)
