"""What is remembered over many records: who is sure and wrong, what never changes, and which label is left behind."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from predlog.findings import history
from predlog.findings.facts import Facts, Shown
from predlog.findings.judge import Judge
from tests.events import evidence, facts, shown

Record = Sequence[Facts]


def said(records: Sequence[Record], stream: str = "text", every: int = 1, **how: Any) -> list[tuple[str, int]]:
    """Return what is found, and at which record."""
    judge = Judge()
    how = {"is_trained": True, **how}
    return [
        (one.code, number)
        for number, record in enumerate(records)
        for one in judge.judge(number * every, stream, record, **how)
    ]


def sample(number: int, tokens: Sequence[Shown], **fields: Any) -> Facts:
    return facts(tokens, **{"fingerprint": (number, number), **fields})


def alike(count: int, first: int = 0, **fields: Any) -> list[Shown]:
    """Return tokens of labels that vary, all of the same numbers."""
    return [shown(10 + (first + n) % 40, 300 + n % 50, **fields) for n in range(count)]


CALM = {"prediction_logprob": math.log(0.01), "label_logprob": -5.5}
SURE = {"prediction_logprob": math.log(0.9), "label_logprob": -9.0}


def becomes_sure(records: int, **fields: Any) -> list[Record]:
    """Begin calm, and be sure and wrong for so many records."""
    calm = [[sample(n, alike(8, n, **CALM))] for n in range(8)]
    return calm + [[sample(8 + n, alike(8, n, **{**SURE, **fields}))] for n in range(records)]  # type: ignore[return-value]


def test_who_becomes_sure_and_wrong_is_reported_after_32_records() -> None:
    """A model that knew that it guessed, and is now sure and never correct, sees another pair, whatever the cause."""
    assert said(becomes_sure(32)) == [("sure-and-wrong", 39)]
    assert said(becomes_sure(31)) == []
    assert said(becomes_sure(40), is_trained=False) == [("sure-and-wrong", 39)]


@pytest.mark.parametrize(
    ("probability", "correct", "is_said"), [(0.31, 12, True), (0.29, 12, False), (0.9, 13, False), (0.9, 12, True)]
)
def test_the_thresholds_of_sure_and_wrong(probability: float, correct: int, is_said: bool) -> None:
    """A mean probability of 0.3, and 5 % of correct predictions, are the limits."""
    records = becomes_sure(32, prediction_logprob=math.log(probability))
    for record in range(correct):
        (one,) = records[8 + 2 * record]
        right = one.tokens[0]._replace(label=77, prediction=77)
        records[8 + 2 * record] = [replace(one, tokens=(right, *one.tokens[1:]))]
    assert (said(records) == [("sure-and-wrong", 39)]) == is_said


def test_the_loss_must_be_far_above_its_best_and_stay() -> None:
    """At least 0.5 nats above what it was; a loss that falls by over 3 % is being healed, if it is below 3 ln V."""
    assert said(becomes_sure(40, label_logprob=-5.99)) == []
    assert said(becomes_sure(40, label_logprob=-6.01)) == [("sure-and-wrong", 39)]

    def falling(first: float) -> list[Record]:
        return becomes_sure(0) + [
            [sample(8 + n, alike(8, n, **{**SURE, "label_logprob": first * 0.99**n}))] for n in range(64)
        ]

    assert "sure-and-wrong" not in dict(said(falling(-20)))
    assert ("sure-and-wrong", 39) in said(falling(-60))


def test_an_untrained_model_that_copies_is_not_called_sure_and_wrong() -> None:
    """With its embedding as head a model is sure of its input at its start; with or without inputs it is left alone."""
    copies = [[sample(n, alike(8, n, **SURE), copied=90)] for n in range(200)]
    assert said(copies) == []
    before = [
        [sample(n, [one._replace(around=(one.prediction, None, None)) for one in alike(8, n, **SURE)], equal=None,
                compared=None, copied=None)]
        for n in range(200)
    ]  # fmt: skip
    assert said(before) == []
    unknown = [[sample(n, alike(8, n, **SURE), equal=None, compared=None, copied=None)] for n in range(200)]
    assert "sure-and-wrong" not in dict(said(unknown))


@pytest.mark.parametrize("stream", ["eval/text", "validation", "held_out", "hold-out 2", "text (rejected)", "forget"])
def test_what_is_not_trained_to_be_probable_may_be_sure_and_wrong(stream: str) -> None:
    """An overfitted evaluation, and what is to be unlearnt, are known by their names."""
    assert said(becomes_sure(40), stream) == []


def test_an_evaluation_of_the_same_samples_may_be_overfitted() -> None:
    """Without gradients, samples that come again and again are an evaluation, whatever its name."""
    again = [[replace(one, fingerprint=(n % 4, 1)) for one in record] for n, record in enumerate(becomes_sure(60))]
    assert said(again, is_trained=False, every=10) == []


# --- nothing-trained ----------------------------------------------------------------------------------------------


def still(steps: Sequence[int], **fields: Any) -> list[tuple[int, Record]]:
    return [(step, [sample(1, alike(8, **fields)), sample(100 + step, alike(8, step))]) for step in steps]


def found_at(records: Sequence[tuple[int, Record]], stream: str = "text", **how: Any) -> list[tuple[str, int]]:
    judge = Judge()
    how = {"is_trained": True, **how}
    return [(one.code, step) for step, record in records for one in judge.judge(step, stream, record, **how)]


def test_a_sample_that_never_changes_is_reported_at_the_third_record_over_100_steps() -> None:
    """Three logged steps, and 100 steps, are needed."""
    assert found_at(still([0, 50, 100])) == [("nothing-trained", 100)]
    assert found_at(still([0, 50, 99])) == []
    assert found_at(still([0, 100])) == []
    assert found_at(still([0, 100, 100])) == []  # two micro-batches of a step


def test_a_digit_that_changes_is_training() -> None:
    """A log-probability that differs in its last digit shows that something is trained."""
    changing = [(step, [sample(1, alike(8, label_logprob=-5 - 1e-6 * step))]) for step in range(0, 500, 50)]
    assert "nothing-trained" not in dict(found_at(changing))
    other = [*still([0, 50]), (60, [sample(100, alike(8, label_logprob=-4.0))]), *still([100, 150])]
    assert found_at(other) == []


@pytest.mark.parametrize(("stream", "how"), [("reference", {}), ("text", {"is_trained": False})])
def test_what_is_frozen_may_stay_as_it_is(stream: str, how: dict[str, bool]) -> None:
    """A reference model, known by its name or by logits without gradients, never changes."""
    assert found_at(still(range(0, 1000, 50)), stream, **how) == []


def test_while_the_learning_rate_is_0_nothing_can_change() -> None:
    """Records of a warm-up that begins at 0 count for nothing."""
    judge = Judge()
    found = [
        one.code
        for step, record in still(range(0, 140, 20))
        for one in judge.judge(step, "text", record, is_trained=True, is_idle=step < 120)
    ]
    assert found == []


def test_what_a_model_knows_by_heart_has_no_digits_to_change() -> None:
    """Log-probabilities of nearly 0 stay the same in a healthy training."""
    assert found_at(still(range(0, 1000, 50), label_logprob=-0.009)) == []
    assert found_at(still(range(0, 1000, 50), label_logprob=-0.011)) != []


def test_what_was_trained_and_is_no_longer_takes_half_of_the_run() -> None:
    """At the end of a schedule nothing may change; of eight samples that don't, for half of the run, it is reported."""

    def record(step: int, trained: bool, many: int) -> tuple[int, Record]:
        number = step // 10 % many
        return step, [sample(number, alike(8, **{**CALM, "label_logprob": -5 - (1e-3 * step if trained else 0)}))]  # type: ignore[arg-type]

    def run(until: int, many: int = 8) -> list[tuple[str, int]]:
        return found_at([record(step, step < 1000, many) for step in range(0, until, 10)])

    assert run(2000) == []
    ((code, step),) = run(2400)
    assert code == "nothing-trained"
    assert step >= 2000
    assert run(2400, many=7) == []


def test_the_samples_remembered_are_bounded() -> None:
    """Of an epoch of any length, the first samples are remembered."""
    known = history.Samples()
    for step in range(2000):
        known.add(evidence(sample(step, alike(4)), step=step))
    assert len(known.known) == 512


# --- label-never-learnt -------------------------------------------------------------------------------------------


def learning(
    records: int, frequency: float, logprob: float, *, rises: float = 0.0, others: float = 4.0, begins: float = -6.2
) -> list[Record]:
    """Return records of 16 tokens whose loss falls by so much, with label 7 at that frequency and log-probability."""
    made: list[Record] = []
    owed = 0.0
    for n in range(records):
        share = n / records
        tokens = alike(16, n, **CALM)
        tokens = [one._replace(label_logprob=begins + others * share) for one in tokens]
        owed += 16 * frequency
        while owed >= 1:
            at = int(owed) - 1
            tokens[at] = tokens[at]._replace(label=7, label_logprob=min(logprob + rises * share, 0.0))
            owed -= 1
        made.append([sample(n, tokens)])
    return made


def test_a_label_that_stays_improbable_while_others_are_learnt_is_reported() -> None:
    """A twentieth of all labels has a probability far below a two-hundredth, and keeps it."""
    assert [code for code, _ in said(learning(96, 0.05, -9.0))] == ["label-never-learnt"]


@pytest.mark.parametrize(
    "records",
    [
        learning(96, 0.05, math.log(0.0075)),  # above a tenth of its frequency
        learning(96, 0.05, -9.0, rises=4.0),
        learning(96, 0.05, -9.0, others=0.0),
        learning(400, 0.003, -9.0),  # rare
        learning(20, 0.05, -9.0),  # seen 16 times, in too few tokens for a trend
    ],
)
def test_a_label_that_is_rare_or_learnt_or_no_worse_than_others_is_not(records: list[Record]) -> None:
    """Rare codes, a trend, and a model that has not begun to learn are no sign."""
    assert said(records) == []


@pytest.mark.parametrize(("records", "rises", "found"), [(100, 0.0, 1), (60, 0.0, 0), (100, 6.0, 0)])
def test_a_label_that_sinks_while_others_are_learnt_takes_longer(records: int, rises: float, found: int) -> None:
    """In a small vocabulary each label is probable enough at first; what is masked in the loss sinks later."""
    sinking = learning(records, 0.05, -9.0, rises=rises, others=0.0, begins=-2.2)
    assert len(said([*learning(48, 0.05, -3.0), *sinking])) == found


@pytest.mark.parametrize(("records", "logprob", "found"), [(48, -9.0, 1), (48, -6.0, 0), (96, -6.0, 1)])
def test_a_label_near_its_frequency_must_occur_more_often(records: int, logprob: float, found: int) -> None:
    """Above a hundredth of its frequency it may be learnt slowly, so three times as many sightings are needed."""
    assert len(said(learning(records, 0.05, logprob))) == found


@pytest.mark.parametrize(("logprob", "found"), [(-14.0, 1), (-7.0, 0)])
def test_a_trend_counts_by_what_is_lacking(logprob: float, found: int) -> None:
    """A rise of 1.5 nats is much of the way to a tenth of the frequency, or next to nothing."""
    assert len(said(learning(96, 0.05, logprob, rises=1.5))) == found


def test_a_label_is_gone_when_it_is_learnt() -> None:
    """Once its probability is above a tenth of its frequency, nothing is open."""
    judge = Judge()
    for step, record in enumerate([*learning(96, 0.05, -9.0), *learning(96, 0.05, -1.0)]):
        judge.judge(step, "text", record, is_trained=True)
    assert judge.open == []


def test_the_labels_remembered_are_bounded() -> None:
    """However many labels there are, at most 256 are followed."""
    judge = Judge()
    for step in range(200):
        tokens = [shown(1000 * step + n // 2, 5, **CALM) for n in range(64)]
        judge.judge(step, "text", [sample(step, tokens)], is_trained=True)
    assert len(judge._lanes["text", None].past.labels.known) <= 256


# --- constant-codebook --------------------------------------------------------------------------------------------


def codes(step: int, constant: Sequence[int], shown_: int = 4, *, samples: int = 1, **fields: Any) -> Record:
    return [
        sample(
            100 * step + number, alike(4, step), codebook=codebook, supervised=20,
            **{"varied": 0 if codebook in constant else 19, "highest": 5 if codebook in constant else 60, **fields},
        )
        for number in range(samples)
        for codebook in range(shown_)
    ]  # fmt: skip


def test_a_codebook_of_one_value_is_reported_after_16_samples() -> None:
    """Sixteen samples of different pairs are needed, however they are spread over records."""
    assert said([codes(step, [2]) for step in range(16)]) == [("constant-codebook", 15)]
    assert said([codes(step, [2]) for step in range(15)]) == []
    assert said([codes(step, [2], samples=2) for step in range(8)]) == [("constant-codebook", 7)]


def test_what_is_silent_in_all_codebooks_is_no_fault() -> None:
    """Most of the other codebooks must vary; the same pair again is no other sample; a changed value is none."""
    assert said([codes(step, range(4)) for step in range(40)]) == []
    assert said([codes(step, [1, 2, 3]) for step in range(40)]) == []
    assert "constant-codebook" not in dict(said([codes(1, [2]) for _ in range(40)]))
    assert said([codes(step, [2], highest=5 + step % 2) for step in range(40)]) == []
    assert said([codes(step, [2], varied=1 if step % 8 == 7 else 0) for step in range(40)]) == []
    assert said([[replace(one, supervised=15) for one in codes(step, [2])] for step in range(16)]) == []


def test_a_stream_without_codebooks_is_not_looked_at() -> None:
    """The labels of a text may be one token, as a classifier's are."""
    assert "constant-codebook" not in dict(said([[sample(step, alike(4), varied=None)] for step in range(40)]))
