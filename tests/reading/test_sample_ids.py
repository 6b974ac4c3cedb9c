"""Samples that are read by their ids: the filter, the difference of two runs, the strip, and what names a sample."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predlog.cli.main import main
from predlog.reading.diff import Difference
from predlog.reading.filters import Selection
from predlog.records.codec import from_event, to_line
from predlog.records.schema import Comparison
from predlog.records.text import sample_name
from predlog.report.film_strip import Strip
from tests import events


def comparison(step: int, sample: int = 0, sample_id: str | None = None, **fields: Any) -> Comparison:
    event = {
        **events.LATER,
        **events.comparison(step=step, sample=sample, recorder="a"),
        **fields,
        "sample_id": sample_id,
    }
    record = from_event(event)
    assert isinstance(record, Comparison)
    return record


def test_a_selection_by_id() -> None:
    """Comparisons of these ids are wanted wherever in the batch they are; findings stay, lines about attempts don't."""
    selection = Selection(sample_ids=frozenset({"doc-17"}))
    assert selection(comparison(1, 3, "doc-17"))
    assert not selection(comparison(1, 3, "doc-1"))
    assert not selection(comparison(1, 17))
    assert selection(from_event(events.finding()))
    assert not selection(from_event(events.run()))


def test_tail_selects_by_id(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--sample-id` may be repeated, and names what there is if nothing matches."""
    lines = [events.now(events.comparison(seq=step, step=step, sample=step % 3)) for step in range(9)]
    file = tmp_path / "predictions.jsonl"
    file.write_bytes(b"".join(to_line({**line, "sample_id": f"doc-{line['step'] % 4}"}) for line in lines))
    assert main(["tail", str(tmp_path), "--json", "-n", "all", "--sample-id", "doc-1", "--sample-id", "doc-3"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["step"] for one in found] == [1, 3, 5, 7]
    main(["tail", str(tmp_path), "--sample-id", "doc-9"])
    assert "nothing in" in capsys.readouterr().err


def test_two_runs_are_compared_by_ids() -> None:
    """The same samples at other places of the batch are the same; without ids on one side the places count."""
    tokens = {name: [events.token(1, place)] for place, name in enumerate("ab")}

    def run(order: str, *, has_ids: bool = True) -> list[Comparison]:
        return [
            comparison(step, place, name if has_ids else None, tokens=tokens[name])
            for step in (0, 10)
            for place, name in enumerate(order)
        ]

    assert not Difference(run("ab"), run("ba")).differs
    by_place = Difference(run("ab"), run("ba", has_ids=False))
    assert by_place.first.keys() == {"labels"}
    lone = Difference(run("ab"), run("b")).first["records"]
    assert (lone.sample, lone.sample_id, lone.only) == (0, "a", "a")


def test_the_strip_follows_a_sample_by_its_id() -> None:
    """Each row of a choice shows the same text, wherever in the batch it was; what comes once is known by its place."""
    records = []
    for step in range(5):
        records += [
            comparison(step, step, "doc-17", tokens=[events.token(1, 17)]),
            comparison(step, (step + 1) % 5, f"doc-{100 + step}", tokens=[events.token(1, 100 + step)]),
            comparison(step, 0, stream="eval", tokens=[events.token(1)]),
        ]
    strip = Strip()
    for one in records:
        strip.add(one)
    columns = json.loads(json.dumps(strip.columns()))
    assert columns["samples"] == ["doc-17", "0", "1", "2", "3", "4"]
    rows = columns["rows"]
    chosen = [row for row, which in enumerate(rows["sample"]) if columns["samples"][which] == "doc-17"]
    assert [rows["step"][row] for row in chosen] == [*range(5)]
    assert {columns["tokens"]["label"][row] for row in chosen} == {columns["tokens"]["label"][0]}
    assert [rows["place"][row] for row in chosen] == [*range(5)]
    others = [columns["samples"][rows["sample"][row]] for row in range(1, 15, 3)]
    assert others == [str(one.sample) for one in records[1::3]]
    assert [rows["sample_id"][row] for row in (0, 1, 2)] == ["doc-17", "doc-100", None]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5), st.integers(0, 3), st.none() | st.sampled_from(["0", "1", "2", "a", "\u202e", "2 (id)"])
        ),
        max_size=40,
    )
)
def test_the_strips_choices(drawn: list[tuple[int, int, str | None]]) -> None:
    """A name is of one sample: the rows of a choice have one id, which comes at several steps, or one place."""
    strip = Strip()
    for step, sample, sample_id in sorted(drawn, key=str):
        strip.add(comparison(step, sample, sample_id))
    columns = strip.columns()
    names, rows = columns["samples"], columns["rows"]
    assert len(set(names)) == len(names)
    steps: dict[str | None, set[int]] = {}
    for step, sample_id in zip(rows["step"], rows["sample_id"], strict=True):
        steps.setdefault(sample_id, set()).add(step)
    for which in range(len(names)):
        of_choice = [row for row, one in enumerate(rows["sample"]) if one == which]
        ids, places = {rows["sample_id"][row] for row in of_choice}, {rows["place"][row] for row in of_choice}
        is_followed = all(one is not None and len(steps[one]) > 1 for one in ids)
        assert len(ids) == 1 if is_followed else len(places) == 1


@pytest.mark.parametrize(
    ("sample", "sample_id", "name"),
    [
        (3, None, "3"),
        (3, "doc-17", "3 (doc-17)"),
        (0, "\x1b[2J", r"0 (\x1b[2J)"),
        (1, "x" * 100, f"1 ({'x' * 24}…)"),
    ],
)
def test_a_sample_is_named_by_place_and_id(sample: int, sample_id: str | None, name: str) -> None:
    """A heading has both, the id harmless and short."""
    assert sample_name(sample, sample_id) == name
