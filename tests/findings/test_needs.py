"""What rules need: which can't decide about a pair, and that this is reported, with the argument to pass."""

from dataclasses import replace
from typing import Any

import pytest
import torch

import predlog
from predlog.findings import catalog
from predlog.findings.needs import ALIGNMENT, NEEDS, Known, undecided
from predlog.findings.special_tokens import SpecialTokens
from tests import events

SPECIALS = SpecialTokens(pad=(0,), eos=(2,), bos=(1,), every=frozenset({0, 1, 2}))
EVERYTHING = Known(inputs=True, positions=True, padding=True, specials=SPECIALS, loss=True)


def test_every_rule_that_needs_something_is_one() -> None:
    """The table has codes of rules only, and each need can be met."""
    assert set(NEEDS) <= {*(rule.code for rule in catalog.RULES), catalog.LOSS}
    assert undecided(EVERYTHING) == {}


@pytest.mark.parametrize(
    ("unknown", "codes"),
    [
        (
            {"inputs": False},
            {"labels-are-inputs", "labels-shifted-twice", "bos-doubled", "eos-never-supervised", "copying-inputs"},
        ),
        ({"positions": False, "padding": False}, {"label-crosses-boundary"}),
        ({"positions": False}, set()),
        ({"padding": False}, set()),
        (
            {"padding": False, "specials": SpecialTokens(pad=(2,), eos=(2,), every=frozenset({2}))},
            {"pad-supervised"},
        ),
        ({"specials": SpecialTokens()}, {"bos-doubled", "eos-never-supervised"}),
        ({"vocabulary": False}, {"at-chance"}),
        ({"probabilities": False}, {"prediction-misaligned", "copying-inputs", "collapsed", "at-chance"}),
        ({"is_trained": False}, {"same-batch"}),
        ({"loss": False}, {"loss-differs-from-pair"}),
        ({"whole": False}, {*catalog.OF_LOGITS, "loss-differs-from-pair"} - {
            "sure-and-wrong", "label-never-learnt", "nothing-trained",
        }),
        ({"is_loss_told": False}, {"loss-differs-from-pair"}),
    ],
)  # fmt: skip
def test_what_is_not_known_switches_off_the_rules_that_need_it(unknown: dict[str, Any], codes: set[str]) -> None:
    """For everything that may be unknown, exactly the rules that need it can't decide; each has a reason."""
    found = undecided(replace(EVERYTHING, **unknown))
    assert codes <= set(found)
    assert set(found) & {*EVERY_RULE} == codes


EVERY_RULE = (
    "nothing-supervised", "label-out-of-range", "logits-not-finite", "labels-are-inputs", "labels-shifted-twice",
    "label-crosses-boundary", "bos-doubled", "pad-supervised", "eos-never-supervised", "prediction-misaligned",
    "copying-inputs", "collapsed", "at-chance", "same-batch", "loss-differs-from-pair",
)  # fmt: skip


def test_the_rules_of_logits_need_whole_rows() -> None:
    """What a process with a shard can't decide is what is judged of the joined parts, and the loss."""
    assert {*undecided(replace(EVERYTHING, whole=False))} == {*catalog.OF_LOGITS, catalog.LOSS}


def test_a_recorder_lists_the_rules_that_cant_decide_per_stream() -> None:
    """By stream and as of its latest pair; what is ignored is left out, and a reported loss is known once it came."""
    with predlog.Recorder(every=1, console=False, ignore=("same-batch",), special_tokens={"eos": 2}) as recorder:
        assert recorder.undecided == {}
        logits, labels = events.pair()
        recorder.compare(logits, labels, 0)
        recorder.compare(logits, labels, 0, stream="known", inputs=labels, attention_mask=torch.ones(3, 20))
        recorder.flush()
        found = recorder.undecided
        assert set(found) == {"text", "known"}
        assert set(ALIGNMENT) <= set(found["text"])
        assert "pass inputs=" in found["text"]["labels-are-inputs"]
        assert "same-batch" not in found["text"]
        assert not {"labels-are-inputs", "label-crosses-boundary", "bos-doubled"} & set(found["known"])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        recorder.compare(logits, labels, 1, inputs=labels, reported_loss=loss)
        recorder.flush()
        assert not {"labels-are-inputs", "loss-differs-from-pair"} & set(recorder.undecided["text"])


def test_one_line_says_that_inputs_are_unknown(capfd: pytest.CaptureFixture[str]) -> None:
    """At the first record without inputs, once, with the argument to pass, and where nobody ignores all these rules."""
    logits, labels = events.pair()
    for how, lines in (({}, 1), ({"inputs": labels}, 0)):
        with predlog.Recorder(every=1, console=False, sinks=[lambda _l, _n, event: event]) as recorder:
            for step in range(3):
                recorder.compare(logits, labels, step, **how)  # type: ignore[arg-type]
                recorder.compare(logits, labels, step, stream="eval/text", **how)  # type: ignore[arg-type]
        said = [line for line in capfd.readouterr().err.splitlines() if "inputs are not known" in line]
        assert len(said) == lines
        assert all("pass inputs=" in line and "labels-are-inputs" in line for line in said)
    with predlog.Recorder(every=1, console=False, sinks=[lambda _l, _n, event: event], ignore=ALIGNMENT) as recorder:
        recorder.compare(logits, labels, 0)
    assert "inputs are not known" not in capfd.readouterr().err
