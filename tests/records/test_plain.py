"""What is no plain value is made one, or null; nothing else is lost with it."""

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID

import numpy as np
import orjson
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from predlog.records.plain import Conversion, NotPlainError, scalar


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Loud(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError


@dataclass
class Point:
    x: Any


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float32(0.5), 0.5), (np.float64(0.5), 0.5), (np.longdouble(0.5), 0.5), (np.int64(-3), -3),
        (np.bool_(True), True), (np.str_("a"), "a"), (np.array(7), 7), (np.datetime64("2020-01-02"), "2020-01-02"),
        (np.datetime64("2020-01-02T03:04:05.678", "ns"), "2020-01-02T03:04:05.678000000"), (np.datetime64("NaT"), None),
        (np.array("2020-01-02", "M8[us]"), "2020-01-02T00:00:00.000000"),
        (torch.tensor(2.5), 2.5), (torch.tensor(True), True), (torch.nn.Parameter(torch.tensor(1.0)), 1.0),
        (torch.tensor(3, dtype=torch.uint8), 3), (torch.arange(4)[3], 3), (torch.tensor(1.5).bfloat16(), 1.5),
        (Path("a") / "b", str(Path("a/b"))), (PurePosixPath("/x"), "/x"), (Color.RED, "red"), (Level.LOW, 1),
        (datetime(2020, 1, 2, 3, tzinfo=timezone.utc), "2020-01-02T03:00:00+00:00"), (date(2020, 1, 2), "2020-01-02"),
        (UUID(int=1), str(UUID(int=1))), (Loud("loud"), "loud"), (float("nan"), None), (np.float32("inf"), None),
    ],
)  # fmt: skip
def test_single_values(value: object, plain: object) -> None:
    """Numbers, flags, texts, times and places of any library become those of JSON, of exactly these types."""
    assert (scalar(value), type(scalar(value))) == (plain, type(plain))


@pytest.mark.parametrize(
    "value",
    [
        object(), 2**64, b"bytes", 1j, np.complex64(1), torch.ones(2), torch.ones((), device="meta"), {1}, np.ones(1),
        np.timedelta64(1, "s"), np.timedelta64(1, "ns"), np.array(1, "m8[ns]"), int,
    ],
)  # fmt: skip
def test_what_is_no_single_value(value: object) -> None:
    """Anything else is refused, and a tensor that is not on the CPU is not read."""
    with pytest.raises(NotPlainError):
        scalar(value)


def test_a_tensor_whose_memory_was_freed_is_not_read() -> None:
    """Its number would come from memory that belongs to somebody else."""
    freed = torch.tensor(1.0)
    freed.untyped_storage().resize_(0)
    with pytest.raises(NotPlainError):
        scalar(freed)


def test_only_what_cannot_be_converted_is_lost() -> None:
    """Each value that becomes null is named with its place, and its neighbours stay."""
    conversion = Conversion()
    value = {"a": [1, object(), np.int8(2)], 3: Point(b""), Color.RED: (), "big": 10**30}
    assert conversion.of(value, "context") == {"a": [1, None, 2], "3": {"x": None}, "red": [], "big": None}
    assert conversion.refused == ["context.a=<object>", "context.3.x=<bytes>", "context.big=<int of 100 bits>"]


def test_keys_that_are_the_same_text() -> None:
    """Of a number and its text the first one's value stays, and the second is named."""
    conversion = Conversion()
    assert conversion.of({1: "a", "1": "b", 2: "c"}, "context") == {"1": "a", "2": "c"}
    assert conversion.refused == ["context.1=<a second value, since '1' is the same key as a text>"]


@pytest.mark.parametrize("many", [1, 2])
def test_what_contains_itself_ends(many: int) -> None:
    """However often a list contains itself, its conversion ends."""
    value: list[Any] = []
    value += [value] * many
    conversion = Conversion()
    orjson.dumps(conversion.of(value, "context"))
    assert conversion.refused


def test_a_list_that_says_that_it_holds_more() -> None:
    """What a subclass of a list yields is not believed, as that may never end: its items are those that it holds."""

    class Longer(list[int]):
        def __iter__(self) -> Iterator[int]:
            return iter(range(1000))

    assert Conversion().of(Longer([1, 2]), "context") == [1, 2]


_SINGLE = (
    st.none() | st.floats() | st.integers() | st.text(max_size=2) | st.binary(max_size=2) | st.datetimes() | st.uuids()
    | st.decimals() | st.complex_numbers() | st.builds(object) | st.sampled_from([Color.RED, np.int8(1), Point])
)  # fmt: skip


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.text() | st.integers() | st.floats()
    return st.lists(inner) | st.tuples(inner) | st.dictionaries(names, inner) | st.builds(Point, inner)


@given(st.recursive(_SINGLE, _nested, max_leaves=20))
def test_the_outcome_is_json(value: object) -> None:
    """Whatever it is, the outcome is what JSON has, and converting it again changes nothing."""
    plain = Conversion().of(value, "context")
    again = Conversion()
    assert again.of(plain, "context") == plain
    assert not again.refused
