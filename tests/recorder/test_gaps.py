"""Losses until a gap record tells of them."""

from hypothesis import given
from hypothesis import strategies as st

from predlog.recorder.gaps import Missing, MissingCounts, gap_event
from predlog.records import codec
from tests import events


class TestMissingCounts:
    @given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from(["a", "b"])) | st.none(), max_size=40))
    def test_what_is_taken_adds_up(self, happens: list[tuple[int, str] | None]) -> None:
        """Each loss is reported once, with the steps that it spans."""
        missing, taken = MissingCounts(), []
        for step, one in enumerate([*happens, None]):
            if one is None:
                taken += missing.take()
            else:
                missing.add(one[0], one[1], step, step)
        for reason in ("a", "b"):
            expected = [(at, one[0]) for at, one in enumerate(happens) if one is not None and one[1] == reason]
            mine = [one for one in taken if one.reason == reason]
            assert sum(one.count for one in mine) == sum(count for _, count in expected)
            if expected:
                assert (mine[0].first_step, mine[-1].last_step) == (expected[0][0], expected[-1][0])
        assert missing.take() == []

    def test_one_entry_a_reason(self) -> None:
        """However many are lost, a reason is one entry."""
        missing = MissingCounts()
        for step in range(1000):
            missing.add(2, "queue full", step, step)
        assert missing.take() == [Missing(2000, "queue full", 0, 999)]

    def test_a_step_that_no_line_can_hold(self) -> None:
        """A processor may have changed a step to one beyond 64 bits: its gap can be written all the same."""
        missing = MissingCounts()
        missing.add_event({"event": "predlog.comparison", "step": 10**30}, "refused")
        (one,) = missing.take()
        assert codec.to_line(gap_event(events.comparison(), one))
        assert one.first_step == one.last_step == 2**63 - 1
