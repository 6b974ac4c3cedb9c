"""All rules in the order in which they are asked, the refusals, what explains what, and the page about each code."""

from pathlib import Path
from typing import Final

from predlog.findings.axes import axes_swapped
from predlog.findings.certain import (
    bos_doubled,
    label_crosses_boundary,
    label_out_of_range,
    labels_are_inputs,
    labels_shifted_twice,
    logits_not_finite,
    nothing_supervised,
)
from predlog.findings.masking import (
    answer_mask_off,
    masked_by_id,
    prompt_supervised,
    special_run_supervised,
    unknown_supervised,
)
from predlog.findings.padding import pad_supervised
from predlog.findings.progress import (
    constant_codebook,
    label_never_learnt,
    nothing_trained,
    sure_and_wrong,
)
from predlog.findings.rule import Rule
from predlog.findings.statistical import (
    SEVERAL,
    at_chance,
    collapsed,
    copying_inputs,
    prediction_misaligned,
    same_batch,
)
from predlog.findings.text_ends import (
    answers_truncated,
    bos_inside,
    end_missing,
    end_only_in_labels,
    eos_never_supervised,
)

RULES: Final = (
    Rule("nothing-supervised", "error", True, False, "every label of the samples shown is ignored", nothing_supervised),
    Rule("label-out-of-range", "error", True, False, "labels that have no logit", label_out_of_range),
    Rule("logits-not-finite", "error", True, False, "NaN or infinity in the rows shown", logits_not_finite),
    Rule("axes-swapped", "error", True, False, "samples are taken for time", axes_swapped),
    Rule("labels-are-inputs", "error", True, False, "the model is asked to copy its input", labels_are_inputs),
    Rule("labels-shifted-twice", "error", True, False, "the model is asked to skip a token", labels_shifted_twice),
    Rule(
        "label-crosses-boundary", "error", True, False, "labels of another document than their row",
        label_crosses_boundary,
    ),
    Rule("bos-doubled", "warning", True, False, "inputs begin with the same special token twice", bos_doubled),
    Rule("pad-supervised", "warning", True, False, "padding among the supervised labels", pad_supervised),
    Rule("bos-inside", "warning", True, False, "labels begin with the begin token again", bos_inside),
    Rule("end-only-in-labels", "warning", True, False, "packed rows don't read the end token", end_only_in_labels),
    Rule("answers-truncated", "warning", False, False, "the longest samples have no labels left", answers_truncated),
    Rule("end-missing", "warning", False, False, "texts end without what generation stops at", end_missing),
    Rule("masked-by-id", "error", False, False, "a token of the texts is taken for padding", masked_by_id),
    Rule(
        "special-run-supervised", "warning", False, False, "a special token in a row among the labels",
        special_run_supervised,
    ),
    Rule("answer-mask-off", "error", False, False, "the mask of the prompt is one token off", answer_mask_off),
    Rule(
        "prompt-supervised", "warning", False, False, "prompts are supervised though a mask was asked for",
        prompt_supervised,
    ),
    Rule("unknown-supervised", "warning", False, False, "many labels are the unknown token", unknown_supervised),
    Rule("eos-never-supervised", "warning", False, False, "the model never learns to stop", eos_never_supervised),
    Rule("prediction-misaligned", "error", False, True, "predictions fit another offset", prediction_misaligned),
    Rule("copying-inputs", "error", False, True, "the model has learnt to copy its input", copying_inputs),
    Rule("collapsed", "warning", False, True, "one token is predicted nearly everywhere", collapsed, SEVERAL),
    Rule("at-chance", "warning", False, True, "the loss stays at chance", at_chance),
    Rule("sure-and-wrong", "error", False, True, "sure predictions are nearly never correct", sure_and_wrong),
    Rule("label-never-learnt", "warning", False, True, "a frequent label stays improbable", label_never_learnt),
    Rule("nothing-trained", "error", False, False, "a sample's log-probabilities never change", nothing_trained),
    Rule("constant-codebook", "warning", False, False, "a codebook has one value throughout", constant_codebook),
    Rule("same-batch", "warning", False, False, "the same labels come back at every logged step", same_batch, 2),
)  # fmt: skip
# What these look at, only whole rows of logits tell; the others need ids alone.
OF_LOGITS: Final = frozenset(
    {
        "logits-not-finite", "prediction-misaligned", "copying-inputs", "collapsed", "at-chance", "sure-and-wrong",
        "label-never-learnt", "nothing-trained",
    }
)  # fmt: skip
# What these look at, each process tells of its own rows, if those of a sample are split; the others need all rows.
OF_PART: Final = frozenset({"label-out-of-range"})
# Which rules `Judge.judge` is asked among: those of these codes, or all others.
AMONG: Final = {
    "ids": (OF_LOGITS, False), "logits": (OF_LOGITS, True), "part": (OF_PART, True), "rest": (OF_PART, False),
}  # fmt: skip
# Judged of a whole stream, by `reported_loss`.
LOSS: Final = "loss-differs-from-pair"
# Pairs that are refused before anything is captured.
REFUSALS: Final = {
    "empty-pair": "logits or labels have no elements",
    "length-mismatch": "the lengths of logits and labels differ after the shift",
    "layout-mismatch": "logits, labels or inputs don't fit the layout",
    "unreadable-pair": "logits, labels or an argument are of a kind that can't be read",
    "capture-failed": "memory, a descriptor or something else failed while a pair was captured",
}
LOSS_RULE: Final = Rule(
    LOSS, "error", True, False, "the reported loss is not that of the pair", lambda _pool, _past: None
)
# Found by `preflight`, which has the model.
CAUSAL_RULE: Final = Rule(
    "sees-the-future", "error", True, False, "logits depend on the tokens that they predict", lambda _pool, _past: None
)
SENTENCES: Final = {**REFUSALS, **{rule.code: rule.says for rule in (*RULES, LOSS_RULE, CAUSAL_RULE)}}
CODES: Final = tuple(SENTENCES)
_PLACES: Final = {rule.code: place for place, rule in enumerate(RULES)}


def explains(cause: str, symptom: str) -> bool:
    """Return whether one finding, while it is open, explains another of the same stream and codebook.

    A symptom follows from an error that is certain and from a symptom further up in the list. It is not reported
    while that is open, and whoever reads a file takes it as ended there, because nothing is written about its end.
    """
    first, second = _PLACES.get(cause), _PLACES.get(symptom)
    if first is None or second is None or first >= second or not RULES[second].is_symptom:
        return False
    return RULES[first].is_symptom or (RULES[first].is_certain and RULES[first].level == "error")


def page(code: str) -> str:
    """Return the page about a finding, in Markdown: what it means, how it looks, how to fix it, when it is no fault."""
    here = Path(__file__).parent
    # A wheel contains the pages; in a clone they are part of the documentation.
    folders = (here / "pages", here.parent.parent / "docs" / "findings")
    return next(file for folder in folders if (file := folder / f"{code}.md").exists()).read_text("utf-8")
