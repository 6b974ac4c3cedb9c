"""What is open, what is reported and when: once, together for codebooks, and again when it returns."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predlog.findings import catalog
from predlog.findings.facts import Facts
from predlog.findings.judge import Judge
from predlog.findings.ledger import Ledger
from predlog.findings.rule import CLEAN, Fault, Past, Pool, Rule, Verdict
from predlog.records.schema import Finding
from tests import events
from tests.events import facts, shown
from tests.written import typed

WRONG = {"equal": (100, 2, 1)}  # labels-are-inputs
MASKED = {"out_of_range": 3, "lowest": -1}


def reports(judge: Judge, step: int, *samples: Facts, stream: str = "text") -> list[str]:
    return [one.code for one in judge.judge(step, stream, samples, is_trained=True)]


def are_open(judge: Judge) -> list[tuple[str, str, int]]:
    return [(one.code, one.stream, one.step) for one in judge.open]


def fresh(step: int, **fields: Any) -> Facts:
    return facts(fingerprint=(step, step), **fields)


def test_reported_once_and_again_when_it_returns() -> None:
    """A finding is reported when it is found, and again when it comes back after it was gone."""
    judge = Judge()
    history = [WRONG, WRONG, WRONG, {}, WRONG, WRONG]
    assert [reports(judge, step, fresh(step, **fields)) for step, fields in enumerate(history)] == [
        ["labels-are-inputs"], [], [], [], ["labels-are-inputs"], [],
    ]  # fmt: skip
    assert are_open(judge) == [("labels-are-inputs", "text", 4)]


def test_what_comes_and_goes_is_reported_ever_more_seldom() -> None:
    """Each time it must be absent twice as long before it is gone, so 1000 steps of it are few lines."""
    judge = Judge()
    steps = [step for step in range(1000) if reports(judge, step, fresh(step, **(WRONG if step % 2 else {})))]
    assert steps == [1, 3]
    judge = Judge()
    pauses = [1, 2, 4, 8]
    step, found = 0, 0
    for pause in pauses:
        found += len(reports(judge, step, fresh(step, **WRONG)))
        for step in range(step + 1, step + 1 + pause):  # noqa: B020 - one step after another
            reports(judge, step, fresh(step))
        step += 1
    assert found == len(pauses)


def test_each_stream_and_codebook_is_judged_by_itself() -> None:
    """What is wrong with one stream or codebook is not reported of another."""
    judge = Judge()
    assert reports(judge, 0, fresh(0, **WRONG)) == ["labels-are-inputs"]
    assert reports(
        judge, 0, *(fresh(0, codebook=n, **(WRONG if n == 3 else {})) for n in range(8)), stream="audio"
    ) == ["labels-are-inputs"]
    one, other = judge.open
    assert (one.stream, one.codebook) == ("text", None)
    assert (other.stream, other.codebook) == ("audio", 3)
    assert other.message.startswith("audio codebook 3: labels equal the inputs")


def test_codebooks_that_are_wrong_together_are_reported_together() -> None:
    """One line for all codebooks that have the same fault at the same step, with the numbers of all of them."""
    judge = Judge()
    (found,) = judge.judge(0, "audio", [fresh(0, codebook=n, **WRONG) for n in range(8)], is_trained=True)
    assert found.codebook is None
    assert found.message.startswith("audio codebooks 0 to 7: labels equal the inputs at the same position (800 of 800")
    assert found.evidence["codebooks"] == list(range(8))
    for step in range(1, 4):  # it is open until the last of them is correct
        reports(judge, step, *(fresh(step, codebook=n, **(WRONG if n == 7 else {})) for n in range(8)), stream="audio")
        assert are_open(judge) == [("labels-are-inputs", "audio", 0)]
    reports(judge, 4, *(fresh(4, codebook=n) for n in range(8)), stream="audio")
    assert are_open(judge) == []


def test_codebooks_that_are_apart_are_listed() -> None:
    """Codebooks that are no range are named one by one."""
    judge = Judge()
    (found,) = judge.judge(0, "audio", [fresh(0, codebook=n, **WRONG) for n in (0, 2, 5)], is_trained=True)
    assert found.message.startswith("audio codebooks 0, 2, 5: ")


def collapsing(step: int, **fields: Any) -> Facts:
    tokens = [shown(n, 7, label_logprob=-9.0, prediction_logprob=-0.1) for n in range(40, 60)]
    return fresh(step, tokens=tuple(tokens), **fields)


def test_symptoms_are_not_reported_while_their_cause_is_open() -> None:
    """While labels equal inputs, a collapse is not reported; once they don't, it is."""
    judge = Judge()
    codes = [code for step in range(30) for code in reports(judge, step, collapsing(step, **WRONG))]
    assert codes == ["labels-are-inputs"]
    codes = [code for step in range(30, 60) for code in reports(judge, step, collapsing(step))]
    assert codes == ["collapsed"]


def test_one_symptom_at_a_time() -> None:
    """Of a collapse and a loss above chance, which it causes, the first in the list is reported."""
    judge = Judge()
    assert [code for step in range(60) for code in reports(judge, step, collapsing(step))] == ["collapsed"]


def test_a_collapse_is_gone_when_predictions_differ_again() -> None:
    """That its loss eases while one token goes on being predicted everywhere does not end a collapse."""
    judge = Judge()
    assert [code for step in range(60) for code in reports(judge, step, collapsing(step))] == ["collapsed"]
    calm = tuple(shown(n, 7, label_logprob=-3.0, prediction_logprob=-3.0) for n in range(40, 60))
    for step in range(60, 120):
        judge.judge(step, "text", [fresh(step, tokens=calm)], is_trained=True)
    assert [code for code, *_ in are_open(judge)] == ["collapsed"]
    for step in range(120, 180):
        judge.judge(step, "text", [fresh(step, tokens=tuple(shown(n, n) for n in range(40, 60)))], is_trained=True)
    assert are_open(judge) == []


@pytest.mark.parametrize("code", [rule.code for rule in catalog.RULES if not rule.is_certain])
def test_ignored_codes_are_not_looked_for(code: str) -> None:
    """What is ignored is neither reported nor keeps anything else from being reported."""
    judge = Judge([code])
    assert all(rule.code != code for rule in judge._rules)


def test_what_is_ignored_hides_nothing() -> None:
    """With the cause ignored, the symptom is reported."""
    judge = Judge(["labels-are-inputs"])
    codes = [code for step in range(30) for code in reports(judge, step, collapsing(step, **WRONG))]
    assert codes == ["collapsed"]


def test_refusals_are_reported_once_and_end_with_the_first_good_pair() -> None:
    """A refused pair is found as long as pairs of its stream are refused."""
    judge = Judge()
    for step in range(3):
        found = judge.refuse(step, "text", "empty-pair", "text: nothing", {"logits": [0]})
        assert [one.code for one in found] == (["empty-pair"] if not step else [])
    judge.judge(3, "audio", [fresh(3)], is_trained=True)
    assert are_open(judge) == [("empty-pair", "text", 0)]
    judge.judge(3, "text", [fresh(3)], is_trained=True)
    assert are_open(judge) == []
    assert Judge(["empty-pair"]).refuse(0, "text", "empty-pair", "", {}) == []


def test_what_was_supervised_before_is_remembered() -> None:
    """A stream that had labels may have a batch without; one that never had any is reported at once."""
    judge = Judge()
    assert reports(judge, 0, fresh(0, supervised=0)) == ["nothing-supervised"]
    judge = Judge()
    reports(judge, 0, fresh(0))
    assert reports(judge, 1, fresh(1, supervised=0)) == []


def test_a_loader_that_begins_to_repeat_is_found_at_the_fifth_time() -> None:
    """What came before does not delay what begins now."""
    judge = Judge()
    tokens = tuple(shown(n) for n in range(9))
    prints = [1, 2, 3, 3, 3, 3, 3]
    codes = [reports(judge, step, facts(tokens, fingerprint=(one,))) for step, one in enumerate(prints)]
    assert codes == [[]] * 6 + [["same-batch"]]


def test_what_is_gone_is_reported_if_it_was_reported() -> None:
    """The end of a finding that was never reported is not reported; one that its cause explains is not gone."""
    judge = Judge()
    (heard,) = judge.judge(0, "text", [fresh(0, **WRONG)], is_trained=True)
    assert judge.unreported == [heard]
    heard.is_reported = True
    assert judge.unreported == []
    reports(judge, 1, fresh(1))
    (gone,) = judge.unreported
    assert (gone.level, gone.code, gone.step, gone.evidence) == ("info", "labels-are-inputs", 1, {"since": 0})
    gone.is_reported = True
    assert judge.unreported == []
    reports(judge, 2, fresh(2, **WRONG))
    reports(judge, 3, fresh(3))
    reports(judge, 4, fresh(4))
    assert judge.unreported == []
    judge = Judge()
    for step in range(30):
        reports(judge, step, collapsing(step))
    for one in judge.open:
        one.is_reported = True
    reports(judge, 30, collapsing(30, **WRONG))
    assert [one.code for one in judge.unreported] == ["labels-are-inputs"]
    assert judge.summary() == "1 open finding: labels-are-inputs (text, since step 30)"


def test_the_summary_lists_what_is_open_and_what_is_gone() -> None:
    """One line for the end of the run, and none where nothing was ever found."""
    judge = Judge()
    reports(judge, 0, fresh(0))
    assert judge.summary() is None
    reports(judge, 1, fresh(1, **WRONG))
    reports(judge, 2, fresh(2))
    assert judge.summary() == "found earlier and gone: labels-are-inputs (text)"
    reports(judge, 3, fresh(3, **MASKED))
    reports(judge, 3, *(fresh(3, codebook=n, **(WRONG if n == 2 else {})) for n in range(4)), stream="audio")
    assert judge.summary() == (
        "2 open findings: label-out-of-range (text, since step 3), labels-are-inputs (audio codebook 2, since step 3)"
        "; found earlier and gone: labels-are-inputs (text)"
    )


def test_memory_is_bounded() -> None:
    """However many streams come by, only the latest thousand are remembered, and their findings go with them."""
    judge = Judge()
    for number in range(3000):
        reports(judge, 0, fresh(0, **WRONG), stream=f"stream {number}")
    assert len(judge._lanes) == len(judge.open) == 1024
    assert judge.open[-1].stream == "stream 2999"
    summary = judge.summary()
    assert summary is not None
    assert len(summary) < 1000


def test_a_pool_that_never_decides_is_bounded() -> None:
    """A rule that can't tell for ever keeps at most 64 records."""
    judge = Judge()
    for step in range(500):
        reports(judge, step, fresh(step, equal=(100, 100, 100)))
    assert max(len(opinion.pool) for lane in judge._lanes.values() for opinion in lane.opinions.values()) <= 64


def planted(rule: Rule) -> Rule:
    """Return a rule that finds its fault wherever the fingerprint of the facts has its place."""
    place = catalog.CODES.index(rule.code)

    def found(pool: Pool, _past: Past) -> Verdict:
        is_wrong = any(place in facts.fingerprint for evidence in pool for facts in evidence.samples)
        return Fault("it is planted", "Take it out.", {}) if is_wrong else CLEAN

    return replace(rule, judge=found, looks_back=0)


def reported(judge: Judge) -> Iterator[Finding]:
    """Yield what is to be reported, as it is read back from the file."""
    for one in judge.unreported:
        one.is_reported = True
        (record,) = typed(events.finding(level=one.level, **one.fields))
        assert isinstance(record, Finding)
        yield record


CAUSES_AND_SYMPTOMS = ["labels-are-inputs", "pad-supervised", "prediction-misaligned", "collapsed", "at-chance"]
planted_codes = st.sets(st.sampled_from(CAUSES_AND_SYMPTOMS).map(catalog.CODES.index), max_size=3)


@given(st.lists(st.tuples(planted_codes, planted_codes), min_size=1, max_size=12))
def test_a_reader_finds_the_same_open_as_the_judge(history: list[tuple[set[int], set[int]]]) -> None:
    """However faults come and go in two codebooks, what is open in the file is what is open in the run."""
    judge, ledger = Judge(), Ledger()
    judge._rules = [planted(rule) for rule in judge._rules]
    for step, both in enumerate(history):
        samples = [facts(codebook=number, fingerprint=tuple(codes)) for number, codes in enumerate(both)]
        judge.judge(step, "audio", samples, is_trained=True)
        for record in reported(judge):
            ledger.add(record)
        open_in_file = [(one.finding.code, one.finding.step) for one in ledger.found({}) if one.is_open]
        assert sorted(open_in_file) == sorted((one.code, one.step) for one in judge.open)


@pytest.mark.parametrize("cause", catalog.CODES)
def test_what_explains_a_symptom(cause: str) -> None:
    """A symptom follows from an error that is certain or a symptom further up in the list, and from nothing else."""
    later = [rule.code for rule in catalog.RULES if catalog.explains(cause, rule.code)]
    symptoms = [rule.code for rule in catalog.RULES if rule.is_symptom]
    is_certain = cause in {rule.code for rule in catalog.RULES if rule.is_certain and rule.level == "error"}
    place = symptoms.index(cause) + 1 if cause in symptoms else 0
    assert later == (symptoms[place:] if is_certain or cause in symptoms else [])
    assert not catalog.explains("of a later predlog", cause)
    assert not catalog.explains(cause, "of a later predlog")
