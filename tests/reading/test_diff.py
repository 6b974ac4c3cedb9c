"""Differences: where two runs diverge, how their streams compare, and which tokens only one predicts correctly."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from predlog.reading import diff
from predlog.reading.contrast import KINDS
from predlog.reading.diff import Difference, aligned
from predlog.records.schema import Comparison, Record
from tests import events
from tests.written import command, typed, undocumented, written

Made = list[dict[str, Any]]


def comparison(step: int, **fields: Any) -> dict[str, Any]:
    return events.comparison(step=step, **fields)


def difference(a: Made, b: Made) -> Difference:
    return Difference(typed(*a), typed(*b))


@st.composite
def runs(draw: st.DrawFn) -> list[Record]:
    """Draw a run of two streams, one with codebooks, of some steps, samples and ranks, in the reader's order.

    Of one sample and rank there may be several at a step: a loop may compare more than once.
    """
    lane = st.sampled_from([("text", None), ("audio", 0), ("audio", 1)])
    places = st.lists(st.tuples(st.integers(0, 5), lane, st.integers(0, 1), st.integers(0, 1)), max_size=8)
    made = []
    for step, (stream, codebook), sample, rank in sorted(draw(places), key=str):
        tokens = [
            events.token(
                position, label, prediction, label_logprob=draw(st.none() | st.floats(-9, 0)), label_rank=prediction + 1
            )
            for position in sorted(draw(st.sets(st.integers(0, 3))))
            for label, prediction in [draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))]
        ]
        made.append(
            comparison(
                step,
                stream=stream,
                codebook=codebook,
                sample=sample,
                rank=rank,
                tokens=tokens,
                supervised=draw(st.integers(4, 5)),
                matched=draw(st.none() | st.integers(0, 4)),
            )
        )
    return typed(*made)


class TestLaws:
    @given(runs())
    def test_a_run_does_not_differ_from_itself(self, run: list[Record]) -> None:
        """Of a run and itself there is no difference, and every token counts for both or neither."""
        found = Difference(run, run)
        assert not found.differs
        assert not found.first
        for row in found.rows.values():
            assert row.a == row.b
            assert row.score.tokens == row.score.both + row.score.neither

    @given(runs(), runs())
    def test_the_other_way_round(self, a: list[Record], b: list[Record]) -> None:
        """What A has of B, B has of A: each figure changes sides, and nothing else."""
        one, other = Difference(a, b), Difference(b, a)
        assert one.differs == other.differs
        assert one.rows.keys() == other.rows.keys()
        for key, row in one.rows.items():
            turned = other.rows[key]
            assert (row.a, row.b) == (turned.b, turned.a)
            assert (row.only_a, row.only_b) == (turned.only_b, turned.only_a)
            assert (row.score.only_a, row.score.labels_a) == (turned.score.only_b, turned.score.labels_b)
            assert row.differing == turned.differing
            assert {kind: first.step for kind, first in row.first.items()} == {
                kind: first.step for kind, first in turned.first.items()
            }

    @given(runs(), runs())
    def test_the_same_by_brute_force(self, a: list[Record], b: list[Record]) -> None:
        """Steps, records and tokens are those that a reader finds who keeps all records of both."""
        one, other = _placed(a), _placed(b)
        found = Difference(a, b)
        common = one.keys() & other.keys()
        assert sum(row.records for row in found.rows.values()) == len(common)
        pairs = [
            (token, twin)
            for place in common
            for token in one[place].tokens
            for twin in other[place].tokens
            if (token.position, token.label) == (twin.position, twin.label)
        ]
        score = [row.score for row in found.rows.values()]
        assert sum(each.both for each in score) == sum(bool(token.match and twin.match) for token, twin in pairs)
        assert sum(each.only_a for each in score) == sum(bool(token.match and not twin.match) for token, twin in pairs)
        assert sum(each.only_b for each in score) == sum(bool(twin.match and not token.match) for token, twin in pairs)
        steps = [{(step, key) for step, key, *_ in places} for places in (one, other)]
        assert sum(row.only_a.steps for row in found.rows.values()) == len(steps[0] - steps[1])
        assert sum(row.only_b.steps for row in found.rows.values()) == len(steps[1] - steps[0])


def _placed(run: list[Record]) -> dict[tuple[int, tuple[str, int | None], int, int, int], Comparison]:
    """Return the comparisons of a run by what they are held against, those of one place by their number there."""
    found: dict[Any, Comparison] = {}
    for one in run:
        if isinstance(one, Comparison):
            place = one.step, (one.stream, one.codebook), one.sample, one.rank
            found[(*place, sum(key[:-1] == place for key in found))] = one
    return found


class TestAligning:
    def steps(self, *named: tuple[str, int]) -> list[Comparison]:
        made = typed(*(comparison(step, stream=stream) for stream, step in named))
        return [one for one in made if isinstance(one, Comparison)]

    def met(self, a: list[Comparison], b: list[Comparison]) -> set[tuple[str, int, int, int]]:
        return {(one.stream, one.step, len(one.a), len(one.b)) for one in aligned(a, b)}

    def test_streams_that_count_their_own_steps(self) -> None:
        """An evaluation that begins at 0 within the training meets its twin, though the trainings log other steps."""
        validation = [("eval", 0), ("eval", 10)]
        a = self.steps(("text", 990), ("text", 1000), ("text", 1010), *validation, ("text", 1020))
        b = self.steps(("text", 980), ("text", 1000), *validation, ("text", 1020))
        assert self.met(a, b) == {
            ("text", 980, 0, 1), ("text", 990, 1, 0), ("text", 1000, 1, 1), ("text", 1010, 1, 0),
            ("text", 1020, 1, 1), ("eval", 0, 1, 1), ("eval", 10, 1, 1),
        }  # fmt: skip

    @given(
        st.lists(st.tuples(st.sampled_from(["text", "eval"]), st.integers(0, 30), st.integers(1, 9), st.booleans())),
        st.integers(0, 20),
    )
    @example([("text", 0, 5000, True)], diff.MOST_WAITING)
    @example([("text", 9000, 1, True), ("eval", 0, 9000, False), ("text", 9010, 1, True)], diff.MOST_WAITING)
    def test_a_run_meets_itself(self, parts: list[tuple[str, int, int, bool]], most: int) -> None:
        """However much there is of one step, and of a stream that counts for itself, nothing is given up that comes."""
        run = self.steps(
            *((stream, at if is_one else at + n) for stream, at, many, is_one in parts for n in range(many))
        )
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(diff, "MOST_WAITING", most)
            met = list(aligned(run, run))
        assert all(one.a == one.b for one in met)
        assert sum(len(one.a) for one in met) == len(run)

    @pytest.mark.parametrize("every", [1, 2, 7])
    def test_memory_is_bounded(self, monkeypatch: pytest.MonkeyPatch, every: int) -> None:
        """However much one run has alone, a stream or steps between, little waits and everything comes once."""
        monkeypatch.setattr(diff, "MOST_WAITING", 50)
        taken = [0]

        def counted(ones: list[Comparison]) -> Iterator[Comparison]:
            for one in ones:
                taken[0] += 1
                yield one

        a = self.steps(*((stream, step) for step in range(1000) for stream in ("text", "audio")))
        b = self.steps(*(("text", step) for step in range(0, 1000, every)))
        given, most, met = 0, 0, 0
        for one in aligned(counted(a), counted(b)):
            given += len(one.a) + len(one.b)
            most = max(most, taken[0] - given)
            met += bool(one.a and one.b)
        assert met == len(b)
        assert given == len(a) + len(b)
        assert most <= 60


class TestKinds:
    @pytest.mark.parametrize(
        ("change", "kinds"),
        [
            ({"tokens": [events.token(63), events.token(64, 5, 9, label_logprob=-2.5, label_rank=17)]}, {"labels"}),
            ({"supervised": 389}, {"labels"}),
            ({"supervised": 389, "matched": 161}, {"labels"}),
            ({"matched": 161}, {"predictions"}),
            (
                {"tokens": [events.token(63), events.token(64, 4, 8, label_logprob=-2.5, label_rank=17)]},
                {"predictions"},
            ),
            (
                {"tokens": [events.token(63), events.token(64, 4, 9, label_logprob=-2.50001, label_rank=17)]},
                {"logprobs"},
            ),
            ({"tokens": [events.token(63), events.token(64, 4, 9, label_logprob=None, label_rank=17)]}, {"logprobs"}),
            ({"tokens": [events.token(63), events.token(64, 4, 9, label_logprob=-2.5, label_rank=18)]}, {"ranks"}),
            ({"sample": 1}, {"records"}),
            ({"step": 121}, {"steps"}),
            ({"stream": "eval/text"}, {"steps"}),
        ],
    )
    def test_each_kind_by_itself(self, change: dict[str, Any], kinds: set[str]) -> None:
        """What differs is named by its kind, at its step."""
        found = difference([events.comparison()], [events.comparison(**change)])
        assert found.first.keys() == kinds
        assert {one.step for one in found.first.values()} == {120}

    @pytest.mark.parametrize(
        "change",
        [
            {"timestamp": "2027-01-02T03:04:05.678901Z", "run": "other", "seq": 9, "attempt": 3},
            {"context": {"lr": 1.0}},
            {"matched": None},
            {"tokens": [events.token(64, 4, 9, label_logprob=-2.500001, label_rank=17)]},
            {"tokens": [events.token(63, label_text="x", input=5)]},
        ],
    )
    def test_what_is_no_difference(self, change: dict[str, Any]) -> None:
        """When and how a run was recorded, how many tokens are shown and the last decimal are no difference."""
        assert not difference([events.comparison()], [events.comparison(**change)]).differs

    def test_inputs_count_where_both_have_them(self) -> None:
        """Other inputs under the same labels are a difference of the data."""
        a, b = ([comparison(0, tokens=[events.token(1, input=number)])] for number in (5, 6))
        assert set(difference(a, b).first) == {"inputs"}

    def test_the_first_is_the_earliest_of_all_streams(self) -> None:
        """However streams are mixed, the first difference is that of the lowest step."""
        a = [comparison(step, stream=stream) for step in (0, 10, 20) for stream in ("text", "audio")]
        b = [{**one, "matched": 161} if one["step"] > 0 and one["stream"] == "audio" else one for one in a]
        b = [{**one, "matched": 161} if one["step"] > 10 else one for one in b]
        first = difference(a, b).first["predictions"]
        assert (first.step, first.stream) == (10, "audio")

    def test_other_data_compares_as_sums_and_only_the_same_tokens_one_by_one(self) -> None:
        """Where labels differ, the figures are of each run's own tokens, and the score of those in common."""
        a = [comparison(0, tokens=[events.token(1, 5, 5), events.token(2, 6, 0)], matched=None)]
        b = [comparison(0, tokens=[events.token(1, 5, 0), events.token(2, 7, 7), events.token(3, 7, 7)], matched=None)]
        row = difference(a, b).rows["text", None]
        assert (row.a.accuracy, row.b.accuracy) == (0.5, 2 / 3)
        assert (row.score.tokens, row.score.only_a) == (1, 1)

    def test_of_the_same_data_only_what_both_show_is_compared(self) -> None:
        """A run that shows more tokens does not look better or worse for it."""
        few = [events.token(1, 5, 5)]
        a, b = [comparison(0, tokens=few)], [comparison(0, tokens=[*few, events.token(2, label_logprob=-9.0)])]
        row = difference(a, b).rows["text", None]
        assert row.a.logprob == row.b.logprob == -0.25


COLUMNS = ("positions", "labels", "predictions", "label_logprobs", "label_ranks")
Columns = list[tuple[int, int, int | None, float | None, int | None]]


def whole(step: int, *rows: tuple[Any, ...], **fields: Any) -> dict[str, Any]:
    """Return a comparison that has kept all of its tokens, and shows none."""
    columns = {name: [row[place] for row in rows] for place, name in enumerate(COLUMNS)}
    return comparison(
        step, **{**events.LATER, "recorder": "0a1b2c3d", "tokens": [], "all_tokens": columns, **fields}
    )  # fmt: skip


column = st.tuples(
    st.integers(0, 9), st.integers(0, 2), st.none() | st.integers(0, 2), st.none() | st.sampled_from([-0.5, -2.0]),
    st.none() | st.integers(1, 3),
)  # fmt: skip
kept = st.lists(column, max_size=6, unique_by=lambda row: row[0]).map(sorted)


class TestAllTokens:
    @given(st.lists(st.tuples(kept, kept), min_size=1, max_size=4))
    def test_the_first_token_that_differs(self, steps: list[tuple[Columns, Columns]]) -> None:
        """Of all tokens that both kept it is the first, by step and position, that differs in anything."""
        a = [whole(step, *one) for step, (one, _) in enumerate(steps)]
        b = [whole(step, *other) for step, (_, other) in enumerate(steps)]
        found = difference(a, b)
        every = [
            (step, row[0])
            for step, (one, other) in enumerate(steps)
            for row in one
            for twin in other
            if row[0] == twin[0] and row != twin
        ]
        first = found.first_token
        assert (None if first is None else (first.step, first.position)) == min(every, default=None)
        assert found.rows["text", None].score.tokens == sum(
            row[:2] == twin[:2] for one, other in steps for row in one for twin in other
        )

    def test_a_middle_token_is_named(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A token that neither shows is named, with both predictions and both log-probabilities."""
        rows = [(1, 5, 5, -0.1, 1), (2, 6, 6, -0.2, 1), (3, 7, 7, -0.3, 1)]
        shown = {"tokens": [events.token(1, 5, 5, label_logprob=-0.1, label_text=" a", prediction_text=" a")]}
        other = [rows[0], (2, 6, 5, -4.5, 2), rows[2]]
        a = written(tmp_path / "a", *(whole(step, *rows, **shown) for step in (0, 10)))
        b = written(tmp_path / "b", whole(0, *rows, **shown), whole(10, *other, **shown))
        assert command("diff", a, b) == 1
        said = capsys.readouterr().out.splitlines()
        assert (
            "first token that differs: step 10, text, sample 0, position 2: label 6, log-probability -0.2 in A and"
            ' -4.5 in B; A predicts 6, B " a"'
        ) in said
        assert command("diff", "--json", a, b) == 1
        found = json.loads(capsys.readouterr().out)
        assert (found["first_token"]["step"], found["first_token"]["position"]) == (10, 2)
        assert found["first_token"]["b"]["label_logprob"] == -4.5

    def test_both_must_have_them(self) -> None:
        """Against a run that kept the tokens shown only, those are compared, and no token is called the first."""
        shown = {"tokens": [events.token(1, 5, 5, label_logprob=-0.1)]}
        a, b = [whole(0, (1, 5, 5, -0.1, 1), (2, 6, 6, -0.2, 1), **shown)], [comparison(0, **shown)]
        found = difference(a, b)
        assert not found.differs
        assert found.rows["text", None].score.tokens == 1
        b = [comparison(0, tokens=[events.token(1, 5, 4, label_logprob=-0.1)])]
        assert difference(a, b).first_token is None

    def test_inputs_of_tokens_shown_still_count(self) -> None:
        """The columns have no inputs; those of the tokens shown are compared all the same."""
        a, b = (
            [whole(0, (1, 5, 5, -0.1, 1), tokens=[events.token(1, 5, 5, label_logprob=-0.1, input=read)])]
            for read in (8, 9)
        )
        assert set(difference(a, b).first) == {"inputs"}


class TestLosses:
    def test_the_loss_is_a_figure_and_a_difference(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A loss of all tokens comes before the accuracy, and differs where no token shown does."""
        made = [whole(0, loss=loss, all_tokens=None, supervised=count) for loss, count in ((2.0, 300), (1.0, 100))]
        a = written(tmp_path / "a", *({**one, "sample": place} for place, one in enumerate(made)))
        b = written(tmp_path / "b", *({**one, "sample": place, "loss": 1.0} for place, one in enumerate(made)))
        assert command("diff", a, b) == 1
        said = capsys.readouterr().out
        assert "losses of all supervised tokens differ in 1 of 2 records, first at step 0, text, sample 0\n" in said
        assert "1 step in both, loss A 1.75, B 1.00, B - A -0.750, accuracy A 80.0%, B 80.0%, B - A 0.0\n" in said
        assert "log-probability" not in said

    @pytest.mark.parametrize("loss", [2.3000014, None])
    def test_what_is_no_difference(self, loss: float | None) -> None:
        """The last decimal, and a loss that only one run has, are none."""
        a, b = [whole(0, loss=2.3, all_tokens=None)], [whole(0, loss=loss, all_tokens=None)]
        assert not difference(a, b).differs


def pair(tmp_path: Path) -> tuple[str, str]:
    """Write two runs that part at step 10."""
    right_in_a = [events.token(1, 5, 5, label_text=" the"), events.token(2, 6, 0)]
    right_in_b = [events.token(1, 5, 9, label_text=" the"), events.token(2, 6, 6)]
    a = [comparison(step, tokens=right_in_a) for step in range(0, 40, 10)]
    b = a[:1] + [{**one, "matched": 170, "tokens": right_in_b} for one in a[1:]]
    return written(tmp_path / "a", events.run(), *a), written(tmp_path / "b", events.run(run="other"), *b)


class TestCommand:
    def test_the_same(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Two records of the same training are the same, and the status is 0."""
        a, _ = pair(tmp_path)
        assert command("diff", a, a) == 0
        assert capsys.readouterr().out.splitlines()[-1] == "A and B are the same"

    def test_lines(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """In a pipe, each line is whole, with signs that need no colour, and the status is 1."""
        assert command("diff", *pair(tmp_path)) == 1
        said = capsys.readouterr().out
        assert "\x1b" not in said
        for line in [
            "first difference at step 10: predictions",
            (
                "predictions differ in 3 of 4 records, first at step 10, text, sample 0, position 1:"
                ' label " the", A 5, B 9'
            ),
            (
                "stream text: 4 steps in both, accuracy A 41.2%, B 43.2%, B - A +1.9,"
                " log-probability A -0.25, B -0.25, B - A 0.00"
            ),
            "of 8 tokens with the same label at the same place, 1 are correct in both and 1 in neither",
            "correct in A and wrong in B: 3",
            'correct in A:     3 × " the", first at step 10, where B has 9',
        ]:
            assert line in said.splitlines()

    def test_other_data_is_reported(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Where labels differ it says that the runs saw other data, and what can still be compared."""
        a = written(tmp_path / "a", comparison(0, tokens=[events.token(1, 5, 5), events.token(2)]))
        b = written(tmp_path / "b", comparison(0, tokens=[events.token(1, 7, 5), events.token(2)]))
        assert command("diff", a, b) == 1
        said = capsys.readouterr().out
        assert "labels differ, so the runs saw other data, in 1 of 1 record, first at step 0" in said
        assert "of the tokens shown, 1 have the same label at the same place" in said

    def test_what_one_has_alone(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Steps, streams, samples and ranks that one has alone are counted, with the first of them."""
        made = [comparison(step) for step in range(0, 30, 10)]
        a = written(tmp_path / "a", *made, comparison(20, stream="audio"))
        b = written(tmp_path / "b", *made[:2], comparison(10, sample=1))
        assert command("diff", a, b) == 1
        said = capsys.readouterr().out.splitlines()
        assert "common records are the same" in said
        assert "only A has 1 step, 20, of text" in said
        assert "only A has 1 step, 20, of audio" in said
        assert "1 record of other samples or ranks, first at step 10, text, sample 1: only B has it" in said

    def test_nothing_in_common(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Runs without a common step differ, and it says that this is why nothing is compared."""
        a, b = written(tmp_path / "a", comparison(1)), written(tmp_path / "b", comparison(2))
        assert command("diff", a, b) == 1
        assert "no stream has a step in both runs" in capsys.readouterr().out

    def test_settings_explain(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Different first lines are reported, but are no difference by themselves."""
        a = written(tmp_path / "a", events.run(settings={"directory": "a", "every": 5}), comparison(0), comparison(5))
        b = written(tmp_path / "b", events.run(settings={"directory": "b", "every": 10}), comparison(0))
        command("diff", a, b)
        said = capsys.readouterr().out
        assert "settings: every is 5 in A, 10 in B" in said
        assert "directory" not in said

    @pytest.mark.parametrize("width", [40, 70, 80, 200])
    def test_it_fits_the_terminal(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
    ) -> None:
        """On a terminal of any width no line is longer, and all figures are there."""
        for name, value in {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm", "COLUMNS": str(width)}.items():
            monkeypatch.setenv(name, value)
        command("diff", *pair(tmp_path))
        said = capsys.readouterr().out.replace("\x1b[1m", "").replace("\x1b[2m", "").replace("\x1b[0m", "")
        titles = ("A is", "B is")
        assert max(len(line) for line in said.splitlines() if not line.startswith(titles)) <= width
        assert all(figure in said for figure in ("41.2%", "43.2%", "+1.9", "0.00"))

    def test_tokens_are_as_many_as_asked_for(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """The labels listed each way are the most frequent, as many as asked for."""
        labels = [1, 2, 2, 3, 3, 3]
        right = [events.token(at, label, label) for at, label in enumerate(labels)]
        wrong = [events.token(at, label, 0) for at, label in enumerate(labels)]
        a = written(tmp_path / "a", comparison(0, tokens=right))
        b = written(tmp_path / "b", comparison(0, tokens=wrong))
        command("diff", a, b, "--tokens", "2")
        lines = [
            line.split(",")[0] for line in capsys.readouterr().out.splitlines() if line.startswith("correct in A: ")
        ]
        assert lines == ["correct in A:     3 × 3", "correct in A:     2 × 2"]

    def test_json(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """One object has every figure."""
        assert command("diff", "--json", *pair(tmp_path)) == 1
        found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
        assert list(found) == [
            "a",
            "b",
            "same",
            "first",
            "first_token",
            "findings",
            "settings",
            "streams",
            "right_in_a",
            "right_in_b",
        ]
        assert list(found["first"]) == list(KINDS)
        assert undocumented(found) <= events.token(1).keys()
        assert found["first"]["predictions"]["a"]["label_text"] == " the"
        (stream,) = found["streams"]
        assert stream["accuracy"]["difference"] == stream["accuracy"]["b"] - stream["accuracy"]["a"]
        assert stream["tokens"] == {"compared": 8, "both": 1, "only_a": 3, "only_b": 3, "neither": 1}
        assert [(one["label"], one["count"]) for one in found["right_in_a"]] == [(5, 3)]

    @pytest.mark.parametrize("which", ["a", "b"])
    def test_trouble(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], which: str) -> None:
        """If one run is missing, or has no comparisons, the status is 2, with one line on stderr."""
        good, begun = written(tmp_path / "good", comparison(0)), written(tmp_path / "begun", events.run())
        for other in (begun, str(tmp_path / "nothing")):
            assert command("diff", *((other, good) if which == "a" else (good, other))) == 2
            said = capsys.readouterr()
            assert (said.out, said.err.count("\n")) == ("", 1)
            assert other in said.err

    def test_standard_input_is_one(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Both runs can't come from standard input."""
        assert command("diff", "-", "-") == 2
        assert "only one of the runs can be standard input" in events.said(capsys)
