"""predlog and structlog: private where it must be, open where users want in."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture
from structlog.typing import EventDict

from predlog import Comparison, Recorder, read
from predlog.processors.decode import Decode
from predlog.processors.to_structlog import ToStructlog
from predlog.records.schema import Gap, Run
from predlog.sinks import JSONL, Console
from tests import events


def record(tmp_path: Path, *processors: Any, steps: int = 1, **settings: Any) -> list[Any]:
    with Recorder(tmp_path, every=1, samples=1, console=False, processors=processors, **settings) as recorder:
        for step in range(steps):
            recorder.compare(*events.pair(step), step)
    return list(read(tmp_path)) if any(tmp_path.iterdir()) else []


def configure_host(level: int) -> LogCapture:
    heard = LogCapture()
    structlog.configure(
        processors=[structlog.stdlib.add_log_level, heard],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        context_class=dict,
        logger_factory=structlog.PrintLoggerFactory(),
        cache_logger_on_first_use=True,
    )
    return heard


@pytest.mark.usefixtures("host_structlog")
@pytest.mark.parametrize("when", ["before", "after"])
def test_the_hosts_configuration_changes_nothing(tmp_path: Path, when: str) -> None:
    """A host level of ERROR, set before or after the recorder starts, drops no record and hears none."""
    heard = configure_host(logging.ERROR) if when == "before" else None
    with Recorder(tmp_path, every=1, samples=1, console=False) as recorder:
        recorder.compare(*events.pair(), 0)
        recorder.flush()
        heard = heard or configure_host(logging.ERROR)
        recorder.compare(*events.pair(), 1)
    assert [one.step for one in read(tmp_path) if isinstance(one, Comparison)] == [0, 1]
    assert heard.entries == []


@pytest.mark.usefixtures("host_structlog")
def test_the_hosts_configuration_stays(tmp_path: Path) -> None:
    """structlog's global configuration is the same object, with the same contents, afterwards."""
    configure_host(logging.WARNING)
    before = structlog.get_config()
    record(tmp_path)
    assert structlog.get_config() == before


def test_nobody_is_configured_on_import(tmp_path: Path) -> None:
    """A host that never configured structlog is still unconfigured after a run."""
    record(tmp_path)
    assert not structlog.is_configured()


def test_processors_see_every_event_in_order(tmp_path: Path) -> None:
    """Each processor gets the run's first line, every comparison and the last line, as the one before left it."""
    seen: list[tuple[str, str, Any]] = []

    def first(_logger: Any, name: str, event: EventDict) -> EventDict:
        seen.append(("first", name, event["event"]))
        return {**event, "lab": "north"}

    def second(_logger: Any, name: str, event: EventDict) -> EventDict:
        seen.append(("second", name, event["lab"]))
        return event

    record(tmp_path, first, second)
    assert seen == [
        ("first", "info", "predlog.run"),
        ("second", "info", "north"),
        ("first", "info", "predlog.comparison"),
        ("second", "info", "north"),
        ("first", "info", "predlog.run"),
        ("second", "info", "north"),
    ]


def test_added_keys_land_in_context(tmp_path: Path) -> None:
    """What a processor adds is in `context`, beside what the caller gave."""
    with Recorder(
        tmp_path, every=1, samples=1, console=False, processors=[lambda _l, _n, event: {**event, "host_id": 7}]
    ) as recorder:
        future = recorder.compare(*events.pair(), 0, epoch=3)
        assert future is not None
        (shown,) = future.result(5)
    run, comparison, end = read(tmp_path)
    assert comparison.context == shown.context == {"epoch": 3, "host_id": 7}
    assert run.context == end.context == {"host_id": 7}


def test_changes_are_written(tmp_path: Path) -> None:
    """A processor may rewrite what is recorded, token texts included."""

    def redact(_logger: Any, _name: str, event: EventDict) -> EventDict:
        for token in event.get("tokens", ()):
            token["label_text"] = "…"
        return event

    _, comparison, _ = record(tmp_path, redact, decode=str)
    assert {token.label_text for token in comparison.tokens} == {"…"}
    assert all(token.prediction_text != "…" for token in comparison.tokens)


def test_a_dropped_event_is_filtered(tmp_path: Path) -> None:
    """DropEvent leaves the event out, counts it as filtered, and leaves no hole in the sequence."""

    def only_even(_logger: Any, _name: str, event: EventDict) -> EventDict:
        if event.get("step", 0) % 2:
            raise structlog.DropEvent
        return event

    with Recorder(tmp_path, every=1, samples=1, console=False, processors=[only_even]) as recorder:
        futures = [recorder.compare(*events.pair(step), step) for step in range(4)]
    assert [len(future.result(5)) for future in futures if future] == [1, 0, 1, 0]
    assert events.counts(recorder.stats()) == {
        "submitted": 4,
        "written": 2,
        "filtered": 2,
        "dropped": 0,
        "failed": 0,
        "pending": 0,
    }
    assert [one.seq for one in read(tmp_path)] == [0, 1, 2, 3]


def broken(_logger: Any, _name: str, event: EventDict) -> EventDict:
    if event.get("step") == 1:
        raise ValueError("no such thing")
    return event


def forgetful(_logger: Any, _name: str, event: EventDict) -> Any:
    return None if event.get("step") == 1 else event


def destructive(_logger: Any, _name: str, event: EventDict) -> EventDict:
    if event.get("step") == 1:
        event["tokens"] = "[redacted]"
    return event


def cancelled(_logger: Any, _name: str, event: EventDict) -> EventDict:
    if event.get("step") == 1:
        raise asyncio.CancelledError
    return event


def exiting(_logger: Any, _name: str, event: EventDict) -> EventDict:
    if event.get("step") == 1:
        raise SystemExit(3)
    return event


@pytest.mark.parametrize(
    ("processor", "says", "who"),
    [
        (broken, "processor broken raised ValueError: no such thing", "processor broken failed"),
        (forgetful, "processor forgetful returned NoneType, not the event", "processor forgetful failed"),
        (destructive, "tokens", "the event failed"),
        (cancelled, "processor cancelled raised CancelledError", "processor cancelled failed"),
        (exiting, "processor exiting raised SystemExit", "processor exiting failed"),
    ],
)
def test_a_failing_processor_costs_that_event(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], processor: Callable[..., Any], says: str, who: str
) -> None:
    """The event is lost, said, counted and named in the file; every other one is recorded."""
    with Recorder(tmp_path, every=1, samples=1, console=False, processors=[processor]) as recorder:
        for step in range(3):
            recorder.compare(*events.pair(step), step)
    *_, written = record_kinds = list(read(tmp_path))
    assert [one.step for one in record_kinds if isinstance(one, Comparison)] == [0, 2]
    assert says in events.said(capfd)
    assert recorder.stats()["failed"] == 1
    (gap,) = (one for one in record_kinds if isinstance(one, Gap))
    assert (gap.count, gap.reason, gap.first_step, gap.last_step) == (1, who, 1, 1)
    assert written.seq == len(record_kinds) - 1


def test_a_failing_sink_leaves_the_others(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A sink that raises, or exits, is counted there and said once; the file, and its counts, have every record."""

    def exploding(_logger: Any, _name: str, event: EventDict) -> EventDict:
        raise SystemExit(1)

    with Recorder(tmp_path, every=1, samples=1, console=False, sinks=[exploding]) as recorder:
        for step in range(3):
            recorder.compare(*events.pair(step), step)
    assert [type(one) for one in read(tmp_path)] == [Run, *[Comparison] * 3, Run]
    stats, all_of_it = recorder.stats(), {"submitted": 3, "filtered": 0, "dropped": 0, "pending": 0}
    assert stats["sinks"] == {
        "JSONL": {**all_of_it, "written": 3, "failed": 0},
        "exploding": {**all_of_it, "written": 0, "failed": 3},
    }
    assert events.counts(stats) == stats["sinks"]["JSONL"]
    assert events.said(capfd).count("exploding failed: SystemExit") == 1


def test_what_a_sink_changes_no_other_gets(tmp_path: Path) -> None:
    """A sink of the user's has its events for itself, down to the last token."""

    def spoiling(_logger: Any, _name: str, event: EventDict) -> EventDict:
        if event["event"] == "predlog.comparison":
            event["length"] = "many"
            event["tokens"][0].clear()
        return event

    behind = JSONL(tmp_path / "behind.jsonl")
    with Recorder(tmp_path / "own", every=1, console=False, sinks=[spoiling, behind]) as recorder:
        future = recorder.compare(*events.pair(), 0)
        assert future is not None
        assert [record.length for record in future.result(10)] == [20, 20]
    assert [type(one) for one in read(tmp_path / "own")].count(Comparison) == 2
    assert [type(one) for one in read(tmp_path / "behind.jsonl")].count(Comparison) == 2
    assert {name: counts["written"] for name, counts in recorder.stats()["sinks"].items()} == {
        "JSONL": 2, "spoiling": 2, "JSONL 2": 2
    }  # fmt: skip


def test_what_a_decoder_of_the_users_changes_is_looked_at(tmp_path: Path) -> None:
    """predlog's own decoder is trusted with events; one that is made from it is not."""

    class Own(Decode):
        def __call__(self, logger: Any, name: str, event: EventDict) -> Any:
            return {**super().__call__(logger, name, event), "length": "many"}

    assert not [one for one in record(tmp_path, Own(str)) if isinstance(one, Comparison)]


@pytest.mark.usefixtures("host_structlog")
def test_forwarding_to_the_hosts_logger(tmp_path: Path) -> None:
    """ToStructlog gives the host's logger every event at its level, and the file still gets them."""
    heard = configure_host(logging.DEBUG)
    record(tmp_path, ToStructlog())
    assert [(entry["event"], entry["log_level"]) for entry in heard.entries] == [
        ("predlog.run", "info"),
        ("predlog.comparison", "info"),
        ("predlog.run", "info"),
    ]
    assert heard.entries[1]["tokens"][0]["slot"] == "first"
    assert len(list(read(tmp_path))) == 3


@pytest.mark.usefixtures("host_structlog")
def test_the_sinks_work_in_the_hosts_own_chain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSONL and Console take predlog's events out of a host's chain, with the host's keys in `context`."""
    heard = LogCapture()
    structlog.configure(
        processors=[
            lambda _l, _n, event: {**event, "experiment": "north-7"},
            structlog.stdlib.add_log_level,
            JSONL(tmp_path / "host.jsonl"),
            Console(),
            heard,
        ]
    )
    structlog.get_logger().info("epoch done", epoch=3)
    with Recorder(every=1, samples=1, console=False, sinks=[ToStructlog()]) as recorder:
        recorder.compare(*events.pair(), 0, epoch=3)
    assert [entry["event"] for entry in heard.entries] == [
        "epoch done", "predlog.run", "predlog.comparison", "predlog.run"
    ]  # fmt: skip
    run, comparison, _ = read(tmp_path / "host.jsonl")
    assert run.context == {"experiment": "north-7"}
    assert comparison.context == {"epoch": 3, "experiment": "north-7"}
    assert "predlog step=" in capsys.readouterr().out
