"""What a caller keeps beside a record."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from predlog.recorder.submission import plain_context
from predlog.records import codec
from tests import events


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
    values = plain_context(context, lambda problem, _error: problems.append(problem))
    assert values.keys() == context.keys()
    assert codec.from_line(codec.to_line(events.comparison(context=values))).context == values
    assert all(any(problem.startswith(f"{name}=") for name in context) for problem in problems)
