"""What each rule needs to know of a pair, and why it can't decide where that is not known."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

from predlog.findings.special_tokens import SpecialTokens

_NO_SPECIALS: Final = SpecialTokens()
# Who joins parts, and judges what they make.
JOINS: Final = "predlog check judges the records that are joined from parts"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the latest pair of a stream, beside logits and labels.

    `inputs`, `positions` (of documents) and `padding` are whether these were passed; `vocabulary` and `probabilities`
    whether the logits tell them; `is_trained` whether the logits require gradients. `loss` is whether the trainer's
    loss was reported, and is still checked; `is_loss_told` whether it was told from that of other labels. `whole` is
    whether one process has whole rows of logits; `is_split` whether it has some rows of the samples only, and `is_long`
    whether these are too many for their ids to be kept.
    """

    inputs: bool = False
    positions: bool = False
    padding: bool = False
    specials: SpecialTokens = _NO_SPECIALS
    vocabulary: bool = True
    probabilities: bool = True
    is_trained: bool = True
    loss: bool = False
    whole: bool = True
    is_loss_told: bool = True
    is_split: bool = False
    is_long: bool = False


class Need(NamedTuple):
    """Something that a rule needs: whether it is known, and what is reported if it is not."""

    is_met: Callable[[Known], bool]
    why: str


_INPUTS: Final = Need(lambda known: known.inputs, "the inputs are not known: pass inputs=, the ids that the model read")
_BOUNDARIES: Final = Need(
    lambda known: known.positions or known.padding,
    "the boundaries of documents are not known: pass position_ids=, document_ids= or attention_mask=",
)
_PADDING: Final = Need(
    lambda known: known.padding or bool({*known.specials.pad} - {*known.specials.eos, *known.specials.bos}),
    "the padding is not known: pass attention_mask=, or special_tokens= with a padding token that is no other",
)
_SPECIALS: Final = Need(
    lambda known: bool(known.specials.every), "the special tokens are not known: pass special_tokens= or decode="
)
_END: Final = Need(
    lambda known: bool(known.specials.eos), "the end token is not known: pass special_tokens= or decode="
)
_VOCABULARY: Final = Need(
    lambda known: known.vocabulary, "the vocabulary's size is not known: pass it to Rows as vocabulary="
)
_PROBABILITIES: Final = Need(
    lambda known: known.probabilities, "the probabilities are not known: pass the head's scale to Projection"
)
_TRAINED: Final = Need(lambda known: known.is_trained, "the logits require no gradients, so nothing is trained here")
_WHOLE: Final = Need(lambda known: known.whole, f"the logits are in shards: {JOINS}")
_SPLIT: Final = f"this process has some rows of the samples only: {JOINS}"
_LONG: Final = (
    "this process has so many rows of the samples that it keeps no ids of those between: whoever joins the parts can't"
    " tell, either"
)
# What processes tell by themselves of their rows, and of long parts of samples nobody.
_OF_ROWS: Final = frozenset({"label-out-of-range"})
_OF_IDS: Final = frozenset({
    "bos-inside", "end-only-in-labels", "answers-truncated", "end-missing", "masked-by-id", "special-run-supervised",
    "answer-mask-off", "prompt-supervised", "unknown-supervised", "eos-never-supervised", "pad-supervised",
})  # fmt: skip
_LOSS: Final = Need(
    lambda known: known.loss or not known.whole,
    "the trainer's loss is not known, has other terms, or there are no logits to check it against, as with a fused"
    " head: pass reported_loss=, or call report_loss",
)
_LOSS_TOLD: Final = Need(
    lambda known: known.is_loss_told or not known.loss,
    "the reported loss can't be told from that of other labels by the pairs so far: record further steps",
)

# Rules that are not listed need nothing but logits and labels.
NEEDS: Final[Mapping[str, tuple[Need, ...]]] = MappingProxyType({
    "axes-swapped": (_INPUTS,),
    "labels-are-inputs": (_INPUTS,),
    "labels-shifted-twice": (_INPUTS,),
    "label-crosses-boundary": (_BOUNDARIES,),
    "bos-doubled": (_INPUTS, _SPECIALS),
    "pad-supervised": (_PADDING,),
    "eos-never-supervised": (_INPUTS, _END),
    "logits-not-finite": (_WHOLE,),
    "prediction-misaligned": (_PROBABILITIES, _WHOLE),
    "copying-inputs": (_INPUTS, _PROBABILITIES, _WHOLE),
    "collapsed": (_PROBABILITIES, _WHOLE),
    "at-chance": (_PROBABILITIES, _VOCABULARY, _WHOLE),
    "sure-and-wrong": (_WHOLE,),
    "label-never-learnt": (_WHOLE,),
    "nothing-trained": (_WHOLE,),
    "same-batch": (_TRAINED,),
    "loss-differs-from-pair": (_LOSS, _LOSS_TOLD, _WHOLE),
})  # fmt: skip
_STEPS: Final = "one step is not enough: record the training"
_TOKENS: Final = "this pair has too few supervised tokens to tell"
_SAMPLES: Final = "this pair has too few samples to tell"
# Why a rule can't decide about one pair without further ones, in the order of the rules.
MORE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "nothing-supervised": _SAMPLES,
        "label-out-of-range": _TOKENS,
        "logits-not-finite": _TOKENS,
        "axes-swapped": _TOKENS,
        "labels-are-inputs": _TOKENS,
        "labels-shifted-twice": _TOKENS,
        "label-crosses-boundary": _SAMPLES,
        "bos-doubled": _SAMPLES,
        "pad-supervised": _SAMPLES,
        "bos-inside": _SAMPLES,
        "end-only-in-labels": _SAMPLES,
        "answers-truncated": _SAMPLES,
        "end-missing": _SAMPLES,
        "masked-by-id": _SAMPLES,
        "special-run-supervised": _SAMPLES,
        "answer-mask-off": _SAMPLES,
        "prompt-supervised": _SAMPLES,
        "unknown-supervised": _SAMPLES,
        "eos-never-supervised": _SAMPLES,
        "prediction-misaligned": _TOKENS,
        "copying-inputs": _STEPS,
        "collapsed": _STEPS,
        "at-chance": _STEPS,
        "sure-and-wrong": _STEPS,
        "label-never-learnt": _STEPS,
        "nothing-trained": _STEPS,
        "constant-codebook": _SAMPLES,
        "same-batch": _STEPS,
        "loss-differs-from-pair": "the reported loss can't be told from that of other labels by this pair alone",
    }
)
COMPARE_STEPS: Final = frozenset({code for code, why in MORE.items() if why == _STEPS})
# The rules that tell whether labels are shifted correctly.
ALIGNMENT: Final = tuple(code for code, needs in NEEDS.items() if _INPUTS in needs)


def undecided(known: Known) -> dict[str, str]:
    """Return the codes of the rules that can't decide, and why."""
    reasons = {code: [need.why for need in needs if not need.is_met(known)] for code, needs in NEEDS.items()}
    if known.is_split:
        reasons = {code: [one for one in whys if one != _WHOLE.why] for code, whys in reasons.items()}
        for code in MORE.keys() - _OF_ROWS:
            reasons.setdefault(code, []).append(_LONG if known.is_long and code in _OF_IDS else _SPLIT)
        reasons["axes-swapped"] = ["the rows of the samples are split, so nobody compares one sample with the next"]
    return {code: "; ".join(whys) for code, whys in sorted(reasons.items(), key=_in_order) if whys}


def _in_order(item: tuple[str, object]) -> int:
    return [*MORE].index(item[0])


def without_inputs(ignored: frozenset[str]) -> str | None:
    """Return a line about the rules that are off where inputs are unknown; None if all of them are ignored."""
    off = [code for code in ALIGNMENT if code not in ignored]
    if not off:
        return None
    return (
        "the inputs are not known, so nothing says for certain whether labels and logits are aligned: pass inputs=, the"
        f" ids that the model read. Without them, these rules can't decide: {', '.join(off)}"
    )
