"""Summaries: exact figures in bounded memory, what is open, what is not learnt, and how all that is shown."""

import json
import math
import re
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from predlog.cli.text.curves import sparkline
from predlog.reading import curves
from predlog.reading.forgetting import Learning
from predlog.reading.summary import Curve, Summary
from predlog.reading.words import nats
from predlog.records.figures import merged, of_step
from predlog.records.schema import Comparison
from predlog.records.text import percent
from tests import events
from tests.written import command, typed, undocumented, written

Raw = list[tuple[int, int, int, float | None, int | None, bool]]

# step, supervised, matched, log-probability, rank, whether the accuracy was counted
one = st.tuples(
    st.integers(0, 6),
    st.integers(0, 50),
    st.integers(0, 50),
    st.none() | st.floats(-20, 0),
    st.none() | st.integers(1, 1000),
    st.booleans(),
)


def comparison(step: int, **fields: Any) -> dict[str, Any]:
    return events.comparison(step=step, **fields)


def comparisons(raw: Raw) -> list[Comparison]:
    made = [
        comparison(
            step,
            supervised=supervised,
            matched=min(matched, supervised) if is_counted else None,
            tokens=[events.token(1, label_logprob=logprob, label_rank=rank), events.token(2, 3, 4)],
            rank=number % 3,
        )
        for number, (step, supervised, matched, logprob, rank, is_counted) in enumerate(raw)
    ]
    return [one for one in typed(*made) if isinstance(one, Comparison)]


def curve(*made: dict[str, Any]) -> Curve:
    return Summary.of(typed(*made)).curves["text", None]


class TestCurves:
    @given(st.lists(one, min_size=1, max_size=30))
    def test_figures_are_those_of_single_steps(self, raw: Raw) -> None:
        """First, last and best are what a reader computes who keeps everything, with the earliest best step."""
        steps: dict[int, list[Comparison]] = {}
        for each in sorted(comparisons(raw), key=lambda each: each.step):
            steps.setdefault(each.step, []).append(each)
        found = Summary.of([each for ones in steps.values() for each in ones]).curves["text", None]
        ranks = {
            step: median(known)
            for step, ones in steps.items()
            if (known := [token.label_rank for each in ones for token in each.tokens if token.label_rank])
        }
        accuracies = {step: right / of for step, ones in steps.items() for right, of in [_right(ones)] if of}
        assert (found.steps, found.records) == (len(steps), len(raw))
        assert found.rank is not None
        assert (found.rank.first.value, found.rank.last.value) == (ranks[min(ranks)], ranks[max(ranks)])
        assert found.rank.best == (min(ranks, key=lambda step: (ranks[step], step)), min(ranks.values()))
        if found.accuracy is None:
            assert not accuracies
        else:
            assert found.accuracy.best.value == max(accuracies.values())
            assert found.accuracy.best.step == max(accuracies, key=lambda step: (accuracies[step], -step))

    @given(st.lists(one, min_size=1, max_size=60), st.integers(1, 8))
    def test_merging_keeps_sums(self, raw: Raw, most: int) -> None:
        """However few points may be drawn, their counts add up to the same, and first, last and best stay."""
        ordered = sorted(comparisons(raw), key=lambda each: each.step)
        whole = Summary.of(ordered).curves["text", None]
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(curves, "MOST_POINTS", most)
            few = Summary.of(ordered).curves["text", None]
        assert len(few.points) <= most
        for name in ("records", "length", "supervised", "right", "of", "steps", "shown", "ranked"):
            total = sum(getattr(point, name) for point in whole.points)
            assert sum(getattr(point, name) for point in few.points) == total
        assert _weighted(few, "logprob", "shown") == pytest.approx(_weighted(whole, "logprob", "shown"))
        assert _weighted(few, "rank", "ranked") == pytest.approx(_weighted(whole, "rank", "ranked"))
        assert (few.accuracy, few.logprob, few.rank) == (whole.accuracy, whole.logprob, whole.rank)
        assert all(before.last_step < after.first_step for before, after in pairwise(few.points))

    @given(st.lists(one, min_size=1, max_size=20), st.randoms(use_true_random=False))
    def test_order_of_ranks_and_samples_is_nothing(self, raw: Raw, random: Any) -> None:
        """Within a step, records may come in any order."""
        ordered = sorted(comparisons(raw), key=lambda each: each.step)
        shuffled = sorted(random.sample(ordered, len(ordered)), key=lambda each: each.step)
        first, other = (Summary.of(ones).curves["text", None] for ones in (ordered, shuffled))
        assert (first.accuracy, first.rank, first.supervised) == (other.accuracy, other.rank, other.supervised)
        for before, after in zip(first.points, other.points, strict=True):
            assert before.logprob == pytest.approx(after.logprob)

    @given(st.lists(one, max_size=20), st.lists(one, max_size=20))
    def test_adding_is_summarising_the_concatenation(self, raw: Raw, more: Raw) -> None:
        """Records may be added after the summary was looked at, in the middle of a step too."""
        ordered = sorted(comparisons(raw + more), key=lambda each: each.step)
        summary = Summary.of(ordered[: len(raw)])
        assert sum(each.records for each in summary.curves.values()) == len(raw)
        for each in ordered[len(raw) :]:
            summary.add(each)
        assert summary.curves == Summary.of(ordered).curves

    @given(st.lists(st.lists(one, min_size=1, max_size=3), min_size=3, max_size=3))
    def test_merging_points(self, several: list[Raw]) -> None:
        """The log-probability of merged points is the mean of all tokens, and their rank that of the steps with one."""
        points = [of_step([_unranked(each) for each in comparisons(raw)]) for raw in several]
        together = merged(merged(points[0], points[1]), points[2])
        tokens = [token.label_logprob for raw in several for each in comparisons(raw) for token in each.tokens]
        known = [logprob for logprob in tokens if logprob is not None]
        assert together.logprob == pytest.approx(sum(known) / len(known))
        assert together.shown == len(known)
        ranks = [point.rank for point in points if point.rank is not None]
        assert together.rank == (pytest.approx(sum(ranks) / len(ranks)) if ranks else None)

    def test_memory_is_bounded(self) -> None:
        """Of ten thousand steps at most two thousand points are kept, and all are counted."""
        found = curve(*(comparison(step, tokens=[events.token(1)]) for step in range(10_000)))
        assert 1000 <= len(found.points) <= curves.MOST_POINTS
        assert (found.steps, found.first_step, found.last_step) == (10_000, 0, 9_999)
        assert {point.steps for point in found.points[:-1]} == {8}

    def test_what_is_not_counted_is_said(self) -> None:
        """Where matches were not counted, accuracy is that of the tokens shown, and named as such."""
        assert curve(comparison(0, matched=None)).counted == "shown"
        assert curve(comparison(0)).counted == "supervised"
        assert curve(comparison(0), comparison(1, matched=None)).counted == "both"
        assert curve(comparison(0, matched=None)).points[0].accuracy == 0.5

    def test_nothing_supervised_is_no_accuracy(self) -> None:
        """A step without supervised positions has neither accuracy nor log-probability nor rank."""
        found = curve(comparison(0, supervised=0, matched=0, tokens=[]))
        assert (found.accuracy, found.logprob, found.rank, found.share) == (None, None, None, 0.0)

    def test_streams_come_as_they_came_and_codebooks_in_order(self) -> None:
        """Streams are in the order of their first record, and codebooks by number."""
        made = [comparison(0, stream=name, codebook=number) for name, number in [("z", 10), ("z", 2), ("a", None)]]
        assert list(Summary.of(typed(*made)).curves) == [("z", 2), ("z", 10), ("a", None)]


scored = st.tuples(st.integers(0, 40), st.integers(0, 50), st.none() | st.floats(0, 20))


def losses(raw: list[tuple[int, int, float | None]]) -> dict[int, list[tuple[float, int]]]:
    """Return of each step that has any the losses of its samples, with their supervised tokens."""
    steps: dict[int, list[tuple[float, int]]] = {}
    for step, supervised, loss in sorted(raw, key=lambda each: each[0]):
        if loss is not None and any(each[0] == step and each[1] and each[2] is not None for each in raw):
            steps.setdefault(step, []).append((loss, supervised))
    return steps


def mean(pairs: list[tuple[float, int]]) -> float:
    return sum(loss * tokens for loss, tokens in pairs) / sum(tokens for _, tokens in pairs)


class TestLoss:
    @given(st.lists(scored, min_size=1, max_size=60))
    def test_it_is_the_mean_of_ten_records(self, raw: list[tuple[int, int, float | None]]) -> None:
        """First, last and best are means of the newest whole steps with ten records; of a short run, single steps."""
        steps = losses(raw)
        made = [
            comparison(step, supervised=supervised, matched=0, **{**events.LATER, "recorder": "0a1b2c3d", "loss": loss})
            for step, supervised, loss in sorted(raw, key=lambda each: each[0])
        ]
        found = curve(*made).loss
        means = {}
        for place, step in enumerate(steps):
            for start in range(place, -1, -1):
                window = [pair for each in list(steps.values())[start : place + 1] for pair in each]
                if len(window) >= curves.SMOOTHED:
                    means[step] = mean(window)
                    break
        means = means or {step: mean(pairs) for step, pairs in steps.items()}
        if not means:
            assert found is None
            return
        assert found is not None
        assert found.first.step == min(means)
        assert found.first.value == pytest.approx(means[min(means)])
        assert found.last.step == max(means)
        assert found.last.value == pytest.approx(means[max(means)])
        assert found.best.value == pytest.approx(min(means.values()))
        assert means[found.best.step] == pytest.approx(min(means.values()))

    @given(st.lists(scored, min_size=1, max_size=30), st.integers(1, 8))
    def test_points_have_the_mean_of_all_tokens(self, raw: list[tuple[int, int, float | None]], most: int) -> None:
        """Loss and entropy of a point are weighted by supervised tokens, also of merged steps."""
        made = [
            comparison(step, supervised=supervised, matched=0, **{**events.LATER, "loss": loss, "entropy": loss})
            for step, supervised, loss in sorted(raw, key=lambda each: each[0])
        ]
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(curves, "MOST_POINTS", most)
            found = curve(*made)
        pairs = [pair for each in losses(raw).values() for pair in each]
        assert sum(point.scored for point in found.points) == sum(tokens for _, tokens in pairs)
        for name, weight in (("loss", "scored"), ("entropy", "measured")):
            assert _weighted(found, name, weight) == pytest.approx(sum(loss * tokens for loss, tokens in pairs))
        assert all((point.loss is None) == (not point.scored) for point in found.points)

    def test_adding_later_changes_nothing(self) -> None:
        """A summary that is looked at in between has the same means afterwards."""
        made = typed(*(comparison(step, **{**events.LATER, "loss": 9.0 - step / 10}) for step in range(40)))
        summary = Summary.of(made[:25])
        assert summary.curves["text", None].loss == Summary.of(made[:25]).curves["text", None].loss
        for each in made[25:]:
            summary.add(each)
        assert summary.curves == Summary.of(made).curves


def _unranked(one: Comparison) -> Comparison:
    """Leave the first token's rank, which may be none, and none of the others'."""
    first, *others = one.tokens
    return replace(one, tokens=(first, *(replace(token, label_rank=None) for token in others)))


def _right(ones: list[Comparison]) -> tuple[int, int]:
    pairs = [
        (sum(token.match is True for token in each.tokens), len(each.tokens))
        if each.matched is None
        else (each.matched, each.supervised)
        for each in ones
    ]
    return sum(right for right, _ in pairs), sum(of for _, of in pairs)


def _weighted(found: Curve, name: str, weight: str) -> float:
    return float(sum((getattr(point, name) or 0.0) * getattr(point, weight) for point in found.points))


def fates(*made: dict[str, Any]) -> list[tuple[str, str, int | None]]:
    return [(one.finding.code, one.fate, one.until) for one in Summary.of(typed(*made)).findings]


class TestFates:
    def test_a_finding_is_open_until_it_is_reported_gone(self) -> None:
        """A finding ends with the info that names its code, stream and step; others stay."""
        found = events.finding(step=10)
        gone = events.finding(step=90, level="info", evidence={"since": 10})
        assert fates(found) == [("labels-are-inputs", "stands", None)]
        assert fates(found, gone) == [("labels-are-inputs", "gone", 90)]
        for other in ({"code": "same-batch"}, {"stream": "audio"}, {"rank": 1}, {"evidence": {"since": 11}}):
            assert fates(found, {**gone, **other})[0][1] == "stands"

    def test_codebooks_that_are_reported_together_end_together(self) -> None:
        """Several codebooks in one finding end with the info of the same codebooks, and no part of them does."""
        found = events.finding(step=10, evidence={"codebooks": [0, 1]})
        gone = events.finding(step=90, level="info", evidence={"since": 10, "codebooks": [0, 1]})
        assert fates(found, gone)[0][1] == "gone"
        assert fates(found, events.finding(step=90, level="info", codebook=1, evidence={"since": 10}))[0][1] == "stands"

    def test_it_comes_back(self) -> None:
        """What is gone and found again is open as of the second time."""
        gone = events.finding(step=90, level="info", evidence={"since": 10})
        assert [one[1] for one in fates(events.finding(step=10), gone, events.finding(step=200))] == ["gone", "stands"]

    def test_a_symptom_is_explained_by_what_is_certain(self) -> None:
        """As for the judge, a symptom ends without a line when an error is found that explains it."""
        symptom, cause = events.finding(step=10, code="collapsed"), events.finding(step=50)
        assert fates(symptom, cause) == [("collapsed", "explained", 50), ("labels-are-inputs", "stands", None)]
        assert fates(cause, symptom)[1][1] == "stands"
        assert fates(symptom, {**cause, "stream": "audio"})[0][1] == "stands"
        assert fates(symptom, events.finding(step=50, code="pad-supervised", level="warning"))[0][1] == "stands"
        assert fates(symptom, {**cause, "code": "at-chance"})[0][1] == "stands"
        assert fates({**symptom, "code": "at-chance"}, {**cause, "code": "collapsed"})[0][1] == "explained"

    def test_a_symptom_is_explained_codebook_by_codebook(self) -> None:
        """A symptom of two codebooks is open until both are explained."""
        symptom = events.finding(step=10, code="collapsed", evidence={"codebooks": [0, 1]})
        causes = [events.finding(step=50 + number, codebook=number) for number in range(2)]
        assert fates(symptom, causes[0])[0][1] == "stands"
        assert fates(symptom, *causes)[0][1:] == ("explained", 51)

    @pytest.mark.parametrize(
        ("later", "fate"),
        [
            ([comparison(130, attempt=2)], "earlier"),
            ([comparison(130, attempt=2, stream="audio")], "stands"),
            ([comparison(130, attempt=2, rank=1)], "stands"),
            ([events.run(attempt=2)], "stands"),
        ],
    )
    def test_a_later_attempt_that_reports_nothing_ends_it(self, later: list[dict[str, Any]], fate: str) -> None:
        """A finding is of an earlier attempt once a later one of that rank has recorded the stream."""
        assert fates(comparison(120), events.finding(), *later)[0][1] == fate

    def test_reported_again_by_a_later_attempt(self) -> None:
        """If the later attempt reports it again, its own is open, once."""
        again = events.finding(attempt=2, step=130)
        assert [one[1] for one in fates(events.finding(), again)] == ["earlier", "stands"]


class TestAttempts:
    def test_each_process_with_what_it_covers(self) -> None:
        """Attempts have their first and last lines, steps, records and latest time, rank by rank."""
        made = [
            events.run(),
            events.run(rank=1),
            comparison(5, timestamp="2026-01-01T00:00:01Z"),
            comparison(5, rank=1, stream="audio"),
            comparison(9, timestamp="2026-01-01T00:00:03Z"),
            events.run(stats={"dropped": 2, "failed": 1, "sinks": {}}),
            events.run(attempt=2),
        ]
        summary = Summary.of(typed(*made))
        first, other, second = summary.attempts
        assert (first.records, first.first_step, first.last_step) == (2, 5, 9)
        assert first.timestamp == "2026-01-01T00:00:03Z"
        assert first.end is not None
        assert (other.rank, other.end, other.records) == (1, None, 1)
        assert (second.number, second.first_step) == (2, None)
        assert summary.ranks == (0, 1)
        assert summary.lost == {"dropped": 2, "failed": 1, "filtered": 0, "pending": 0, "refused": 0}

    def test_gaps_are_counted_by_reason(self) -> None:
        """Gaps of one reason are one entry, from the first step to the last, the most first."""
        made = [events.gap(reason="a"), events.gap(reason="b", count=40), events.gap(reason="a", last_step=300)]
        b, a = Summary.of(typed(*made)).gaps
        assert (a.count, a.gaps, a.first_step, a.last_step) == (24, 2, 130, 300)
        assert (b.reason, b.count) == ("b", 40)


class TestLearning:
    def learning(self, *made: dict[str, Any]) -> Learning:
        """Return what is learnt from some records."""
        learning = Learning()
        for record in typed(*made):
            learning.add(record)
        return learning

    def sights(self, *steps: str) -> Learning:
        """Learn from one token a letter: r is predicted right, w wrong, a step a word."""
        made = [
            comparison(step, tokens=[events.token(at, 7, 7 if letter == "r" else 8) for at, letter in enumerate(word)])
            for step, word in enumerate(steps)
        ]
        return self.learning(*made)

    def test_never_right_is_stubborn(self) -> None:
        """A token that was never right at three steps or more is stubborn; at fewer it is nothing."""
        (found,) = self.sights("w", "ww", "w").stubborn()["text", None]
        assert (found.label, found.sights, found.wrong, found.wrong_steps, found.last_right) == (7, 4, 4, 3, None)
        assert not self.sights("www", "w").stubborn()
        assert not self.sights("w", "w", "w").forgotten()

    def test_right_once_and_wrong_since_is_forgotten(self) -> None:
        """A token that was right, and wrong at the last three steps that showed it, is forgotten."""
        (found,) = self.sights("w", "r", "w", "w", "ww").forgotten()["text", None]
        assert (found.right, found.wrong, found.wrong_steps, found.last_right) == (1, 4, 3, 1)
        assert not self.sights("r", "w", "w", "r").forgotten()
        assert not self.sights("r", "w", "w").forgotten()

    @given(st.lists(st.text("rw", min_size=1, max_size=4), min_size=1, max_size=8), st.randoms(use_true_random=False))
    def test_order_within_a_step_is_nothing(self, steps: list[str], random: Any) -> None:
        """Whichever sample or rank comes first, the same is counted."""
        shuffled = ["".join(random.sample(word, len(word))) for word in steps]
        assert self.sights(*steps)._seen == self.sights(*shuffled)._seen

    def test_most_wrong_first_and_texts_are_kept(self) -> None:
        """Tokens are ordered by their wrong sights in a row, each stream by itself, with their texts."""
        made = [
            comparison(step, tokens=[events.token(1, 5, 0, label_text="five"), *[events.token(2, 6, 0)] * 2])
            for step in range(4)
        ]
        learning = self.learning(*made, comparison(0, stream="audio"))
        assert [(one.label, one.text, one.wrong) for one in learning.stubborn()["text", None]] == [
            (6, None, 8),
            (5, "five", 4),
        ]
        assert [one.label for one in learning.stubborn(1)["text", None]] == [6]


class TestSparkline:
    @given(st.lists(st.none() | st.floats(allow_nan=True), max_size=50), st.integers(-2, 20))
    def test_it_fits_and_never_fails(self, values: list[float | None], width: int) -> None:
        """Any numbers, infinite ones and NaN included, give at most `width` characters."""
        assert len(sparkline(values, width)) <= max(0, min(width, len(values)))

    def test_heights(self) -> None:
        """The lowest and the highest number are the lowest and the highest block; a rank is drawn by its magnitude."""
        assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
        assert sparkline([1, 10, 100], 3, is_log=True) == "▁▅█"
        assert sparkline([2, 2], 2) == "▁▁"
        assert sparkline([0, None, 1], 3) == "▁ █"

    @example(0.99999)
    @example(0.00001)
    @given(st.floats(0, 1))
    def test_percent_claims_no_more_than_there_is(self, share: float) -> None:
        """Only what is all reads 100 %, and only what is nothing reads 0 %."""
        assert (percent(share) == "100.0%") == (share == 1)
        assert (percent(share) == "0.0%") == (share == 0)

    @example(-0.0)
    @example(-0.0004)
    @example(-0.00499999)
    @given(st.floats(-1e6, 1e6))
    def test_a_logprob_claims_no_more_than_there_is(self, logprob: float) -> None:
        """Only what is 0 reads 0, and never with a sign."""
        assert (float(nats(logprob)) == 0) == (logprob == 0)
        assert nats(logprob) != "-0.00"


HOSTILE = "\x1b[31m\u202e\n[bold]\ud800"


def run(folder: Path, **fields: Any) -> str:
    made = [comparison(step, supervised=10, matched=step, **fields) for step in range(5)]
    return written(folder, events.run(), *made, events.run(stats={}))


class TestCommand:
    def test_one_line_a_stream_and_codebook(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """In a pipe, each stream and codebook is one whole line with its figures, without an escape sequence."""
        made = [comparison(step, stream="audio", codebook=k) for step in range(3) for k in range(32)]
        assert command("summary", written(tmp_path, *made)) == 0
        said = capsys.readouterr().out
        assert "\x1b" not in said
        lines = [line for line in said.splitlines() if line.startswith("stream audio codebook")]
        assert len(lines) == 32
        assert (
            "stream audio codebook 31: 3 steps, 0 to 2, 3 records, 75.8% supervised; accuracy 41.2% (from" in lines[31]
        )

    def test_first_last_best(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """The figures are last, first and best, with the step of the best and a sparkline."""
        command("summary", run(tmp_path))
        assert "accuracy 40.0% (from 0.0%, best 40.0% @4) ▁▃▅▇█;" in capsys.readouterr().out

    @pytest.mark.parametrize("codebook", [None, 3])
    @pytest.mark.parametrize("is_screen", [False, True])
    def test_the_loss_comes_first(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, codebook: int | None,
        is_screen: bool,
    ) -> None:  # fmt: skip
        """Where a stream has a loss it is the first figure, in nats, and another stream is shown as it was."""
        for name, value in {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm", "COLUMNS": "120"}.items():
            if is_screen:
                monkeypatch.setenv(name, value)
        made = [
            comparison(10 * step, codebook=codebook, **{**events.LATER, "recorder": "0a1b2c3d", "loss": 8.0 - step / 4})
            for step in range(24)
        ]
        command("summary", written(tmp_path, *made, comparison(0, stream="eval")))
        said = capsys.readouterr().out.partition("no findings")[0]
        titles = [title for title in re.findall(r"loss|accuracy|log-probability|median rank", said) if title]
        assert titles[is_screen:] == [
            "loss", "accuracy", "median rank", "accuracy", "log-probability", "median rank"
        ]  # fmt: skip
        if codebook is None or not is_screen:
            # The last ten are 4.5 to 2.25, the first ten 8 to 5.75.
            assert re.search(r"loss +3\.38 \(from 6\.88, best 3\.38 @230\) ", said.replace("\x1b[0m", ""))
        else:
            assert "6.88 → 3.38 → 3.38 @230" in said.replace("\x1b[2m", "")

    @pytest.mark.parametrize("width", [30, 60, 80, 120, 200])
    def test_it_fits_the_terminal(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
    ) -> None:
        """On a terminal of any width no line is longer, and what a token or stream is called harms nothing."""
        for name, value in {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm", "COLUMNS": str(width)}.items():
            monkeypatch.setenv(name, value)
        folder = run(tmp_path, stream=HOSTILE, run=HOSTILE)
        written(tmp_path, events.finding(stream=HOSTILE, message=HOSTILE), events.gap(reason=HOSTILE))
        assert command("summary", folder) == 0
        said = capsys.readouterr().out
        bare = said.replace("\x1b[1m", "").replace("\x1b[2m", "").replace("\x1b[0m", "")
        assert max(map(len, bare.splitlines())) <= width
        assert bare.isprintable() or set(filter(lambda one: not one.isprintable(), bare)) == {"\n"}

    def test_sections(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Findings, what is missing, attempts and damage each have their lines."""
        made = [
            events.run(),
            comparison(0),
            events.finding(step=0),
            events.gap(),
            comparison(10, attempt=1),
            events.run(stats={"dropped": 12, "refused": 1}),
            events.run(attempt=2),
        ]
        folder = written(tmp_path, *made)
        with (tmp_path / "predictions.jsonl").open("ab") as file:
            file.write(b'{"event":"torn\n')
        assert command("summary", folder) == 0
        said = capsys.readouterr().out
        assert "finding labels-are-inputs is open, error, since step 0: labels equal" in said
        assert "More: predlog explain labels-are-inputs" in said
        assert "gap: 12 comparisons missing, steps 130 to 180: queue full" in said
        assert "lost: captured but not recorded, as the last lines count: 12 dropped" in said
        assert "refused: 1 pair refused" in said
        assert "steps 0 to 10, 2 records; ended 2026-01-02 03:04:05" in said
        assert "no comparison; no last line: killed, or still running" in said
        assert "done again" not in said
        assert "predictions.jsonl line 8: " in said

    @pytest.mark.parametrize("end", [[], [events.run(stats={"written": 3})]])
    def test_what_was_done_again_is_told(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], end: list[dict[str, Any]]
    ) -> None:
        """An attempt of which a later one has done all or part again is said to have compared that, killed or not."""
        first = [comparison(step) for step in (10, 20, 30)]
        folder = written(tmp_path, events.run(), *first, *end, events.run(attempt=2), comparison(20, attempt=2))
        command("summary", folder)
        assert "steps 10 to 30, 2 records, 1 more done again by a later attempt; " in capsys.readouterr().out
        written(tmp_path, events.run(attempt=3), *(comparison(step, attempt=3) for step in (20, 30)))
        command("summary", folder)
        said = capsys.readouterr().out
        assert "1 comparison, all done again by a later attempt; " in said
        assert "steps 20 to 30, 2 records; " in said
        command("summary", "--json", folder)
        found = json.loads(capsys.readouterr().out)["attempts"]
        assert [(one["records"], one["replaced"]) for one in found] == [(1, 2), (0, 1), (2, 0)]
        command("summary", "--attempt", "all", folder)
        assert "done again" not in capsys.readouterr().out

    @pytest.mark.parametrize("width", [60, 80, 200])
    def test_nothing_is_filled_up_within_a_triple(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
    ) -> None:
        """First, last and best are one blank from their arrows, whatever other codebooks have; nothing is cut."""
        for name, value in {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm", "COLUMNS": str(width)}.items():
            monkeypatch.setenv(name, value)
        ranks = {0: (17, 4, 4), 1: (21, 36, 7), 2: (8, 100, 3000)}
        made = [
            comparison(step, stream="audio", codebook=k, tokens=[events.token(1, label_rank=rank, label_logprob=-4e-6)])
            for k, known in ranks.items()
            for step, rank in enumerate(known)
        ]
        command("summary", written(tmp_path, *made))
        said = capsys.readouterr().out.partition("findings")[0]
        assert all(triple in said for triple in ("17 → 4 → 4", "21 → 7 → 7", "8 → 3000 → 8"))
        assert "-4e-06 → -4e-06 → -4e-06" in said
        assert not re.search(r"→  | {2,}→", said)
        assert "…" not in said.partition("\n\n")[2].partition("\n")[2]

    def test_what_the_accuracy_is_of_is_never_cut(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where matches were not counted, that is whole under the title, however narrow the terminal is."""
        for name, value in {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm", "COLUMNS": "40"}.items():
            monkeypatch.setenv(name, value)
        command("summary", written(tmp_path, *(comparison(step, matched=None) for step in range(3))))
        assert "accuracy of the tokens shown only\x1b" in capsys.readouterr().out

    @pytest.mark.parametrize("width", [70, 80])
    def test_columns_stay_apart(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
    ) -> None:
        """A triple longer than a third of the line takes the room of shorter ones, and none touches the next."""
        for name, value in {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm", "COLUMNS": str(width)}.items():
            monkeypatch.setenv(name, value)
        tokens = [[events.token(1, label_logprob=-logprob)] for logprob in (1000.0, 0.0007, 0.0005)]
        made = (comparison(step, codebook=0, tokens=one) for step, one in enumerate(tokens))
        command("summary", written(tmp_path, *made))
        assert re.search(r"  -1.0e\+03 → -0.0005 → -0.0005  +1 → 1 → 1\n", capsys.readouterr().out)

    def test_json(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """One object has everything, and is strict JSON whatever the texts and numbers are."""
        tokens = [events.token(1, label_logprob=-1.5e308), events.token(2, label_logprob=-1.5e308)]
        made = [comparison(0, stream=HOSTILE, tokens=tokens), events.finding(evidence={"x": HOSTILE}), events.gap()]
        assert command("summary", "--json", written(tmp_path, events.run(), *made)) == 0
        said = capsys.readouterr().out
        assert said.isascii()
        found = json.loads(said, parse_constant=pytest.fail)
        assert list(found) == [
            "path", "ranks", "comparisons", "streams", "findings", "gaps", "lost", "partial", "left_out", "attempts",
            "damage", "damaged",
        ]  # fmt: skip
        assert not undocumented(found)
        assert found["streams"][0]["stream"].endswith("\\ud800")
        assert found["streams"][0]["logprob"]["last"] is None
        assert found["streams"][0]["accuracy"]["last"] == 160 / 388
        assert found["findings"][0]["state"] == "stands"

    def test_a_file_without_comparisons(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A run that has only begun has a summary that says so."""
        assert command("summary", written(tmp_path, events.run())) == 0
        said = capsys.readouterr().out.splitlines()
        assert said[0] == "nothing has been compared"
        assert said[-1].startswith("attempt 1: ")

    def test_several_runs_are_told(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Where a glob finds several runs, their figures are means of all, and it says so."""
        for name in "ab":
            written(tmp_path / name, events.run(run=name), comparison(0, run=name))
        assert command("summary", f"{tmp_path}/[ab]") == 0
        said = capsys.readouterr().out.splitlines()
        assert said[0] == "2 runs, summarized as one: a, b"
        assert [line.split(":")[0] for line in said[-2:]] == ["attempt 1 of a", "attempt 1 of b"]

    def test_one_step(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Of a single step there is one figure, and nothing to draw."""
        command("summary", written(tmp_path, comparison(3)))
        line = capsys.readouterr().out.splitlines()[0]
        assert "1 step, 3, 1 record, 75.8% supervised; accuracy 41.2%; log-probability -1.38; median rank 9" in line

    @pytest.mark.parametrize("content", [b"", b"no record\n", b"\n\n"])
    def test_no_records_at_all(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
        """What holds no record is unreadable: one line says why, and the status is 2."""
        file = tmp_path / "predictions.jsonl"
        file.write_bytes(content)
        assert command("summary", str(file)) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith(f"predlog: {file} holds no records: ")
        assert said.err.count("\n") == 1


def test_logprobs_of_hostile_size_are_no_number() -> None:
    """Sums that overflow are shown as none rather than raised."""
    found = curve(comparison(0, tokens=[events.token(1, label_logprob=-1.7e308)] * 2))
    assert found.logprob is not None
    assert math.isinf(found.logprob.last.value)
