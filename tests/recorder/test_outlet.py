"""The way into a sink: what it takes, what it is owed, when it rests, and that it delays nothing but itself."""

import itertools
import threading
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.typing import EventDict

from predlog import Comparison, Finding, Recorder, read
from predlog._runtime.notices import Notices
from predlog.recorder.backoff import Backoff
from predlog.recorder.gaps import Missing
from predlog.recorder.outlet import Outlet
from predlog.records import codec, schema
from predlog.records.schema import Gap
from predlog.sinks import JSONL
from tests import events
from tests.events import told


class Moody:
    """A sink that fails while it is reported to, and keeps what it takes."""

    def __init__(self) -> None:
        self.fails = False
        self.tried = 0
        self.taken: list[dict[str, Any]] = []

    def __call__(self, _logger: Any, _name: str, event: EventDict) -> EventDict:
        self.tried += 1
        if self.fails:
            raise OSError(28, "No space left on device")
        self.taken.append(dict(event))
        return event


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("predlog.recorder.outlet.Backoff", lambda: Backoff(lambda: now[0]))
    return now


def send(outlet: Outlet, *steps: int) -> list[bool]:
    return [outlet.write(schema.Checked(events.comparison(step=step))) for step in steps]


def test_a_rest_doubles_up_to_a_minute() -> None:
    """Four failures are no reason to rest, the fifth is one for a second, each further one for twice as long."""
    backoff = Backoff(lambda: 0.0)
    assert [backoff.record_failure() for _ in range(12)] == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60]
    backoff.record_success()
    assert [backoff.record_failure() for _ in range(5)] == [0, 0, 0, 0, 1]


def test_a_sink_that_fails_rests_and_comes_back(clock: list[float], capfd: pytest.CaptureFixture[str]) -> None:
    """Five tries, then one after 1 s, 2 s, 4 s …; back again it gets one gap for all that it lacks."""
    sink = Moody()
    outlet = Outlet(sink, Notices())
    assert send(outlet, 0) == [True]
    sink.fails = True
    tried = [1]
    for step in range(1, 101):
        clock[0] = step / 10
        send(outlet, step)
        tried.append(sink.tried)
    # From the fifth failure at 0.5 s on: at 1.5, 3.5 and 7.5 s.
    at = [step for step, (before, after) in enumerate(itertools.pairwise(tried), 1) if after > before]
    assert at == [1, 2, 3, 4, 5, 15, 35, 75]
    sink.fails = False
    clock[0] = 16
    assert send(outlet, 200, 201) == [True, True]
    assert [(one["event"], one.get("step")) for one in sink.taken] == [
        ("predlog.comparison", 0), ("predlog.comparison", 200), ("predlog.gap", None), ("predlog.comparison", 201)
    ]  # fmt: skip
    gap = sink.taken[2]
    assert (gap["count"], gap["first_step"], gap["last_step"]) == (100, 1, 100)
    assert gap["reason"] == "Moody failed: No space left on device"
    assert [one["seq"] for one in sink.taken] == [0, 1, 2, 3]
    assert (outlet.written, outlet.failed) == (3, 100)
    lines = told(capfd)
    assert [line.partition(" failed: ")[0] for line in lines[:1]] == ["predlog: Moody"]
    assert lines[1:] == ["predlog: Moody works again, after 8 failures"]


def test_what_is_owed_comes_in_order(clock: list[float]) -> None:
    """The attempt's first line, then what is new, then gaps and findings: nothing twice, nothing forgotten."""
    sink = Moody()
    sink.fails = True
    outlet = Outlet(sink, Notices(keep=True))
    outlet.write(schema.Checked(events.run()))
    outlet.write(schema.Checked(events.finding()))
    send(outlet, 1)
    outlet.add_missing(Missing(3, "queue full", 2, 4))
    sink.fails = False
    send(outlet, 5)
    assert [one["event"].removeprefix("predlog.") for one in sink.taken] == [
        "run", "comparison", "gap", "gap", "finding"
    ]  # fmt: skip
    assert [(one["count"], one["reason"]) for one in sink.taken[2:4]] == [
        (1, "Moody failed: No space left on device"), (3, "queue full")
    ]  # fmt: skip
    assert [one["seq"] for one in sink.taken] == list(range(5))


def test_a_gap_that_fails_is_told_later(clock: list[float]) -> None:
    """However often a gap can't be written, what it counts is counted once."""
    sink = Moody()
    outlet = Outlet(sink, Notices(keep=True))
    outlet.add_missing(Missing(3, "queue full", 2, 4))
    outlet.add_missing(Missing(4, "no slot free", 5, 6))
    sink.fails = True
    send(outlet, 7, 8)
    sink.fails = False
    outlet.finish()
    assert [(one["count"], one["reason"]) for one in sink.taken] == [
        (3, "queue full"), (4, "no slot free"), (2, "Moody failed: No space left on device")
    ]  # fmt: skip


def test_a_resting_sink_is_tried_once_more_at_the_end(clock: list[float]) -> None:
    """Whoever closes waits for no rest: what is owed is written if it can be by then."""
    sink = Moody()
    outlet = Outlet(sink, Notices(keep=True))
    sink.fails = True
    send(outlet, *range(9))
    sink.fails = False
    outlet.settle()
    assert not sink.taken
    outlet.finish()
    assert [one["count"] for one in sink.taken] == [9]


def test_a_finding_replaces_the_one_before_it(clock: list[float]) -> None:
    """Of what is owed of one stream and code, the latest is reported: that it is gone."""
    sink = Moody()
    sink.fails = True
    outlet = Outlet(sink, Notices(keep=True))
    for level in ("error", "info"):
        outlet.write(schema.Checked(events.finding(level=level)))
    sink.fails = False
    outlet.finish()
    assert [one["level"] for one in sink.taken] == ["info"]


def test_a_hanging_sink_delays_nothing_else(tmp_path: Path) -> None:
    """While one sink hangs, the file and another sink get everything; what finds no room is lost there alone."""
    release, hangs = threading.Event(), threading.Event()
    heard = structlog.testing.LogCapture()

    def hanging(_logger: Any, _name: str, event: EventDict) -> EventDict:
        hangs.set()
        assert release.wait(60)
        return event

    recorder = Recorder(tmp_path, every=1, samples=1, console=False, sinks=[hanging, heard], queue=10)
    for step in range(50):
        future = recorder.compare(*events.pair(), step)
        assert future is not None
        assert len(future.result(10)) == 1
    assert hangs.wait(10)
    assert not recorder.flush(0.1)
    sinks = recorder.stats()["sinks"]
    assert sinks["JSONL"]["written"] == sinks["LogCapture"]["written"] == 50
    assert sinks["hanging"]["dropped"] + sinks["hanging"]["pending"] == 50
    release.set()
    assert recorder.close()
    stats = recorder.stats()
    assert stats["written"] == 50
    hanging_stats = stats["sinks"]["hanging"]
    assert hanging_stats["written"] + hanging_stats["dropped"] == 50
    assert hanging_stats["dropped"] > 30
    assert [one.step for one in read(tmp_path) if isinstance(one, Comparison)] == list(range(50))
    assert not [one for one in read(tmp_path) if isinstance(one, schema.Gap)]


def test_a_slow_sink_is_told_what_it_lacks(tmp_path: Path) -> None:
    """What found no room on the way to a sink is a gap there, and a finding among it is reported after all."""
    release = threading.Event()
    taken: list[Any] = []

    def slow(_logger: Any, _name: str, event: EventDict) -> EventDict:
        assert release.wait(60)
        taken.append(event)
        return event

    logits, labels = events.pair()
    with Recorder(tmp_path, every=1, samples=1, console=False, sinks=[slow], queue=3) as recorder:
        for step in range(20):
            future = recorder.compare(logits, labels, step)
            assert future is not None
            future.result(10)
        recorder.compare(logits, labels[:, :3], 20)
        future = recorder.compare(logits, labels, 21)
        assert future is not None
        future.result(10)
        release.set()
    shown = [one["step"] for one in taken if one["event"] == "predlog.comparison"]
    gaps = [one for one in taken if one["event"] == "predlog.gap"]
    assert sum(one["count"] for one in gaps) == 21 - len(shown) > 10
    assert {one["reason"] for one in gaps} == {"slow is too slow"}
    # Found, and gone again by the time that it could be told.
    assert [one["level"] for one in taken if one["event"] == "predlog.finding"] == ["info"]
    assert [one.level for one in read(tmp_path) if isinstance(one, Finding)] == ["error", "info"]
    assert [one["seq"] for one in taken] == list(range(len(taken)))


def test_where_no_thread_can_be_had_a_sink_gets_nothing_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A sink that no thread can be started for loses events until one can; nobody else waits for it meanwhile."""
    taken: list[Any] = []

    def own(_logger: Any, _name: str, event: EventDict) -> EventDict:
        taken.append(event)
        return event

    start = threading.Thread.start

    def only_the_worker(thread: threading.Thread) -> None:
        if thread.name != "predlog":
            raise RuntimeError("can't start new thread")
        start(thread)

    with Recorder(tmp_path, every=1, samples=1, console=False, sinks=[own]) as recorder:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", only_the_worker)
            for step in range(3):
                recorder.compare(*events.pair(), step)
            assert recorder.flush()
        recorder.compare(*events.pair(), 3)
    assert [one.step for one in read(tmp_path) if isinstance(one, Comparison)] == [0, 1, 2, 3]
    assert [one["event"].removeprefix("predlog.") for one in taken] == ["run", "comparison", "gap", "run"]
    assert (taken[2]["count"], taken[2]["reason"]) == (3, "no thread for own")
    assert recorder.stats()["sinks"]["own"]["dropped"] == 3
    assert "own gets nothing: predlog can't start its thread: can't start new thread" in events.said(capfd)


def test_sinks_have_their_threads_before_the_first_pair_is_worked_on(tmp_path: Path) -> None:
    """A program that ends right behind its first pair has started every thread that it needs by then."""

    def own(_logger: Any, _name: str, event: EventDict) -> EventDict:
        return event

    with Recorder(tmp_path, every=1, samples=1, console=False, sinks=[own]) as recorder:
        recorder.compare(*events.pair(), 0)
        assert {"predlog", "predlog own"} <= {thread.name for thread in threading.enumerate()}


def test_of_a_finding_the_newer_is_told_whatever_comes_first(clock: list[float]) -> None:
    """What a sink lost of a finding is not forgotten because an older event about it arrives after that."""
    sink = Moody()
    outlet = Outlet(sink, Notices(keep=True))
    older, newer = (f"2026-01-02T03:04:0{second}.000000Z" for second in (5, 6))
    outlet.miss(schema.Checked(events.finding(level="info", timestamp=newer)), "queue full")
    outlet.write(schema.Checked(events.finding(level="error", timestamp=older)))
    assert [one["level"] for one in sink.taken] == ["error", "info"]


def test_groups_of_codebooks_are_findings_of_their_own(clock: list[float]) -> None:
    """That some codebooks are told of does not tell of others."""
    sink = Moody()
    sink.fails = True
    outlet = Outlet(sink, Notices(keep=True))
    outlet.write(schema.Checked(events.finding(evidence={"codebooks": [0, 1]})))
    sink.fails = False
    outlet.write(schema.Checked(events.finding(evidence={"codebooks": [5, 6]})))
    assert [one["evidence"]["codebooks"] for one in sink.taken] == [[5, 6], [0, 1]]


def test_closing_that_runs_out_of_time_takes_nothing_from_the_sinks(tmp_path: Path) -> None:
    """Whoever closes again, and waits, has everything in every sink."""
    release = threading.Event()
    taken: list[Any] = []

    def own(_logger: Any, _name: str, event: EventDict) -> EventDict:
        taken.append(event["event"])
        return event

    def slow(_logger: Any, _name: str, event: EventDict) -> EventDict:
        release.wait(30)
        return event

    recorder = Recorder(tmp_path, every=1, samples=1, console=False, processors=[slow], sinks=[own])
    for step in range(20):
        recorder.compare(*events.pair(), step)
    assert not recorder.close(0.1)
    release.set()
    assert recorder.close(30)
    assert taken.count("predlog.comparison") == 20
    assert recorder.stats()["sinks"]["own"]["written"] == recorder.stats()["written"] == 20


@pytest.mark.parametrize("where", ["sinks", "processors"])
def test_a_second_close_waits_no_longer(tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first call has waited for in vain is not waited for again, also at exit; a longer time goes on."""

    def hanging(_logger: Any, _name: str, event: EventDict) -> EventDict:
        going.wait()
        return event

    going = threading.Event()
    recorder = Recorder(tmp_path, every=1, console=False, **{where: [hanging]})  # type: ignore[arg-type]
    recorder.compare(*events.pair(), 0)
    waited: list[float] = []
    join = threading.Thread.join

    def watched(thread: threading.Thread, timeout: float) -> None:
        waited.append(timeout)
        join(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", watched)
    assert not recorder.close(0.05)
    assert max(waited) > 0
    waited.clear()
    assert not recorder.close(0.05)
    assert not any(waited)
    going.set()
    assert recorder.close(60)


def test_the_last_line_says_what_became_of_it_all(tmp_path: Path) -> None:
    """An attempt that is closed ends with its counts; the sinks have it, too."""
    taken: list[Any] = []

    def odd_steps(_logger: Any, _name: str, event: EventDict) -> EventDict:
        if event.get("step", 1) % 2 == 0:
            raise structlog.DropEvent
        return event

    def failing(_logger: Any, _name: str, event: EventDict) -> EventDict:
        if event.get("step") == 3:
            raise ValueError
        return event

    def keep(_logger: Any, _name: str, event: EventDict) -> EventDict:
        taken.append(event)
        return event

    with Recorder(
        tmp_path, every=1, samples=1, console=False, processors=[odd_steps, failing], sinks=[keep]
    ) as recorder:
        for step in range(5):
            recorder.compare(*events.pair(), step)
        recorder.compare(None, None, 5)
    *_, last = read(tmp_path)
    assert isinstance(last, schema.Run)
    assert last.stats is not None
    assert last.stats == recorder.stats() | {"sinks": last.stats["sinks"], "loss_checked": []}
    assert events.counts(recorder.stats()) == {
        "submitted": 5, "written": 1, "filtered": 3, "dropped": 0, "failed": 1, "pending": 0
    }  # fmt: skip
    assert recorder.stats()["refused"] == 1
    assert taken[-1]["stats"] == last.stats


def test_one_outage_is_one_gap(clock: list[float]) -> None:
    """Where a gap would fit and a comparison does not, none is written until a comparison is."""

    def cramped(_logger: Any, _name: str, event: EventDict) -> EventDict:
        if event["event"] == "predlog.comparison" and 1 <= event["step"] <= 20:
            raise OSError(28, "No space left on device")
        taken.append(event)
        return event

    taken: list[Any] = []
    outlet = Outlet(cramped, Notices(keep=True))
    for step in range(40):
        clock[0] = step
        send(outlet, step)
    gaps = [one for one in taken if one["event"] == "predlog.gap"]
    assert [(one["count"], one["first_step"]) for one in gaps] == [(gaps[0]["count"], 1)]
    assert gaps[0]["count"] + outlet.written == 40


def test_the_last_line_is_the_last(clock: list[float]) -> None:
    """What is owed is paid before the line that ends an attempt, though the sink rests."""
    sink = Moody()
    outlet = Outlet(sink, Notices(keep=True))
    sink.fails = True
    send(outlet, *range(9))
    outlet.write(schema.Checked(events.finding()))
    sink.fails = False
    outlet.write(schema.Checked(events.run(stats={})))
    assert [one["event"].removeprefix("predlog.") for one in sink.taken] == ["gap", "finding", "run"]


def test_a_finding_that_is_gone_does_not_come_back(clock: list[float]) -> None:
    """Where a sink missed a finding, and then learns that it is gone, it is not told of the finding after that."""
    sink = Moody()
    outlet = Outlet(sink, Notices(keep=True))
    sink.fails = True
    outlet.write(schema.Checked(events.finding(level="error")))
    outlet.write(schema.Checked(events.finding(level="error", code="collapsed")))
    sink.fails = False
    outlet.write(schema.Checked(events.finding(level="info")))
    outlet.finish()
    assert [(one["code"], one["level"]) for one in sink.taken] == [
        ("labels-are-inputs", "info"),
        ("collapsed", "error"),
    ]


def test_an_endless_outage_keeps_no_more_than_so_many_findings(clock: list[float]) -> None:
    """What is owed has a bound; of what is known already, the latest is kept all the same."""
    sink = Moody()
    sink.fails = True
    outlet = Outlet(sink, Notices(keep=True))
    for stream in range(300):
        outlet.write(schema.Checked(events.finding(stream=str(stream))))
    outlet.write(schema.Checked(events.finding(stream="0", level="info")))
    sink.fails = False
    outlet.finish()
    assert [one["stream"] for one in sink.taken] == [str(stream) for stream in range(256)]
    assert [one["level"] for one in sink.taken][:2] == ["info", "error"]


@pytest.mark.parametrize("kind", ["predlog.gap", "predlog.finding"])
def test_what_is_owed_and_fails_is_owed_still(clock: list[float], kind: str) -> None:
    """A sink that takes comparisons, and for a while no gap or no finding, gets it when it takes that again."""
    fails = [True]

    def picky(_logger: Any, _name: str, event: EventDict) -> EventDict:
        if fails[0] and event["event"] == kind:
            raise ValueError
        taken.append(event)
        return event

    taken: list[Any] = []
    outlet = Outlet(picky, Notices(keep=True))
    outlet.add_missing(Missing(3, "queue full", 2, 4))
    outlet.add_missing(Missing(4, "no slot free", 5, 6))
    outlet.miss(schema.Checked(events.finding()), "queue full")
    assert send(outlet, 7) == [True]
    fails[0] = False
    assert send(outlet, 8) == [True]
    told = sorted((one["event"], one.get("count")) for one in taken if one["event"] != "predlog.comparison")
    assert told == [("predlog.finding", None), ("predlog.gap", 3), ("predlog.gap", 4)]


def test_an_event_that_fits_no_sink_is_no_outage(tmp_path: Path) -> None:
    """Events that can't be lines cost themselves: the sink is not paused, and a gap counts them."""
    outlet = Outlet(JSONL(tmp_path / "predictions.jsonl"), Notices(keep=True))
    for step in range(100):
        outlet.write(schema.Checked(events.comparison(step=step, context={"bad": object()})))
        outlet.write(schema.Checked(events.finding(step=step, stream=f"s{step}", evidence={"shift": 10**30})))
        assert send(outlet, step) == [True]
    outlet.finish()
    records = [*read(tmp_path)]
    assert sum(one.event == "predlog.comparison" for one in records) == outlet.written == 100
    gaps = [one for one in records if isinstance(one, Gap)]
    assert (sum(one.count for one in gaps), outlet.failed) == (100, 100)
    assert {one.reason for one in gaps} == {"JSONL refused the event: not a valid record"}


def test_a_first_line_that_fits_no_sink_blocks_nothing(tmp_path: Path) -> None:
    """What comes after an attempt's first line is written though that line can't be."""
    outlet = Outlet(JSONL(tmp_path / "predictions.jsonl"), Notices(keep=True))
    outlet.write(schema.Checked(events.run(settings={"every": 10**30})))
    assert send(outlet, 0, 1) == [True, True]


def test_a_gap_that_cannot_be_written_blocks_no_other(tmp_path: Path) -> None:
    """A reason that is too long for a line is left out; the counts of all reasons are in the file."""
    outlet = Outlet(JSONL(tmp_path / "predictions.jsonl"), Notices(keep=True))
    outlet.add_missing(Missing(3, "x" * (codec.LONGEST + 1), 2, 4))  # type: ignore[attr-defined]
    outlet.add_missing(Missing(4, "no slot free", 5, 6))
    assert send(outlet, 7, 8) == [True, True]
    outlet.finish()
    gaps = sorted((one.count, one.reason) for one in read(tmp_path) if isinstance(one, Gap))
    assert gaps == [(3, "the reason could not be written"), (4, "no slot free")]


def test_a_stream_that_a_sink_cannot_take_costs_no_other_stream(clock: list[float]) -> None:
    """A foreign sink that fails with one stream's events is paused for that stream alone, and gets the others."""

    def picky(_logger: Any, _name: str, event: EventDict) -> EventDict:
        tried.append(event.get("stream"))
        if event.get("stream") == "audio" or event["event"] == "predlog.run":
            raise TypeError
        taken.append(event)
        return event

    taken: list[Any] = []
    tried: list[Any] = []
    outlet = Outlet(picky, Notices(keep=True))
    outlet.write(schema.Checked(events.run()))
    for step in range(100):
        for _ in range(8):  # codebooks
            outlet.write(schema.Checked(events.comparison(step=step, stream="audio")))
        assert send(outlet, step) == [True]
    assert tried.count("audio") == 5
    assert sum(one["event"] == "predlog.comparison" for one in taken) == 100
    assert sum(one["count"] for one in taken if one["event"] == "predlog.gap") == 800
