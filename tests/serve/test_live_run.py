"""A run that is followed shows what it shows when it is read anew, and tells pages in little what is new."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("bokeh")
pytest.importorskip("jinja2")
pytest.importorskip("starlette")

from predlog.reading.reader import Reading
from predlog.records.codec import from_line, to_line
from predlog.records.schema import Record
from predlog.report import curves
from predlog.report.contents import Contents
from predlog.report.film_strip import Strip, columns, named_samples
from predlog.serve.live_run import GoneError, LiveRun
from predlog.serve.order import Order
from predlog.serve.patch import patch
from tests import events


class Writer:
    """Writes a file of a run, line by line, as one recorder does."""

    def __init__(self, folder: Path, rank: int = 0, attempt: int = 1, recorder: str = "0a1b2c3d") -> None:
        self.file = folder / ("predictions.jsonl" if rank == 0 else f"predictions-rank{rank}.jsonl")
        self.fields = {"rank": rank, "attempt": attempt, "recorder": recorder, "run": "exp"}
        self.seq = 0

    def write(self, event: dict[str, Any]) -> None:
        with self.file.open("ab") as opened:
            opened.write(to_line({**event, **self.fields, "seq": self.seq}))
        self.seq += 1

    def compare(self, step: int, **fields: Any) -> None:
        self.write(events.comparison(step=step, **{**events.LATER, **fields}))


class Page:
    """What a page has, which knows only what it was sent."""

    def __init__(self, run: LiveRun) -> None:
        self.run = run
        self.load()

    def load(self) -> None:
        contents = self.run.contents
        self.rows = [*contents.strip.rows]
        self.samples = named_samples(self.rows)
        self.curves = curves.data([contents])
        self.loads = getattr(self, "loads", 0) + 1

    def take(self, changes: list[dict[str, Any] | None]) -> None:
        for change in changes:
            if change is None:
                self.load()
                continue
            if (strip := change["strip"]) is not None:
                kept = [row for start, end in strip["keep"] for row in self.rows[start:end]]
                many = len(strip["add"]["rows"]["step"])
                self.rows = [*kept, *self.run.contents.strip.rows[len(kept) :]]
                assert strip["add"]["rows"]["step"] == [row.step for row in self.rows[len(kept) :]]
                assert len(self.rows) == len(kept) + many
                self.samples = strip["samples"], applied(self.samples[1], strip["sample"])
            if change["curves"] is not None:
                self.curves = applied(self.curves, change["curves"])


def applied(old: Any, change: dict[str, Any]) -> Any:
    """Apply a patch as `rows.js` does."""
    if "set" in change:
        return change["set"]
    if "keep" in change:
        return [*old[: change["keep"]], *change["add"]]
    of = change["of"]
    if isinstance(old, list):
        return [applied(one, of[str(place)]) if str(place) in of else one for place, one in enumerate(old)]
    return {key: applied(one, of[key]) if key in of else one for key, one in old.items()}


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return what lets time pass for a run that is followed: it never waits by itself."""
    clock = [1000.0]

    class Time:
        monotonic = staticmethod(lambda: clock[0])

    for module in ("live_run", "news"):
        monkeypatch.setattr(f"predlog.serve.{module}.time", Time)

    def advance(seconds: float) -> None:
        clock[0] += seconds

    return advance


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "exp"
    made.mkdir()
    return made


def followed(folder: Path, most: int = 5000) -> LiveRun:
    run = LiveRun(folder.parent, folder, most)
    run.read()
    return run


def check(run: LiveRun, page: Page, folder: Path, most: int = 5000) -> None:
    """Compare what a page has with what a run shows that is read anew."""
    again = Contents(str(folder), folder.name, Strip(most))
    for record in Reading(folder, warns=False):
        again.add(record)
    assert columns([run.contents.strip], [""]) == columns([again.strip], [""])
    assert [row.seq for row in page.rows] == [row.seq for row in again.strip.rows]
    assert page.samples == named_samples(again.strip.rows)
    assert page.curves == {**curves.data([again]), "runs": page.curves["runs"]}
    assert run.contents.summary.curves == again.summary.curves
    assert run.contents.summary.attempts == again.summary.attempts
    assert run.contents.summary.findings == again.summary.findings


def test_what_is_written_is_added(folder: Path, now: Callable[[float], None]) -> None:
    """Records that are written one by one make the page that all of them make, and only the new ones are sent."""
    writer = Writer(folder)
    writer.write(events.run(run="exp"))
    for step in range(5):
        writer.compare(step, sample_id=f"s{step}")
    run = followed(folder)
    page = Page(run)
    for step in range(5, 12):
        for codebook in (0, 1):
            writer.compare(step, stream="text", codebook=None if step % 2 else codebook, sample_id=f"s{step % 5}")
        writer.write(events.finding(step=step, code="collapsed"))
        writer.write(events.gap(first_step=step, last_step=step))
        now(1)
        changes = run.look()
        page.take(changes)
        check(run, page, folder)
        assert [len(change["strip"]["add"]["rows"]["step"]) for change in changes if change] == [2]
    writer.write(events.run(run="exp", stats={"written": 12}))
    assert not run.is_ended
    now(1)
    page.take(run.look())
    assert run.is_ended
    check(run, page, folder)
    assert page.loads == 1
    assert run.look() == []


@pytest.mark.parametrize("most", [7, 40])
def test_steps_that_are_left_out(folder: Path, now: Callable[[float], None], most: int) -> None:
    """If the strip has no room for all steps, a page loses the same ones, and has the newest."""
    writer = Writer(folder)
    writer.compare(0)
    run = followed(folder, most)
    page = Page(run)
    for step in range(1, 90):
        for sample in range(1 + step % 3):
            writer.compare(step, sample=sample, sample_id=f"s{(step + sample) % 4}")
        now(1)
        page.take(run.look())
    check(run, page, folder, most)
    assert page.loads == 1
    assert page.rows[-1].step == 89


def test_a_line_that_is_half_written(folder: Path, now: Callable[[float], None]) -> None:
    """A record counts when its line is whole, in however many pieces it comes."""
    writer = Writer(folder)
    writer.compare(0)
    run = followed(folder)
    page = Page(run)
    line = to_line({**events.comparison(step=1, **events.LATER), **writer.fields, "seq": 1})
    for part in (line[:10], line[10:-1]):
        with writer.file.open("ab") as opened:
            opened.write(part)
        now(1)
        assert run.look() == []
    with writer.file.open("ab") as opened:
        opened.write(line[-1:])
    now(1)
    page.take(run.look())
    check(run, page, folder)


def truncated(writer: Writer) -> None:
    os.truncate(writer.file, 0)
    writer.seq = 0
    writer.compare(3)


def started_anew(writer: Writer) -> None:
    """Begin another attempt, which does the last steps again."""
    writer.fields |= {"attempt": 2, "recorder": "00000002"}
    writer.seq = 0
    writer.write(events.run(run="exp"))
    for step in range(2, 9):
        writer.compare(step)


def damaged(writer: Writer) -> None:
    with writer.file.open("ab") as opened:
        opened.write(b'{"event":"nonsense"}\n')
    writer.compare(9)


def another_rank(writer: Writer) -> None:
    other = Writer(writer.file.parent, rank=1)
    for step in range(7):
        other.compare(step)


def packed(writer: Writer) -> None:
    writer.file.with_suffix(".jsonl.gz").write_bytes(gzip.compress(writer.file.read_bytes()))
    writer.file.unlink()


def replaced(writer: Writer) -> None:
    other = writer.file.with_name("other")
    other.write_bytes(writer.file.read_bytes()[: writer.file.stat().st_size // 2].rpartition(b"\n")[0] + b"\n")
    other.replace(writer.file)


def a_hole(writer: Writer) -> None:
    writer.seq += 1
    writer.compare(10)


@pytest.mark.parametrize("happens", [truncated, started_anew, damaged, another_rank, packed, replaced, a_hole])
def test_what_can_not_be_added(folder: Path, now: Callable[[float], None], happens: Callable[[Writer], None]) -> None:
    """Whatever happens to the files, pages are told to load anew, and have then what the files have."""
    writer = Writer(folder)
    writer.write(events.run(run="exp"))
    for step in range(6):
        writer.compare(step)
    run = followed(folder)
    page = Page(run)
    happens(writer)
    for _ in range(20):
        now(1)
        page.take(run.look())
    check(run, page, folder)
    assert page.loads > 1
    assert run.contents.damage.total == len(run.contents.damage)
    if happens is damaged:
        assert run.contents.damage.total


def test_a_new_stream(folder: Path, now: Callable[[float], None]) -> None:
    """A stream that appears later is among the others where it belongs: pages load anew."""
    writer = Writer(folder)
    writer.compare(1)
    run = followed(folder)
    page = Page(run)
    writer.compare(2, stream="eval")
    now(1)
    page.take(run.look())
    assert page.loads == 2
    check(run, page, folder)


def test_a_run_that_vanishes(folder: Path, now: Callable[[float], None]) -> None:
    """If the files are no longer there, or lead out of the folder, that is an error, and nothing more is read."""
    writer = Writer(folder)
    writer.compare(1)
    run = followed(folder)
    outside = folder.parent.parent / f"{folder.parent.name}-outside"
    writer.file.rename(outside)
    writer.file.symlink_to(outside)
    now(5)
    with pytest.raises(GoneError):
        run.look()
    outside.unlink()


# --- several ranks ------------------------------------------------------------------------------------------------


def test_ranks_come_together(folder: Path, now: Callable[[float], None]) -> None:
    """Comparisons of several ranks at one step follow one another, in whatever order their files are written."""
    writers = [Writer(folder, rank) for rank in range(3)]
    for writer in writers:
        writer.write(events.run(run="exp", rank=writer.fields["rank"]))
        writer.compare(0)
    run = followed(folder)
    page = Page(run)
    for step in range(1, 6):
        for writer in (*writers[step % 3 :], *writers[: step % 3]):
            writer.compare(step)
            now(0.1)
            page.take(run.look())
    now(1)
    page.take(run.look())
    check(run, page, folder)
    assert page.loads == 1


def test_a_rank_that_is_late(folder: Path, now: Callable[[float], None]) -> None:
    """A rank whose records come long after those of the others is not waited for, and pages then load anew."""
    writers = [Writer(folder, rank) for rank in range(2)]
    for writer in writers:
        writer.compare(0)
    run = followed(folder)
    page = Page(run)
    for step in range(1, 4):
        writers[0].compare(step)
        for _ in range(2):
            now(1)
            page.take(run.look())
    assert page.rows[-1].step == 3
    for step in range(1, 4):
        writers[1].compare(step)
    for _ in range(4):
        now(1)
        page.take(run.look())
    check(run, page, folder)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.floats(0, 0.4)), max_size=40))
def test_the_order_is_that_of_the_steps(comes: list[tuple[int, int, float]]) -> None:
    """All that is put in is returned once, by step unless it came too late, and each rank's in its own order."""
    order, clock, steps = Order(), 0.0, [0, 0, 0]
    put: list[Record] = []
    got: list[Record] = []
    for seq, (rank, more, seconds) in enumerate(comes):
        clock += seconds
        steps[rank] += more
        put.append(from_line(to_line({**events.comparison(step=steps[rank]), "rank": rank, "seq": seq})))
        order.put(put[-1], clock)
        got += order.take(clock)
    got += order.take(clock + 10)
    assert sorted(one.seq for one in got) == [one.seq for one in put]
    if not order.is_broken:
        assert [one.step for one in got] == sorted(one.step for one in got)  # type: ignore[union-attr]
    for rank in range(3):
        own = [one.seq for one in got if one.rank == rank]
        assert own == sorted(own) or order.is_broken


# --- patches ------------------------------------------------------------------------------------------------------

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=20,
)


@given(plain, plain)
def test_a_patch_makes_the_new_value(old: Any, new: Any) -> None:
    """A patch of two values makes the second of the first, and there is none if they are equal."""
    change = patch(old, new)
    assert (change is None) == (old == new)
    assert (old if change is None else applied(old, change)) == new


@given(st.lists(st.integers(0, 3), max_size=50), st.lists(st.integers(0, 3), max_size=5), st.integers(0, 3))
def test_a_list_that_grows_is_sent_in_little(old: list[int], more: list[int], lost: int) -> None:
    """Of a list whose end has changed, only its end is sent."""
    new = old[: len(old) - lost] + more
    change = patch(old, new)
    assert change is None or len(change["add"]) <= len(more) + lost
