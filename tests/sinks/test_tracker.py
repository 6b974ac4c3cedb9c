"""Which steps are whole when, for whatever tracker shows them."""

from typing import Any

from predlog.records import codec
from predlog.records.schema import Finding
from predlog.sinks.tracker import Step, Tracker
from tests import events
from tests.records.test_records import PARTS


def shown_of(*sent: dict[str, Any] | None) -> list[tuple[int, str, int]]:
    shown: list[tuple[int, str, int]] = []

    class Shown(Tracker):
        def _show(self, step: Step) -> None:
            shown.append((step.number, step.stream, len(step.comparisons)))

        def _report(self, finding: Finding) -> None:
            pass

    tracker = Shown()
    for event in sent:
        tracker.flush() if event is None else tracker(None, "info", event)
    return shown


def test_a_step_waits_for_its_samples() -> None:
    """All samples of a stream and step are shown together, when the next step comes, and the rest at the end."""
    sent = [events.comparison(step=step, sample=sample) for step in (1, 2) for sample in range(3)]
    assert shown_of(*sent) == [(1, "text", 3)]
    assert shown_of(*sent, None, None) == [(1, "text", 3), (2, "text", 3)]


def test_a_step_that_falls_counts_as_well() -> None:
    """A run that begins again from an earlier step has another step."""
    assert shown_of(*(events.comparison(step=step) for step in (5, 2, 2, 3))) == [(5, "text", 1), (2, "text", 2)]


def test_a_rare_stream_does_not_wait_for_its_own_next() -> None:
    """An evaluation is shown as soon as the training goes on."""
    sent = [("text", 10), ("eval/text", 10), ("eval/text", 10), ("text", 11)]
    assert shown_of(*(events.comparison(stream=stream, step=step) for stream, step in sent)) == [
        (10, "text", 1), (10, "eval/text", 2)
    ]  # fmt: skip


def test_streams_that_take_turns() -> None:
    """Samples of two streams may come in any order."""
    sent = [("text", 10), ("audio", 10), ("text", 10), ("audio", 10)]
    assert shown_of(*(events.comparison(stream=stream, step=step) for stream, step in sent), None) == [
        (10, "text", 2), (10, "audio", 2)
    ]  # fmt: skip


def test_the_run_s_last_line_ends_them() -> None:
    """In a host's chain nobody flushes: what the recorder sends last is enough."""
    assert shown_of(events.comparison(), events.run(stats={"submitted": 1})) == [(120, "text", 1)]


def test_however_many_streams_few_wait() -> None:
    """Where names of streams never come again, the oldest are shown."""
    assert len(shown_of(*(events.comparison(stream=f"s{n}") for n in range(3000)))) == 3000 - 1024


def test_parts_are_shown_nowhere_and_disturb_nothing() -> None:
    """A part of a comparison is no step: what comes before and after it is shown as ever."""
    lines = PARTS.read_bytes().splitlines(keepends=True)
    parts = [codec.to_event(codec.from_line(line)) for line in lines]
    assert shown_of(*parts, None) == []
    assert shown_of(events.comparison(step=1), *parts, events.comparison(step=2), None) == [
        (1, "text", 1),
        (2, "text", 1),
    ]
