"""Of a pair in shards, one process asks the rules that need ids alone, and the reader those that need whole rows."""

from collections.abc import Sequence
from dataclasses import fields, replace

import pytest

from predlog.findings import catalog
from predlog.findings.evidence import Evidence, Others
from predlog.findings.judge import Judge
from predlog.findings.rule import Fault, Past
from tests.events import evidence, facts, shown
from tests.findings.test_findings import THRESHOLDS, judged

# A codebook that is constant among others that vary: its rule is not in the table of thresholds.
SILENT = [
    Evidence(
        step,
        tuple(facts(codebook=1, sample=one, lowest=5, highest=5, varied=0) for one in range(2)),
        others=Others(4, frozenset({0, 2, 3}), step),
    )
    for step in range(12)
]
CASES = [*THRESHOLDS, ("constant-codebook", SILENT, SILENT[:2], Past(0))]
IDS = [row for row in CASES if row[0] not in catalog.OF_LOGITS]
# Of the others, those that look at more than one record at a time are tested with what they remember.
LOGITS = [row for row in CASES if row[0] in catalog.OF_LOGITS]


def as_a_shard_sees_it(pool: Sequence[Evidence]) -> list[Evidence]:
    """Return evidence of which no prediction and no log-probability is known, as if NaN were in all rows."""
    known = [one.name for one in fields(Evidence) if one.init and one.name != "samples"]
    return [
        Evidence(
            samples=tuple(
                replace(
                    one,
                    nonfinite=0,
                    broken=0,
                    copied=None,
                    tokens=tuple(
                        token._replace(prediction=None, label_logprob=None, prediction_logprob=None)
                        for token in one.tokens
                    ),
                )
                for one in each.samples
            ),
            **{name: getattr(each, name) for name in known},
        )
        for each in pool
    ]


def without_probabilities(past: Past) -> Past:
    """Return what is remembered where no prediction was known."""
    return replace(past, best=None, first=None, known=set(), calm=None)


@pytest.mark.parametrize(
    ("code", "enough", "too_little", "past"), [pytest.param(*row, id=f"{row[0]}-{n}") for n, row in enumerate(IDS)]
)
def test_a_rule_of_ids_needs_no_logits(
    code: str, enough: list[Evidence], too_little: list[Evidence], past: Past
) -> None:
    """On both sides of its threshold its answer is the same, word for word, without predictions and probabilities."""
    blind = without_probabilities(past)
    assert isinstance(judged(code, enough, past), Fault)
    assert judged(code, as_a_shard_sees_it(enough), blind) == judged(code, enough, past)
    assert judged(code, as_a_shard_sees_it(too_little), blind) == judged(code, too_little, past)


@pytest.mark.parametrize(
    ("code", "enough", "too_little", "past"), [pytest.param(*row, id=f"{row[0]}-{n}") for n, row in enumerate(LOGITS)]
)
def test_a_rule_of_logits_needs_them(code: str, enough: list[Evidence], too_little: list[Evidence], past: Past) -> None:
    """Its fault is none without them, so no process alone may be asked."""
    assert isinstance(judged(code, enough, past), Fault)
    assert not isinstance(judged(code, as_a_shard_sees_it(enough), past), Fault)
    assert not isinstance(judged(code, as_a_shard_sees_it(too_little), past), Fault)


def test_every_rule_is_of_one_kind() -> None:
    """The rules of ids are those in the table, and the rules of logits are rules."""
    codes = {rule.code for rule in catalog.RULES}
    assert codes > catalog.OF_LOGITS
    assert {code for code, *_ in IDS} == codes - catalog.OF_LOGITS


def collapsing(step: int) -> Evidence:
    return evidence(facts([shown(10 + n % 40, 7, prediction_logprob=-0.1, label_logprob=-9.0) for n in range(20)]))


@pytest.mark.parametrize(
    ("elsewhere", "is_found"),
    [
        ({}, True),
        ({"labels-are-inputs": {None}}, False),
        ({"labels-are-inputs": {3}}, True),  # in another codebook
        ({"pad-supervised": {None}}, True),  # a warning
        ({"loss-differs-from-pair": {None}}, True),  # explains nothing
    ],
)
def test_what_another_process_has_found_explains_symptoms(
    elsewhere: dict[str, set[int | None]], *, is_found: bool
) -> None:
    """An error that is certain and open there hides what follows from it, as it does where one process asks all."""
    judge = Judge()
    for step in range(40):
        judge.judge(step, "text", collapsing(step).samples, is_trained=True, among="logits", elsewhere=elsewhere)
    assert bool(judge.open) is is_found
