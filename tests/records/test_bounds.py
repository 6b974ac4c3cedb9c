"""How much one line may hold."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predlog.errors import RecordError
from predlog.records import bounds, codec
from tests import events
from tests.written import sealed

MANY = 1 << 17
VALUES: dict[str, Any] = {
    "lists": [[]] * MANY,
    "nested lists": [[[[[[[[[[]]]]]]]]]] * (MANY // 9),
    "objects": [{"a": 0}] * MANY,
    "keys": {str(number): 0 for number in range(1 << 20)},
    "numbers": [0] * (1 << 20),
    "texts": ["ab"] * (1 << 20),
}


@pytest.mark.parametrize("what", VALUES)
@pytest.mark.parametrize("key", ["context", "more"])
def test_a_line_of_too_many_values_is_damage(what: str, key: str) -> None:
    """What takes far more memory than its line is long is refused before it is decoded, under any key."""
    event = {**events.comparison(), key: {"a": VALUES[what]}}
    with pytest.raises(RecordError, match=r"no record: it has over [\d,]+ (values|lists and objects)"):
        codec.from_line(sealed(json.dumps(event, separators=(",", ":")).encode()))


@pytest.mark.parametrize("what", VALUES)
def test_what_is_not_read_is_not_written(what: str) -> None:
    """A recorder refuses such an event, so that no line of its own is damage."""
    with pytest.raises(RecordError, match=r"a predlog.comparison event has over .*, more than a line may have"):
        codec.to_line(events.comparison(context={"a": VALUES[what]}))


@pytest.mark.parametrize("text", ['[{,"' * 500_000, "\\" * 3_000_001 + '"[' * 500_000, "\x00[" * 500_000])
def test_texts_are_not_counted(text: str) -> None:
    """However many brackets and commas are in a text, they are no values; nor do quotation marks in it end it."""
    event = events.comparison(context={"a": text, "[": "[" * 200_000})
    record = codec.from_line(codec.to_line(event))
    assert record.context == event["context"]


def test_as_many_tokens_as_a_line_has_room_for() -> None:
    """The bounds are beyond what the tokens of the longest line need."""
    token = events.token(0, 1, 2, label_logprob=0.0, prediction_logprob=0.0)
    room = (bounds.LONGEST - 1000) // (len(json.dumps(token, separators=(",", ":"))) + 1)
    line = codec.to_line(events.comparison(tokens=[token] * room))
    assert len(codec.from_line(line).tokens) == room  # type: ignore[union-attr]


@given(
    st.recursive(st.text('[{,"\\a') | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_exactly_what_is_no_text_is_counted(value: Any) -> None:
    """Brackets and commas between texts are counted, and no others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds, "FEW", 0)
        patch.setattr(bounds, "_MOST_VALUES", 1 << 30)
        for most, says in ((_nested(value) - 1, True), (_nested(value), False)):
            patch.setattr(bounds, "_MOST_NESTED", most)
            line = json.dumps(value, separators=(",", ":")).encode()
            assert (bounds.excess(line) is not None) is says


def _nested(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, dict | list) + sum(map(_nested, inner))
