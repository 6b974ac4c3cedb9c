"""Losses until a gap record tells of them."""

from hypothesis import given
from hypothesis import strategies as st

from predlog.recorder.gaps import Loss, Losses


class TestLosses:
    @given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from(["a", "b"])) | st.none(), max_size=40))
    def test_what_is_taken_adds_up(self, happens: list[tuple[int, str] | None]) -> None:
        """Each loss is reported once, with the steps that it spans."""
        losses, taken = Losses(), []
        for step, one in enumerate([*happens, None]):
            if one is None:
                taken += losses.take()
            else:
                losses.add(one[0], one[1], step, step)
        for reason in ("a", "b"):
            expected = [(at, one[0]) for at, one in enumerate(happens) if one is not None and one[1] == reason]
            mine = [loss for loss in taken if loss.reason == reason]
            assert sum(loss.count for loss in mine) == sum(count for _, count in expected)
            if expected:
                assert (mine[0].first_step, mine[-1].last_step) == (expected[0][0], expected[-1][0])
        assert losses.take() == []

    def test_one_entry_a_reason(self) -> None:
        """However many are lost, a reason is one entry."""
        losses = Losses()
        for step in range(1000):
            losses.add(2, "queue full", step, step)
        assert losses.take() == [Loss(2000, "queue full", 0, 999)]
