"""A stored pair gives the same record with every version."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.versions import golden

EXPECTED: dict[str, list[dict[str, Any]]] = json.loads(golden.RECORDS.read_text())


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    return golden.recorded(tmp_path_factory.mktemp("golden"))


def is_number(key: str, value: object) -> bool:
    return (key.endswith("_logprob") or key in {"loss", "entropy"}) and value is not None


def numbers(value: Any) -> Iterator[float]:
    """Yield the log-probabilities, losses and entropies of a record."""
    if isinstance(value, dict):
        for key, one in value.items():
            if is_number(key, one):
                yield one
            else:
                yield from numbers(one)
    elif isinstance(value, list):
        for one in value:
            yield from numbers(one)


def without(value: Any) -> Any:
    """Return a record with these numbers taken out, if there are any: all that must be equal."""
    if isinstance(value, dict):
        return {key: "a number" if is_number(key, one) else without(one) for key, one in value.items()}
    return [without(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", golden.HOW)
def test_the_record_is_the_same(found: dict[str, list[dict[str, Any]]], name: str) -> None:
    """Ids, ranks, counts and findings are equal, and log-probabilities to a relative 1e-5."""
    assert without(found[name]) == without(EXPECTED[name])
    assert list(numbers(found[name])) == pytest.approx(list(numbers(EXPECTED[name])), rel=1e-5, abs=1e-6)
    assert any(event["event"] == "predlog.comparison" and event["tokens"] for event in found[name])


def test_each_kind_is_in_them() -> None:
    """The stored records have ties, rows that are not finite, codebooks and findings."""
    events = [event for some in EXPECTED.values() for event in some]
    tokens = [token for event in events for token in event.get("tokens") or ()]
    assert {event["event"] for event in events} == {"predlog.comparison", "predlog.finding"}
    assert {event.get("codebook") for event in events} >= {None, 0, 3}
    assert any(event.get("nonfinite") for event in events)
    assert {token["label_rank"] is None for token in tokens} == {True, False}
    assert all(token["input"] is not None for token in tokens)


def test_pairs_are_small() -> None:
    """They are part of every clone."""
    assert golden.PAIRS.stat().st_size < 3 << 20
    assert Path(golden.PAIRS).is_file()
