"""The figures of a step: what shards know of ranks by a bound only is not taken for less than it is."""

import statistics
from collections.abc import Sequence

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from predlog import Comparison
from predlog.records.codec import from_event
from predlog.records.figures import of_step
from tests.events import comparison

RANKS = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40) | st.none()), min_size=1, max_size=9)


def step(ranks: Sequence[tuple[int | None, int | None]]) -> Comparison:
    """Return a comparison whose tokens have these ranks, or these least ones."""
    like = from_event(comparison())
    assert isinstance(like, Comparison)
    token = like.tokens[0]
    made = [msgspec.structs.replace(token, label_rank=rank, label_rank_at_least=least) for rank, least in ranks]
    return msgspec.structs.replace(like, tokens=tuple(made))


@given(RANKS)
def test_a_median_rank_is_the_true_one_or_none(ranks: list[tuple[int, int | None]]) -> None:
    """Of some tokens a least rank is known only: the median is that of the true ranks, or not known."""
    known = [(None, min(least, rank)) if least is not None else (rank, None) for rank, least in ranks]
    found = of_step([step(known)])
    assert found.rank in (None, statistics.median(rank for rank, _ in ranks))
    assert found.ranked == (found.rank is not None)


def test_a_bound_past_the_median_leaves_it_known() -> None:
    """Ranks 1, 2 and at least 11 have the median 2; with 1 and two bounds it is not known."""
    assert of_step([step([(1, None), (None, 11), (2, None)])]).rank == 2
    assert of_step([step([(1, None), (None, 11), (None, 11)])]).rank is None
    assert of_step([step([(None, 11), (12, None), (13, None)])]).rank is None
