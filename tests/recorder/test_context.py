"""What a caller keeps beside a record."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from predlog import Recorder
from predlog.recorder.context import MOST_VALUES, plain_context
from predlog.records import codec
from tests import events
from tests.events import told


@example({"…": None})
@given(
    st.dictionaries(
        st.text(max_size=3),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=3) | st.integers() | st.just(object()),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        ),
    )
)
def test_context_is_always_plain(context: dict[str, Any]) -> None:
    """Whatever is given, what is kept is JSON, and what is not kept is named."""
    problems: list[str] = []
    values = plain_context(context, lambda problem, _error: problems.append(problem), lambda: problems.append("cut"))
    assert values.keys() == context.keys()
    assert codec.from_line(codec.to_line(events.comparison(context=values))).context == values
    assert all(any(problem.startswith(f"{name}=") for name in context) for problem in problems)


class Counting(list[Any]):
    """A list that counts what is taken from it and from those inside of it, and gives no more than a test allows.

    Without a bound, there would be a hundred million: the test would not fail, but hang.
    """

    taken = 0

    def __iter__(self) -> Iterator[Any]:
        for item in super().__iter__():
            Counting.taken += 1
            assert Counting.taken < 100 * MOST_VALUES, "there is no bound"
            yield item


def nested(levels: int, width: int) -> Any:
    """Return lists in lists, all of them the same object: wide and deep without much memory."""
    value: Any = 1
    for _ in range(levels):
        value = Counting([value] * width)
    return value


WIDE: dict[str, Callable[[], dict[str, Any]]] = {
    "8 levels of 10": lambda: {"a": nested(8, 10), "b": 1},
    "one long list": lambda: {"a": Counting(range(10**6))},
    "mappings": lambda: {"a": {str(key): {str(other): key for other in range(100)} for key in range(100)}},
    "many names": lambda: {f"name {number}": Counting([number]) for number in range(10**4)},
}


@pytest.mark.parametrize("what", WIDE)
def test_a_wide_context_is_cut(tmp_path: Path, capfd: pytest.CaptureFixture[str], what: str) -> None:
    """However much there is, a few hundred values are visited, and one line says that the rest is left out."""
    context = WIDE[what]()
    Counting.taken = 0
    with Recorder(tmp_path, every=1, samples=1, console=False) as recorder:
        for step in range(3):
            (record,) = recorder.compare(*events.pair(), step, **context).result(10)  # type: ignore[union-attr]
    assert Counting.taken <= 3 * (MOST_VALUES + 8)
    (line,) = told(capfd)[:1]
    assert line.startswith("predlog: step 0, stream 'text': the context has over 500 values")
    assert MOST_VALUES <= count(record.context) <= MOST_VALUES + 10
    assert "more" in str(record.context)


def test_a_list_of_itself(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What is deeper than eight levels is null, and is found to be so before it is copied many times."""
    looped = Counting()
    looped.extend([looped] * 10)
    Counting.taken = 0
    with Recorder(tmp_path, every=1, samples=1, console=False) as recorder:
        (record,) = recorder.compare(*events.pair(), 0, a=looped).result(10)  # type: ignore[union-attr]
    assert record.context == {"a": None}
    assert Counting.taken <= MOST_VALUES
    assert "a=<Counting> in the context is no plain value" in events.said(capfd)


def test_a_context_at_the_bound_is_whole() -> None:
    """Exactly as many values as there may be are all kept, and what is cut says by how much."""
    problems: list[str] = []
    values = plain_context({"a": [0] * (MOST_VALUES - 1)}, lambda *_: None, lambda: problems.append("cut"))
    assert values == {"a": [0] * (MOST_VALUES - 1)}
    assert not problems
    values = plain_context({"a": [0] * (MOST_VALUES + 9), "b": 2}, lambda *_: None, lambda: problems.append("cut"))
    assert values["a"][-1] == "… 10 more"
    assert problems == ["cut"]


def count(value: Any) -> int:
    """Return how many values there are, lists and mappings counted, too."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(1 + count(one) for one in inner)


def test_few_new_names_are_compared_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a name was meant as an argument is looked up for a few names per call, whatever their number."""
    asked: list[str] = []
    monkeypatch.setattr("difflib.get_close_matches", lambda name, *_others, **_how: asked.extend([name]))
    with Recorder(tmp_path, every=1, console=False) as recorder:
        for step in range(3):
            context: dict[str, Any] = {str(number): number for number in range(100)}
            recorder.compare(*events.pair(), step, **context)
            assert len(asked) <= 8 * (step + 1)
