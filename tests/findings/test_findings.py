"""Each rule speaks where its evidence suffices and not before: both sides of every threshold, and what is no fault."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predlog.findings import catalog, progress
from predlog.findings.evidence import Evidence, Sums
from predlog.findings.facts import Across, Shown
from predlog.findings.rule import CLEAN, NO_BETTER, Clean, Fault, Past, Verdict
from predlog.findings.special_tokens import SpecialTokens
from tests.events import evidence, facts, shown
from tests.findings import test_masking
from tests.findings.ends import THRESHOLDS as ENDS

FRESH = Past(0)
# A model that was as good as that, and has nothing to say about chance: guessing among 512 costs 6.24.
GOOD = 6.8


def judged(code: str, pool: Sequence[Evidence], past: Past = FRESH) -> Verdict:
    (rule,) = (rule for rule in catalog.RULES if rule.code == code)
    return rule.judge(pool, past)


def one(tokens: Sequence[Shown] = (), **fields: Any) -> list[Evidence]:
    return [evidence(facts(tokens, **fields))]


def varied(count: int, make: Callable[[int], Shown]) -> list[Shown]:
    return [make(10 + number % 40) for number in range(count)]


def over(records: int, tokens: Sequence[Shown], each: int = 20, **fields: Any) -> list[Evidence]:
    """Spread tokens over so many records, from step 0 on."""
    return [
        evidence(facts(tokens[number * each : (number + 1) * each], **fields), step=number) for number in range(records)
    ]


def axes(counts: tuple[int, ...] | None, **fields: Any) -> list[Evidence]:
    """Return a record whose labels follow the inputs from sample to sample, or that was not looked at."""
    across = None if counts is None else Across(counts, "layout='t b v, t b'")
    return [evidence(facts(**{"equal": (2, 3, 2), "compared": (100, 100, 99), **fields}), across=across)]


def sure_and_wrong(label: int, **fields: Any) -> Shown:
    known = {"prediction": label + 100, "prediction_logprob": math.log(0.9), "label_logprob": -9.0}
    return shown(label, **{**known, **fields})


# Each row: the code, the evidence that just suffices, the evidence that just does not, and what it is.
OTHERS = SpecialTokens(every=frozenset({0, 1, 2, 9}))
NONE_KNOWN = SpecialTokens()
APPLIED = "attention mask applied"
THRESHOLDS: list[tuple[str, list[Evidence], list[Evidence], Past]] = [
    (
        "nothing-supervised",
        [evidence(facts(supervised=0), facts(supervised=0))],
        [evidence(facts(supervised=0), facts(supervised=1))],
        FRESH,
    ),
    (
        "nothing-supervised",
        [evidence(*[facts(supervised=0)] * 15, facts())],
        [evidence(*[facts(supervised=0)] * 14, facts())],
        FRESH,
    ),
    (
        "nothing-supervised",
        [evidence(*[facts(supervised=0)] * 16)],
        [evidence(*[facts(supervised=0)] * 15)],
        Past(0, supervised=1),
    ),
    (
        "nothing-supervised",
        [evidence(facts(supervised=0, codebook=3), widest=4)],
        [evidence(facts(supervised=0, codebook=4), widest=4)],
        FRESH,
    ),
    ("label-out-of-range", one(out_of_range=1, lowest=-1), one(out_of_range=0), FRESH),
    (
        "logits-not-finite",
        one([shown(prediction=None, prediction_logprob=None)], nonfinite=1, broken=1),
        one([shown()], nonfinite=0),
        FRESH,
    ),
    ("labels-are-inputs", one(equal=(98, 90, 0)), one(equal=(97, 0, 0)), FRESH),
    ("labels-are-inputs", one(equal=(98, 92, 0)), one(equal=(98, 93, 0)), FRESH),
    (  # the last label of a row has no next input, and does not differ from it
        "labels-are-inputs",
        one(equal=(100, 92, 0)),
        one(equal=(100, 92, 0), compared=(100, 92, 90)),
        FRESH,
    ),
    ("labels-shifted-twice", one(equal=(0, 92, 98)), one(equal=(0, 93, 98)), FRESH),
    ("labels-shifted-twice", one(equal=(0, 9, 98), shift=1), one(equal=(0, 9, 98), shift=2), FRESH),
    ("axes-swapped", axes((98, 100)), axes((97, 100)), FRESH),
    ("axes-swapped", axes((0, 100, 98, 100)), axes((0, 100, 97, 100)), FRESH),
    ("axes-swapped", axes((64, 64)), axes((63, 63)), FRESH),
    ("axes-swapped", axes((98, 100), equal=(2, 50, 49)), axes((98, 100), equal=(2, 51, 2)), FRESH),
    ("axes-swapped", axes((98, 100), equal=(2, 50, 49)), axes((98, 100), equal=(2, 2, 51)), FRESH),
    (
        "axes-swapped",
        axes((98, 100), equal=(0, 0, 0), compared=(9, 8, 7)),
        axes((98, 100), equal=(0, 0, 0), compared=(8, 7, 6)),
        FRESH,
    ),
    ("axes-swapped", axes((98, 100)), [*axes((98, 100)), *axes(None)], FRESH),  # only the first records tell
    ("bos-doubled", one(start=(1, 1, 40)), one(start=(1, 40, 1)), FRESH),
    ("bos-doubled", one(start=(1, 1, 40)), one(start=(0, 0, 40)), FRESH),
    (
        "bos-doubled",
        [evidence(*[facts(start=(1, 1, 40))] * 9, facts())],
        [evidence(*[facts(start=(1, 1, 40))] * 8, facts())],
        FRESH,
    ),
    (  # a padding token, exactly twice at the start of each row
        "bos-doubled",
        [evidence(*[facts(start=(2, 2, 40))] * 4)],
        [evidence(*[facts(start=(0, 0, 40))] * 4)],
        FRESH,
    ),
    (  # a begin token that ends as well may pad on the left
        "bos-doubled",
        one(start=(1, 1, 40)),
        one(start=(1, 1, 40), specials=SpecialTokens(eos=(1,), bos=(1,), every=frozenset({1}))),
        FRESH,
    ),
    (
        "bos-doubled",
        [evidence(*[facts(start=(9, 9, 40), specials=OTHERS)] * 4)],
        [evidence(*[facts(start=(9, 9, 40), specials=OTHERS)] * 3)],
        FRESH,
    ),
    (
        "bos-doubled",
        [evidence(*[facts(start=(9, 9, 40), specials=OTHERS)] * 4)],
        [evidence(*[facts(start=(9, 9, 40), specials=OTHERS)] * 3, facts(start=(9, 9, 9), specials=OTHERS))],
        FRESH,
    ),
    ("pad-supervised", one([shown(9), shown(0), shown(0)], pad=2), one([shown(0), shown(9), shown(0)], pad=2), FRESH),
    ("pad-supervised", one([shown(0), shown(0), shown(9)], pad=2), one([shown(9)], pad=0), FRESH),
    (
        "pad-supervised",
        one([shown(0), shown(0, read=511)], pad=2),
        one([shown(0), shown(0, read=512)], pad=2),
        FRESH,
    ),
    (
        "pad-supervised",
        one([shown(0), shown(0)], pad=2),
        one([shown(0), shown(0)], pad=2, specials=SpecialTokens(pad=(0,), eos=(0,), every=frozenset({0}))),
        FRESH,
    ),
    ("pad-supervised", one(padding=1), one(padding=0), FRESH),
    (  # what the attention mask says goes before what the labels look like
        "pad-supervised",
        one([shown(0), shown(0)], pad=2, padding=2),
        one([shown(0), shown(0)], pad=2, padding=0),
        FRESH,
    ),
    ("pad-supervised", one(padding=20), [evidence(facts(padding=20), loss=APPLIED)], FRESH),
    # The mask of an encoder: the labels that it masks are no padding.
    ("pad-supervised", one(padding=20, pad=1, equal=None, shift=0), one(padding=20, equal=None, shift=0), FRESH),
    ("pad-supervised", one(padding=20, equal=None, shift=1), one(padding=20, equal=None, shift=0), FRESH),
    ("label-crosses-boundary", one(crossing=1), one(crossing=0), FRESH),
    ("label-crosses-boundary", one(from_padding=1), one(from_padding=0), FRESH),
    ("label-crosses-boundary", one(from_padding=1), [evidence(facts(from_padding=1), loss=APPLIED)], FRESH),
    (  # of labels that were shifted before, only those that are the next inputs say where they belong
        "label-crosses-boundary",
        one(crossing=3, shift=0, equal=(2, 98, 1)),
        one(crossing=3, shift=0, equal=(2, 97, 1)),
        FRESH,
    ),
    (  # without a known end token, one that all these rows read is likely to be it
        "label-crosses-boundary",
        one(crossing=3, separators=(40, 41), specials=NONE_KNOWN),
        one(crossing=3, separators=(40, 40), specials=NONE_KNOWN),
        FRESH,
    ),
    (
        "label-crosses-boundary",
        [evidence(facts(crossing=1, separators=(n, n), specials=NONE_KNOWN), step=n) for n in (40, 41)],
        [evidence(facts(crossing=1, separators=(n, n), specials=NONE_KNOWN), step=n) for n in (40,)],
        FRESH,
    ),
    (
        "eos-never-supervised",
        [evidence(*[facts(eos=0, follower=2)] * 16)],
        [evidence(*[facts(eos=0, follower=2)] * 15)],
        FRESH,
    ),
    (
        "eos-never-supervised",
        [evidence(*[facts(eos=0, follower=2)] * 16)],
        [evidence(*[facts(eos=0, follower=2)] * 15, facts(eos=1, follower=2))],
        FRESH,
    ),
    (
        "eos-never-supervised",
        [evidence(*[facts(eos=0, follower=2, supervised=3)] * 16)],
        [evidence(*[facts(eos=0, follower=2, supervised=2)] * 16)],
        FRESH,
    ),
    (
        "eos-never-supervised",
        [evidence(*[facts(eos=0, follower=2)] * 16)],
        [evidence(*[facts(eos=0, follower=2, equal=(2, 97, 1))] * 16)],
        FRESH,
    ),
    (
        "prediction-misaligned",
        over(1, varied(64, lambda n: sure_and_wrong(n, around=(None, n + 100, None))), 64),
        over(1, varied(63, lambda n: sure_and_wrong(n, around=(None, n + 100, None))), 63),
        FRESH,
    ),
    (
        "prediction-misaligned",
        over(1, varied(64, lambda n: sure_and_wrong(n, around=(None, n + (100 if n % 4 else 5), None))), 64),
        over(1, varied(64, lambda n: sure_and_wrong(n, around=(None, n + (5 if n % 5 else 100), None))), 64),
        FRESH,
    ),
    (
        "prediction-misaligned",
        over(1, varied(64, lambda n: sure_and_wrong(n, around=(None, n + 100, None))), 64),
        over(
            1,
            varied(64, lambda n: sure_and_wrong(n, around=(None, n + 100, None), prediction_logprob=math.log(0.1))),
            64,
        ),
        FRESH,
    ),
    (
        "copying-inputs",
        over(4, varied(80, sure_and_wrong), copied=49),
        over(4, varied(80, sure_and_wrong), copied=48),
        Past(0, best=GOOD),
    ),
    (
        "copying-inputs",
        over(4, varied(80, sure_and_wrong), copied=90, equal=(20, 100, 1)),
        over(4, varied(80, sure_and_wrong), copied=90, equal=(21, 100, 1)),
        Past(0, best=GOOD),
    ),
    (
        "collapsed",
        over(8, varied(64, lambda n: sure_and_wrong(n, prediction=7)), 8),
        over(7, varied(64, lambda n: sure_and_wrong(n, prediction=7)), 9),
        FRESH,
    ),
    (
        "collapsed",
        over(8, varied(160, lambda n: sure_and_wrong(n, prediction=7 if n % 10 else 8)), 20),
        over(8, varied(160, lambda n: sure_and_wrong(n, prediction=7 if n % 5 else 8)), 20),
        FRESH,
    ),
    (
        "at-chance",
        over(16, varied(256, lambda n: sure_and_wrong(n, label_logprob=-0.971 * math.log(512))), 16),
        over(16, varied(256, lambda n: sure_and_wrong(n, label_logprob=-0.969 * math.log(512))), 16),
        FRESH,
    ),
    (
        "at-chance",
        over(16, varied(256, sure_and_wrong), 16),
        over(15, varied(255, sure_and_wrong), 17),
        FRESH,
    ),
    (
        "same-batch",
        over(5, varied(40, shown), 8),
        over(4, varied(40, shown), 8),
        FRESH,
    ),
    (
        "same-batch",
        over(5, varied(40, shown), 8),
        [*over(4, varied(40, shown), 8), evidence(facts(varied(8, shown), fingerprint=(7, 9)), step=4)],
        FRESH,
    ),
    *ENDS,
]  # fmt: skip


THRESHOLDS += test_masking.THRESHOLDS


@pytest.mark.parametrize(
    ("code", "enough", "too_little", "past"),
    [pytest.param(*row, id=f"{row[0]}-{number}") for number, row in enumerate(THRESHOLDS)],
)
def test_both_sides_of_a_threshold(code: str, enough: list[Evidence], too_little: list[Evidence], past: Past) -> None:
    """A rule speaks at its threshold, and is silent just below."""
    assert isinstance(judged(code, enough, past), Fault)
    assert not isinstance(judged(code, too_little, past), Fault)


def test_every_rule_has_its_thresholds() -> None:
    """No rule is left out of the table above, but for those that test_progress is about."""
    remember = {rule.code for rule in catalog.RULES if rule.judge.__module__ == progress.__name__}
    assert {code for code, *_ in THRESHOLDS} == {rule.code for rule in catalog.RULES} - remember


@pytest.mark.parametrize("code", [rule.code for rule in catalog.RULES])
def test_a_healthy_sample_is_clean(code: str) -> None:
    """Where half of the predictions are right, as half of the probability says, no rule speaks."""
    tokens = varied(20, lambda n: shown(n, n if n % 2 else n + 100, around=(n + 1, n + 2, n + 3)))
    pool = [evidence(facts(tokens, fingerprint=(step, 8)), step=step) for step in range(40)]
    assert not isinstance(judged(code, pool), Fault)
    assert not isinstance(judged(code, pool[:1]), Fault)


def test_a_model_that_was_never_better_is_not_called_copying() -> None:
    """An untrained model whose head is its embedding predicts its input, however sure: wait until it gets worse."""
    pool = over(4, varied(80, lambda n: sure_and_wrong(n, label_logprob=-7.0)), copied=90)
    for best, is_said in ((None, False), (6.51, False), (6.49, True)):
        assert isinstance(judged("copying-inputs", pool, Past(0, best=best)), Fault) == is_said
    worse = over(4, varied(80, sure_and_wrong), copied=90)
    for best, is_said in ((1.11 * math.log(512), False), (1.09 * math.log(512), True)):  # was it better than guessing?
        assert isinstance(judged("copying-inputs", worse, Past(0, best=best)), Fault) == is_said


def test_what_was_never_known_is_not_lost() -> None:
    """A calm model that predicts the most frequent token has collapsed only if it once knew half of the labels."""
    calm = over(8, varied(160, lambda n: shown(n, 7, prediction_logprob=math.log(0.1), label_logprob=-5.0)))
    half, fewer = set(range(10, 30)), set(range(10, 29))
    for known, is_said in ((half, True), (fewer, False)):
        assert isinstance(judged("collapsed", calm, Past(0, best=3.0, known=known)), Fault) == is_said
    assert judged("collapsed", calm, Past(0, best=4.6, known=half)) is NO_BETTER


def test_one_prediction_is_no_collapse() -> None:
    """A record with few tokens can't show that they are all predicted the same."""
    pool = over(64, varied(64, lambda n: sure_and_wrong(n, prediction=7)), 1)
    assert judged("collapsed", pool) is CLEAN


def test_labels_that_vary_little_are_no_collapse() -> None:
    """Where more than half of the labels are one token, predicting it is sound."""
    tokens = [sure_and_wrong(9 if n % 5 else 30 + n, prediction=7) for n in range(160)]
    assert judged("collapsed", over(8, tokens)) is CLEAN


def test_what_a_model_without_inputs_may_copy_is_not_called_misaligned() -> None:
    """Predictions that equal nearly every label before may be copies of the input; fewer of them are no copying."""
    every = over(1, varied(64, lambda n: sure_and_wrong(n, around=(n + 100, None, None))), 64, equal=None)
    most = over(
        1, varied(64, lambda n: sure_and_wrong(n, around=(n + (100 if n % 8 else 9), None, None))), 64, equal=None
    )
    assert not isinstance(judged("prediction-misaligned", every), Fault)
    assert isinstance(judged("prediction-misaligned", most), Fault)
    assert isinstance(judged("prediction-misaligned", every, Past(0, best=3.0)), Fault)
    assert judged("prediction-misaligned", most, replace(FRESH)) is not None


def test_with_inputs_copying_has_its_own_rule() -> None:
    """Where the inputs are known, predictions that equal the label before are not called misaligned."""
    pool = over(1, varied(64, lambda n: sure_and_wrong(n, around=(n + (100 if n % 8 else 9), None, None))), 64)
    assert not isinstance(judged("prediction-misaligned", pool), Fault)


@pytest.mark.parametrize(
    ("shift", "offset", "says"), [(0, 1, "shift=1 would fit"), (1, -1, "shift=0"), (0, 2, "shift=2")]
)
def test_the_shift_that_would_fit_is_named(shift: int, offset: int, says: str) -> None:
    """The message names the shift under which the predictions equal their labels."""
    place = {-1: 0, 1: 1, 2: 2}[offset]

    def token(n: int) -> Shown:
        around: list[int | None] = [None, None, None]
        around[place] = n + (100 if n % 8 else 9)
        return sure_and_wrong(n, around=tuple(around))

    fault = judged("prediction-misaligned", over(1, varied(64, token), 64, shift=shift, equal=None))
    assert isinstance(fault, Fault)
    assert says in fault.fix
    assert fault.evidence["offset"] == offset


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"lowest": -1, "highest": 9}, "ignore_index=-1"),
        ({"lowest": -101, "highest": 9}, "a usual mark for ignored labels"),
        ({"lowest": -7, "highest": 9}, "ignore_index=-7"),
        ({"lowest": 0, "highest": 512}, "resize the model's embeddings"),
    ],
)
def test_labels_out_of_range_name_what_they_may_be(fields: dict[str, int], says: str) -> None:
    """A negative label may be somebody's mark for ignored ones; one beyond the logits, an added token."""
    fault = judged("label-out-of-range", one((), out_of_range=3, **fields))
    assert isinstance(fault, Fault)
    assert says in fault.fix


def test_nothing_learnt_for_long_is_reported_of_calm_models_too() -> None:
    """A model that only guesses has begun, until a thousand steps and 200 records have passed without any gain."""
    calm = over(8, varied(160, lambda n: shown(n, n + 100, label_logprob=-6.3, prediction_logprob=-6.1)))
    later = [evidence(*part.samples, step=1000 + part.step) for part in calm]
    long = Past(0, best=6.3, records=200)
    assert isinstance(judged("at-chance", later, long), Fault)
    assert judged("at-chance", calm, long) is CLEAN
    assert judged("at-chance", later, replace(long, records=199)) is CLEAN
    assert judged("at-chance", later, replace(long, best=6.2)) is CLEAN  # a little was learnt: nearly uniform data
    slightly = over(8, varied(160, lambda n: shown(n, n + 100, label_logprob=-6.2, prediction_logprob=-6.1)))
    assert judged("at-chance", [evidence(*part.samples, step=1000) for part in slightly], long) is CLEAN


def test_who_became_sure_or_gets_better_is_not_at_chance() -> None:
    """An evaluation that grew sure of itself by and by, and a loss that falls, however slowly, are healthy."""
    pool = over(16, varied(256, sure_and_wrong), 16)
    began = Sums.of(varied(64, sure_and_wrong))
    calm = Sums.of(varied(64, lambda n: shown(n, n + 100, label_logprob=-9.0, prediction_logprob=-6.1)))
    worse = Sums.of(varied(64, lambda n: sure_and_wrong(n, label_logprob=-9.7)))
    assert isinstance(judged("at-chance", pool, Past(0, first=began)), Fault)
    assert judged("at-chance", pool, Past(0, first=calm)) is CLEAN
    assert judged("at-chance", pool, Past(0, first=worse)) is CLEAN
    falling = [
        *over(8, varied(128, lambda n: sure_and_wrong(n, label_logprob=-10.0)), 16),
        *over(8, varied(128, lambda n: sure_and_wrong(n, label_logprob=-9.4)), 16),
    ]
    assert judged("at-chance", falling) is CLEAN


def test_who_copies_most_is_not_at_chance() -> None:
    """Copying has its own rule, and an untrained model may copy."""
    pool = over(16, varied(256, sure_and_wrong), 16, copied=50)
    assert judged("at-chance", pool) is CLEAN
    before = over(16, varied(256, lambda n: sure_and_wrong(n, around=(n + 100, None, None))), 16)
    assert judged("at-chance", before) is CLEAN


def test_few_symbols_are_never_at_chance() -> None:
    """Among two or three symbols guessing is nearly as good as knowing."""
    pool = over(16, varied(256, sure_and_wrong), 16, vocabulary=3)
    assert judged("at-chance", pool) is CLEAN
    assert isinstance(judged("at-chance", over(16, varied(256, sure_and_wrong), 16, vocabulary=4)), Fault)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (
            {"crossing": 3, "supervised": 384},
            "labels belong to another document than the token that their row reads. Set the label of each document's",
        ),
        (
            {"from_padding": 2, "supervised": 90},
            "2 of 90 supervised labels have a row that reads padding. Set the label of the first token after padding",
        ),
    ],
)
def test_labels_that_cross_a_boundary_say_which_and_how_many(fields: dict[str, int], says: str) -> None:
    """The message counts the labels of another document, and those of padding, and names what to ignore."""
    found = judged("label-crosses-boundary", one(**fields))  # type: ignore[arg-type]
    assert isinstance(found, Fault)
    assert says in f"{found.what}. {found.fix}"


@pytest.mark.parametrize(
    ("count", "says"),
    [
        (99, "99 of 100 supervised labels are padding, where the attention mask is 0. Set labels to -100 wherever"),
        (100, "the attention mask is 0, which marks padding, at all 100 supervised labels. Check the mask"),
    ],
)
def test_a_mask_that_marks_all_labels_as_padding_is_itself_in_doubt(count: int, says: str) -> None:
    """One that is inverted, or added to the scores, is 0 at the text: masking these labels is no advice."""
    found = judged("pad-supervised", one(padding=count, supervised=100))
    assert isinstance(found, Fault)
    assert says in f"{found.what}. {found.fix}"


@pytest.mark.parametrize(
    ("shift", "loss", "says"),
    [
        (0, None, "as they were passed to predlog. If the model or the loss shifts them by itself, pass shift=1;"),
        (0, "one more shift", "shows that the model or the loss shifts them by itself. Pass shift=1 to predlog"),
        (0, "fits", "so the model is asked to copy. The reported loss shows that nothing shifts them: shift"),
        (1, None, "so the model is asked to copy. They lag behind what shift=1 assumes"),
    ],
)
def test_labels_that_equal_the_inputs_accuse_only_where_the_loss_is_known(
    shift: int, loss: str | None, says: str
) -> None:
    """Whether the call or the loss lacks the shift is known from the reported loss alone; without it both are named."""
    found = judged("labels-are-inputs", [evidence(facts(equal=(98, 2, 0), shift=shift), loss=loss)])
    assert isinstance(found, Fault)
    assert says in f"{found.what}. {found.fix}"


def test_rows_that_are_not_finite_name_the_mask_as_a_cause() -> None:
    """A model may give NaN where its loss does not look: the message says how to pass the mask, and accuses nobody."""
    found = judged("logits-not-finite", one([shown(prediction=None, prediction_logprob=None)], nonfinite=1, broken=1))
    assert isinstance(found, Fault)
    assert "If a mask of the loss leaves these rows out, pass it as loss_mask=." in found.fix


def test_numbers_of_samples_are_the_same_in_every_batch() -> None:
    """Contrastive training asks for the position itself, so the same labels at each step are right."""
    tokens = [shown(n, position=n) for n in range(8)]
    assert judged("same-batch", [evidence(facts(tokens), step=step) for step in range(9)]) is CLEAN


def test_a_turn_may_end_with_a_token_of_its_own() -> None:
    """A special token among the last two labels ends the answer, though it is not the end token."""
    special = SpecialTokens(pad=(0,), eos=(2,), every=frozenset({0, 2, 9}))
    for labels, is_said in (([7, 8], True), ([7, 9], False), ([9, 8], False), ([9, 7, 8], True)):
        samples = [facts([shown(n) for n in labels], eos=0, follower=2, specials=special)] * 16
        assert isinstance(judged("eos-never-supervised", [evidence(*samples)]), Fault) == is_said


def test_a_few_short_rows_may_all_be_unmasked() -> None:
    """Less than 64 positions without any label are no proof; more are."""
    assert judged("nothing-supervised", one(supervised=0, length=63)) is None
    assert isinstance(judged("nothing-supervised", one(supervised=0, length=64)), Fault)


def test_weights_that_nobody_trained_are_not_misaligned() -> None:
    """A loss of three times chance is that of a fresh model, which may copy most of its input."""

    def token(n: int) -> Shown:
        return sure_and_wrong(n, around=(n + (100 if n % 8 else 9), None, None), label_logprob=-19.0)

    pool = over(1, varied(64, token), 64, equal=None)
    assert not isinstance(judged("prediction-misaligned", pool), Fault)


def test_hits_elsewhere_must_be_many_more_than_at_home() -> None:
    """Four times as many hits at the other offset, and eight more, are asked for."""

    def token(n: int, right: bool) -> Shown:
        return sure_and_wrong(n, prediction=n if right else n + 100, around=(None, n + 100, None))

    def pool(right: int) -> list[Evidence]:
        return over(1, [token(10 + n % 40, n < right) for n in range(80)], 80)

    assert isinstance(judged("prediction-misaligned", pool(14)), Fault)
    assert not isinstance(judged("prediction-misaligned", pool(15)), Fault)


def test_the_margin_of_the_best_covers_its_scatter() -> None:
    """One and a half standard errors are added to a mean loss, so that a lucky draw is no mark to be held against."""
    sums = Sums.of([shown(label_logprob=-1.0), shown(label_logprob=-3.0)] * 8)
    assert sums.at_most == pytest.approx(2.0 + 1.5 * 1.0 / 4)


def test_an_evaluation_of_one_batch_is_no_loader_that_repeats() -> None:
    """Without gradients the same labels may come back for ever."""
    pool = [evidence(facts(varied(8, shown)), step=step, is_trained=False) for step in range(9)]
    assert judged("same-batch", pool) is CLEAN


def test_a_few_short_answers_may_be_the_same() -> None:
    """Labels that tell nothing, because they are few, are no sign of a loader that repeats."""
    assert judged("same-batch", over(9, [shown(n % 7) for n in range(63)], 7)) is CLEAN


tokens = st.builds(
    shown,
    st.integers(0, 9),
    st.none() | st.integers(0, 9),
    read=st.none() | st.integers(0, 9),
    label_logprob=st.none() | st.floats(-30, 0),
    prediction_logprob=st.none() | st.floats(-30, 0),
    around=st.tuples(*[st.none() | st.integers(0, 9)] * 3),
)


@given(st.lists(st.lists(tokens, max_size=12), min_size=1, max_size=6))
def test_sums_add_up(parts: list[list[Shown]]) -> None:
    """Summing the parts of a pool gives what summing all of its tokens does, whatever the parts."""
    together = Sums.together([Sums.of(part) for part in parts])
    whole = Sums.of([token for part in parts for token in part])
    for name, summed, counted in zip(Sums._fields, together, whole, strict=True):
        assert summed == (pytest.approx(counted) if isinstance(counted, float) else counted), name


counts = st.integers(0, 60)


@given(
    st.lists(
        st.builds(
            facts,
            st.lists(tokens, max_size=10),
            supervised=counts,
            out_of_range=counts,
            lowest=st.integers(-101, 0),
            highest=st.integers(0, 999),
            copied=st.none() | counts,
            equal=st.none() | st.tuples(counts, counts, counts),
            compared=st.just((60, 60, 60)),
            start=st.lists(st.integers(0, 3), max_size=3).map(tuple),
            follower=st.none() | st.integers(0, 3),
            pad=st.none() | counts,
            eos=st.none() | counts,
            codebook=st.none() | st.integers(0, 7),
            vocabulary=st.sampled_from([1, 2, 10, 512]),
        ),
        min_size=1,
        max_size=9,
    ),
    st.none() | st.floats(0, 12),
)
def test_no_rule_fails_on_anything(samples: list[Any], best: float | None) -> None:
    """Whatever was captured, each rule answers, in whole sentences and with numbers that JSON can hold."""
    # Labels out of range are below 0 or beyond the last logit, or they are not counted.
    samples = [
        replace(one, out_of_range=one.out_of_range * (one.lowest < 0 or one.highest >= one.vocabulary))
        for one in samples
    ]
    for rule in catalog.RULES:
        verdict = rule.judge([evidence(one, step=step) for step, one in enumerate(samples)], Past(0, best))
        assert verdict is None or isinstance(verdict, Clean | Fault)
        if isinstance(verdict, Fault):
            assert verdict.fix.endswith(".")
            assert not verdict.what.endswith(".")
            assert all(isinstance(value, int | float | list) for value in verdict.evidence.values())
