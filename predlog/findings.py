"""What can be wrong with a pair: one small pure rule a finding.

A rule is given the evidence of one stream and codebook at one logged step, or at several in a row, and answers with a
`Fault`, with `CLEAN`, with `NO_BETTER`, or with None where it can't tell yet and wants to see more. A rule that can't
be sure says nothing. *Certain* rules go by shapes, labels and inputs and mostly decide on the first record.
*Statistical* rules go by predictions, pooled over records, with a margin, over tokens that can tell one explanation
from another.

What a healthy model can't be is confidently wrong: trained on such pairs by likelihood, it is right about as often as
its own probabilities say. Early in training, on repetitive data or in a noisy codebook its predictions may copy, repeat
or collapse, yet with probabilities that match. So the statistical rules ask for both.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from predlog.facts import AROUND, Evidence, Facts, Sums, added

# --- what a rule says ---------------------------------------------------------------------------------------------


class Clean(Enum):
    """The evidence sufficed, and shows no such fault; or none by itself, and none that was found before as gone."""

    CLEAN = "clean"
    NO_BETTER = "no better"


CLEAN: Final = Clean.CLEAN
NO_BETTER: Final = Clean.NO_BETTER


class Fault(NamedTuple):
    """What is wrong, how to mend it, and the numbers that show it."""

    what: str
    mend: str
    evidence: Mapping[str, Any]


class Past(NamedTuple):
    """What is known of a stream and codebook from earlier records.

    `best` is the lowest mean loss (nats a token) of any 64 tokens or more before, with what their scatter allows on
    top, None where there were none yet; `first` are the sums of the first 64. `supervised` counts the supervised
    positions of all samples before, `records` the logged steps, and `known` are the labels that were ever predicted.
    """

    first_step: int
    best: float | None = None
    supervised: int = 0
    records: int = 0
    first: Sums | None = None
    known: AbstractSet[int] = frozenset()


Verdict = Fault | Clean | None
Pool = Sequence[Evidence]


@dataclass(frozen=True, slots=True)
class Rule:
    """A finding's code, and the function that finds it.

    A symptom is kept back while an error that is certain stands, or a symptom further up in the list: it would follow
    from it. After it found nothing, a rule that looks back keeps the latest records, one fewer than that; the others
    begin anew.
    """

    code: str
    level: Literal["error", "warning"]
    is_certain: bool
    is_symptom: bool
    says: str
    judge: Callable[[Pool, Past], Verdict]
    looks_back: int = 0


# --- how sure is sure ---------------------------------------------------------------------------------------------

# The share of supervised labels that must equal the inputs, and how many must differ from the next one, as they should
# not. The same number is asked for wherever a handful would be too few.
ALL_BUT_FEW = 0.98
CLEARLY_MORE = 8
# The share of samples without labels that is no accident, and of how many.
NEARLY_ALL = 0.9
MANY_SAMPLES = 16
# Tokens that a statistical rule wants to see.
ENOUGH = 64
# How many standard deviations fewer right predictions than the model expected are no accident.
SIGMAS = 6.0
# How often the predictions must be what they shouldn't.
SUSPICIOUS_HITS = 0.25
SUSPICIOUS_COPIES = 0.5
# Beyond this share a label that repeats the input is so common that predicting it is sound.
COMMON_REPEATS = 0.2
ONE_TOKEN_NEARLY_EVERYWHERE = 0.9
# Nats a token that a model has lost since its best.
HAS_LOST = 0.5
# A mean loss of at least this share of ln V is chance; nothing learnt in so many steps is no slow start.
CHANCE = 0.97
LONG = 1000
MANY_RECORDS = 200
# A mean loss of so many times ln V is that of weights which nobody has trained.
UNTRAINED = 3.0
SAME_BATCHES = 5
# Records that show whether something stays.
SEVERAL = 8


# --- certain rules ------------------------------------------------------------------------------------------------


def nothing_supervised(pool: Pool, past: Past) -> Verdict:
    """Find that every label is ignored, or those of nearly all samples, unless a delay pattern explains it."""
    shown = {(evidence.step, facts.sample) for evidence in pool for facts in evidence.samples}
    empty = {
        (evidence.step, facts.sample)
        for evidence in pool
        for facts in evidence.samples
        if not facts.supervised and not _is_delayed(facts, evidence)
    }
    if not empty:
        return CLEAN
    # Where some had labels before, a sample or a batch without may be in the nature of the data: a short one in a
    # masked model, one without sound in a stream of sound.
    if past.supervised or len(empty) < len(shown):
        if len(empty) < NEARLY_ALL * len(shown):
            return CLEAN
        if len(shown) < MANY_SAMPLES:
            return None
    facts = pool[0].samples[0]
    if len(shown) * facts.length < ENOUGH:
        return None  # a masked model may miss all of a few short rows
    since = f" from position {facts.shift} on" if facts.shift else ""
    which = f"all {len(shown)} samples" if len(empty) == len(shown) else f"{len(empty)} of {len(shown)} samples"
    return Fault(
        f"every label of {which if len(shown) > 1 else 'the sample'} shown is {facts.ignore_index}{since}, which is "
        "ignored, so there is nothing to learn from",
        "Look at what masks the labels: a template or response marker that is not found in the text masks all of it, "
        "and so does a prompt that fills the row until the answer is cut off.",
        {
            "samples": len(shown), "without": len(empty), "length": facts.length,
            "ignore_index": facts.ignore_index,
        },
    )  # fmt: skip


def _is_delayed(facts: Facts, evidence: Evidence) -> bool:
    # In a delay pattern codebook k begins k steps later, so a short sample leaves the last codebooks nothing.
    return facts.codebook is not None and 0 < evidence.widest <= facts.codebook


def label_out_of_range(pool: Pool, _past: Past) -> Verdict:
    """Find labels that no logit stands for, and that are not ignored."""
    samples = [facts for evidence in pool for facts in evidence.samples]
    count = sum(facts.out_of_range for facts in samples)
    if not count:
        return CLEAN
    supervised, vocabulary = sum(facts.supervised for facts in samples), samples[0].vocabulary
    lowest, highest = min(facts.lowest for facts in samples), max(facts.highest for facts in samples)
    ignored = samples[0].ignore_index
    mends = []
    extremes = []
    if lowest < 0:
        extremes.append(f"lowest {lowest}")
        known = " (a usual mark for ignored labels)" if lowest in {-1, -100, -101} else ""
        mends.append(
            f"{lowest}{known} is not ignored here: pass ignore_index={lowest}, and to the loss as well, or mask with "
            f"{ignored}."
        )
    if highest >= vocabulary:
        extremes.append(f"highest {highest}")
        mends.append(
            f"{highest} has no logit: where it is padding, mask it with {ignored}, or pass ignore_index={highest} if "
            "the model masks it by itself; where tokens were added to the tokenizer, resize the model's embeddings."
        )
    return Fault(
        f"{count} of {supervised} supervised labels lie outside 0 to {vocabulary - 1} "
        f"({', '.join(extremes)})",
        " ".join(mends),
        {
            "out_of_range": count, "supervised": supervised, "vocabulary": vocabulary, "lowest": lowest,
            "highest": highest, "ignore_index": ignored,
        },
    )  # fmt: skip


def logits_not_finite(pool: Pool, _past: Past) -> Verdict:
    """Find NaN or infinity in the rows shown."""
    samples = [facts for evidence in pool for facts in evidence.samples]
    tokens = [token for facts in samples for token in facts.tokens]
    if not tokens:
        return None
    count = sum(facts.nonfinite for facts in samples)
    if not count:
        return CLEAN
    broken = sum(token.prediction_logprob is None for token in tokens)
    evidence = {"tokens": len(tokens), "rows_not_finite": broken, "labels_without_probability": count - broken}
    if broken:
        return Fault(
            f"{broken} of {len(tokens)} rows of logits shown hold NaN or infinity",
            "Once weights are NaN nothing heals them: go back to a checkpoint, and look at the learning rate, at "
            "overflow in half precision and at divisions by zero in the steps before.",
            evidence,
        )
    return Fault(
        f"{count} of {len(tokens)} labels shown have probability 0, so the loss is infinite",
        "Their logits are -inf: what masks the vocabulary must leave the labels in.",
        evidence,
    )


def labels_are_inputs(pool: Pool, _past: Past) -> Verdict:
    """Find labels that equal the inputs at the same position."""
    found = _equal_at(pool, 0)
    if not isinstance(found, tuple):
        return found
    equal, compared = found
    shift = _shift(pool)
    mend = (
        "For next-token training pass shift=1, or shift the labels before the loss."
        if not shift
        else f"They lag behind what shift={shift} takes them for: hand over labels that are not shifted back."
    )
    return Fault(
        f"labels equal the inputs at the same position ({equal} of {compared} supervised tokens), so the model is "
        "asked to copy",
        mend,
        {"equal": equal, "compared": compared, "shift": shift},
    )


def labels_shifted_twice(pool: Pool, _past: Past) -> Verdict:
    """Find labels that equal the inputs two positions on, without `shift` saying so."""
    if _shift(pool) > 1:
        return CLEAN  # labels that lead by more are what was asked for, as with several predicted tokens
    found = _equal_at(pool, 2)
    if not isinstance(found, tuple):
        return found
    equal, compared = found
    shift = _shift(pool)
    mend = (
        "They were shifted once before shift=1 shifts them again: pass shift=0 and a loss that does not shift, or hand "
        "over labels that are not shifted. A head for the token after the next is declared by shift=2."
        if shift
        else "Shift them once only: the label of a position is the next input."
    )
    return Fault(
        f"labels equal the inputs two positions on ({equal} of {compared} supervised tokens), so the model is asked to "
        "skip a token",
        mend,
        {"equal": equal, "compared": compared, "shift": shift},
    )


def _equal_at(pool: Pool, offset: int) -> tuple[int, int] | Clean | None:
    """Count the labels that equal the inputs at an offset, if nearly all do, and some differ from the next input."""
    known = [
        (evidence.equal, evidence.compared)
        for evidence in pool
        if evidence.equal is not None and evidence.compared is not None
    ]
    equal = sum(one[offset] for one, _ in known)
    compared = sum(one[offset] for _, one in known)
    if not compared:
        return CLEAN
    if equal < ALL_BUT_FEW * compared:
        return CLEAN
    # Where neighbouring inputs are equal, a label equals both, which tells nothing: others must differ from the next.
    if sum(there[1] - one[1] for one, there in known) < CLEARLY_MORE:
        return None
    return equal, compared


def bos_doubled(pool: Pool, _past: Past) -> Verdict:
    """Find inputs that begin with the same special token twice."""
    samples = [facts for evidence in pool for facts in evidence.samples if len(facts.start) > 1]
    if not samples or not samples[0].specials.every:
        return CLEAN
    specials = samples[0].specials
    doubled = [facts for facts in samples if facts.start[0] == facts.start[1] and _begins(facts)]
    if len(doubled) < NEARLY_ALL * len(samples):
        return CLEAN
    token = doubled[0].start[0]
    if token not in specials.bos or token in specials.eos:
        # Two of another special token may be padding on the left, or the first of many image tokens.
        exactly = [facts for facts in doubled if facts.start[2:] and facts.start[2] != token]
        if len(exactly) < len(samples):
            return CLEAN
        if len(samples) < 4:
            return None
    return Fault(
        f"the inputs of {len(doubled)} of {len(samples)} samples begin with token {token} twice",
        "The tokenizer adds it, and a template, a collator or the model adds it again: leave it out of one of them.",
        {"token": token, "doubled": len(doubled), "samples": len(samples)},
    )


def _begins(facts: Facts) -> bool:
    return facts.start[0] in facts.specials.every and facts.start[0] not in facts.specials.pad


def pad_supervised(pool: Pool, _past: Past) -> Verdict:
    """Find padding among the supervised labels."""
    samples = [facts for evidence in pool for facts in evidence.samples if facts.pad is not None]
    if not any(map(_is_padded, samples)):
        return CLEAN
    specials = samples[0].specials
    count, supervised = sum(facts.pad or 0 for facts in samples), sum(facts.supervised for facts in samples)
    if not count or {*specials.pad} & {*specials.eos, *specials.bos}:
        return CLEAN  # an end token that pads as well may stand there by right
    return Fault(
        f"{count} of {supervised} supervised labels are padding ({_listed(specials.pad)})",
        f"Set labels to {samples[0].ignore_index} wherever the attention mask is 0; as it is, the model learns to pad.",
        {"padding": count, "supervised": supervised, "pad": list(specials.pad)},
    )


def _is_padded(facts: Facts) -> bool:
    """Say whether padding stands at an end: one alone may part documents, and another vocabulary has none."""
    pad, labels = facts.specials.pad, [token.label for token in facts.tokens]
    return (
        len(labels) > 1
        and ({*labels[:2]} <= {*pad} or {*labels[-2:]} <= {*pad})
        and all(token.read is None or token.read < facts.vocabulary for token in facts.tokens)
    )


# --- statistical rules --------------------------------------------------------------------------------------------


def eos_never_supervised(pool: Pool, _past: Past) -> Verdict:
    """Find that the inputs of many samples go on with an end token which no label stands for."""
    samples = [facts for evidence in pool for facts in evidence.samples if facts.eos is not None]
    ends = samples[0].specials.eos if samples else ()
    ended = [facts for facts in samples if facts.follower in ends and _should_end(facts)]
    if not ended or any(facts.eos for facts in samples):
        return CLEAN
    equal, compared = added(facts.equal for facts in samples), added(facts.compared for facts in samples)
    if equal is None or compared is None or equal[1] < ALL_BUT_FEW * compared[1]:
        return CLEAN  # labels that are not the next inputs need no end
    if len(ended) < MANY_SAMPLES:
        return None
    return Fault(
        f"the inputs of {len(ended)} samples go on with the end token ({_listed(ends)}), and no label "
        "stands for it, so the model never learns to stop",
        "Where the end token pads as well, masking the padding masks it too: mask by the attention mask, or pad with "
        "another token.",
        {"samples": len(ended), "eos": list(ends)},
    )


def _should_end(facts: Facts) -> bool:
    # Who trains on one token, such as yes or no, does not want it to go on; a turn may end with a token of its own.
    return facts.supervised > 2 and not {token.label for token in facts.tokens[-2:]} & facts.specials.every


def prediction_misaligned(pool: Pool, past: Past) -> Verdict:
    """Find confident predictions that are wrong where they stand, and right at another offset."""
    if _tokens(pool) < ENOUGH:
        return None
    sums = _sums(pool)
    open_still = False
    for place in sorted(range(len(AROUND)), key=lambda one: -sums.hits[one]):
        informative, hits, right = sums.informative[place], sums.hits[place], sums.right_there[place]
        if informative < ENOUGH:
            open_still |= sums.tokens < 4 * ENOUGH
            continue
        offset = AROUND[place]
        if hits < SUSPICIOUS_HITS * informative or hits < 4 * right + CLEARLY_MORE or not _is_sure_and_wrong(sums):
            continue
        if offset < 0 and _may_be_copying(pool, sums, hits / informative, past):
            continue
        return _misaligned(pool, offset, hits, right, informative)
    return None if open_still else CLEAN


def _misaligned(pool: Pool, offset: int, hits: int, right: int, informative: int) -> Fault:
    shift = _shift(pool)
    where = f"{abs(offset)} position{'s' * (abs(offset) > 1)} {'later' if offset > 0 else 'earlier'}"
    fitting = shift + offset
    if _are_next_inputs(pool):
        mend = (
            "The labels are the next inputs, as they should be, so the loss sees others: look whether it shifts twice."
        )
    elif fitting >= 0:
        mend = f"shift={fitting} would fit: pass it, if the loss goes by it too, or else mend the labels of the loss."
    else:
        mend = (
            "The labels lie ahead of the logits: hand over labels that are not shifted, or logits of the next position."
        )
    return Fault(
        f"predictions equal the label {where} ({hits} of {informative} tokens), not their own ({right})",
        mend,
        {"offset": offset, "hits": hits, "right": right, "tokens": informative, "shift": shift, "fitting": fitting},
    )


def _are_next_inputs(pool: Pool) -> bool:
    equal, compared = added(one.equal for one in pool), added(one.compared for one in pool)
    return equal is not None and compared is not None and equal[1] >= ALL_BUT_FEW * compared[1] > 0


def _may_be_copying(pool: Pool, sums: Sums, share: float, past: Past) -> bool:
    # The label before is, in next-token training, the input: what predicts that copies. With inputs there is a rule
    # for it. Without, an untrained model whose head is its embedding does so too, until it has learnt.
    if any(evidence.equal is not None for evidence in pool) or sums.loss > UNTRAINED * sums.tokens * _chance(pool):
        return True
    return share > 0.9 and not _has_lost(sums, past, _chance(pool))


def copying_inputs(pool: Pool, past: Past) -> Verdict:
    """Find confident predictions that equal the inputs where the labels don't, of a model that has been better."""
    copied, copyable = (sum(column) for column in zip(*(evidence.copies for evidence in pool), strict=True))
    if not any(evidence.equal is not None for evidence in pool):
        return CLEAN
    if copyable < ENOUGH or _tokens(pool) < ENOUGH:
        return None
    sums = _sums(pool)
    repeated = sum(evidence.equal[0] for evidence in pool if evidence.equal)
    supervised = sum(evidence.supervised for evidence in pool)
    if copied < SUSPICIOUS_COPIES * copyable or repeated > COMMON_REPEATS * supervised or not _is_sure_and_wrong(sums):
        return CLEAN
    if not _has_lost(sums, past, _chance(pool)):
        return CLEAN  # an untrained model whose head is its embedding predicts its input
    return Fault(
        f"predictions equal the inputs where the labels don't ({copied} of {copyable} tokens), so the model has learnt "
        "to copy",
        "The pair is right, so the loss sees another one: look whether it shifts its labels.",
        {"copied": copied, "tokens": copyable, "loss": _rounded(sums.loss / sums.tokens)},
    )


def collapsed(pool: Pool, past: Past) -> Verdict:
    """Find one token predicted nearly everywhere while the labels vary."""
    tokens = _tokens(pool)
    if tokens < ENOUGH or len(pool) < SEVERAL:
        return None
    # Which token it is may change from step to step.
    count = sum(evidence.commonest for evidence in pool)
    if count < ONE_TOKEN_NEARLY_EVERYWHERE * tokens:
        return CLEAN
    sums = _sums(pool)
    if not vary(sums.labels):
        return CLEAN
    had_learnt = 2 * sum(label in past.known for label in sums.labels) >= len(sums.labels)
    if not _is_sure_and_wrong(sums) and not (had_learnt and _has_lost(sums, past, _chance(pool))):
        return NO_BETTER  # so does each model that has learnt which token is the most frequent, and nothing more yet
    labels = len(set(sums.labels))
    which = [token for token, _ in Counter(sums.predictions).most_common(3)]
    return Fault(
        f"nearly all predictions of a record are one and the same ({count} of {sums.tokens}, {_listed(which)}), where "
        f"{labels} different labels stand",
        "Look at the learning rate and at the gradients: a step that was too large does this. Go back to a checkpoint.",
        {
            "predicted": which, "count": count, "tokens": sums.tokens, "labels": labels,
            "loss": _rounded(sums.loss / sums.tokens),
        },
    )  # fmt: skip


def at_chance(pool: Pool, past: Past) -> Verdict:
    """Find a mean loss of the tokens shown that stays at ln V or above, and never was better."""
    if _tokens(pool) < ENOUGH:
        return None
    sums = _sums(pool)
    vocabulary = pool[0].samples[0].vocabulary
    chance = _chance(pool)
    loss = sums.loss / sums.tokens
    if vocabulary < 4 or loss < CHANCE * chance or (past.best is not None and past.best < CHANCE * chance):
        return CLEAN
    if not _has_learnt_nothing_for_long(pool, past, loss):
        if not (_is_sure_and_wrong(sums) and _is_sure_and_wrong(past.first or sums)):
            return CLEAN  # so does each model that has just begun
        if sums.tokens < 4 * ENOUGH or len(pool) < SEVERAL:
            return None
        if _is_improving(pool, past) or _copies_most(pool, sums):
            return CLEAN
    return Fault(
        f"the mean loss of the tokens shown stays at {loss:.2f}, and guessing among {vocabulary} tokens costs "
        f"{chance:.2f}",
        "The labels may belong to another tokenizer, another sample or another shift, or the weights that were loaded "
        "are not the model's; with a fresh model, look whether the optimizer has its parameters.",
        {"loss": _rounded(loss), "chance": _rounded(chance), "tokens": sums.tokens, "vocabulary": vocabulary},
    )


def _has_learnt_nothing_for_long(pool: Pool, past: Past, loss: float) -> bool:
    is_long = pool[-1].step - past.first_step >= LONG and past.records >= MANY_RECORDS
    return is_long and loss >= _chance(pool) and past.best is not None and past.best >= _chance(pool)


def same_batch(pool: Pool, _past: Past) -> Verdict:
    """Find the same labels at every logged step of a training."""
    if not all(evidence.is_trained for evidence in pool):
        return CLEAN  # evaluating the same batch again and again is what one does
    newest = pool[-1]
    fingerprints = {tuple(facts.fingerprint for facts in evidence.samples) for evidence in pool}
    if len(fingerprints) > 1 or not _tells(newest):
        return CLEAN
    if len({evidence.step for evidence in pool}) < SAME_BATCHES:
        return None
    return Fault(
        f"the same labels come back at each of the last {SAME_BATCHES} logged steps",
        "Look whether the loader starts again with the same seed for every step; where an epoch is a few steps long, "
        "let `every` be no multiple of it.",
        {"steps": [evidence.step for evidence in pool], "supervised": newest.supervised},
    )


def _tells(evidence: Evidence) -> bool:
    # Numbers of samples, as in contrastive training, are the same for every batch; so may be a few short answers.
    if len({token.label - token.position for facts in evidence.samples for token in facts.tokens}) == 1:
        return False
    seen = {one for facts in evidence.samples for token in facts.tokens for one in (token.label, token.read)}
    return len(seen - {None}) >= CLEARLY_MORE


def vary(labels: Sequence[int]) -> bool:
    """Say whether no label makes up more than half of them."""
    return max(Counter(labels).values(), default=0) <= 0.5 * len(labels)


def _listed(ids: Sequence[int]) -> str:
    return f"token{'s' if len(ids) > 1 else ''} {', '.join(map(str, ids))}"


def _tokens(pool: Pool) -> int:
    return sum(evidence.sums.tokens for evidence in pool)


def _sums(pool: Pool) -> Sums:
    return pool[0].sums if len(pool) == 1 else Sums.together([evidence.sums for evidence in pool])


def _shift(pool: Pool) -> int:
    return pool[0].samples[0].shift


def _rounded(loss: float) -> float:
    return round(loss, 4)


def _is_sure_and_wrong(sums: Sums) -> bool:
    """Say whether a model that knew such pairs could be right so seldom with such probabilities."""
    missing = sums.expected - sums.right
    return missing > SIGMAS * math.sqrt(sums.variance + 1) and sums.expected > 3 * sums.right


def _has_lost(sums: Sums, past: Past, chance: float) -> bool:
    # Who never was better than guessing has nothing to lose.
    return past.best is not None and past.best <= 1.1 * chance and sums.loss / sums.tokens > past.best + HAS_LOST


def _chance(pool: Pool) -> float:
    """Give what guessing costs, in nats a token."""
    return math.log(pool[0].samples[0].vocabulary)


def _is_improving(pool: Pool, past: Past) -> bool:
    sums = _sums(pool)
    if past.first is not None and sums.loss / sums.tokens < 0.93 * past.first.loss / past.first.tokens:
        return True
    earlier, later = _sums(pool[: len(pool) // 2]), _sums(pool[len(pool) // 2 :])
    return later.loss / max(later.tokens, 1) < 0.95 * earlier.loss / max(earlier.tokens, 1)


def _copies_most(pool: Pool, sums: Sums) -> bool:
    copied, copyable = (sum(column) for column in zip(*(evidence.copies for evidence in pool), strict=True))
    return copied > SUSPICIOUS_COPIES * max(copyable, 1) or sums.hits[0] > SUSPICIOUS_COPIES * max(
        sums.informative[0], 1
    )


# --- all of them --------------------------------------------------------------------------------------------------

RULES: Final = (
    Rule("nothing-supervised", "error", True, False, "every label of the samples shown is ignored", nothing_supervised),
    Rule("label-out-of-range", "error", True, False, "labels that no logit stands for", label_out_of_range),
    Rule("logits-not-finite", "error", True, False, "NaN or infinity in the rows shown", logits_not_finite),
    Rule("labels-are-inputs", "error", True, False, "the model is asked to copy its input", labels_are_inputs),
    Rule("labels-shifted-twice", "error", True, False, "the model is asked to skip a token", labels_shifted_twice),
    Rule("bos-doubled", "warning", True, False, "inputs begin with the same special token twice", bos_doubled),
    Rule("pad-supervised", "warning", True, False, "padding among the supervised labels", pad_supervised),
    Rule("eos-never-supervised", "warning", False, False, "the model never learns to stop", eos_never_supervised),
    Rule("prediction-misaligned", "error", False, True, "predictions fit another offset", prediction_misaligned),
    Rule("copying-inputs", "error", False, True, "the model has learnt to copy its input", copying_inputs),
    Rule("collapsed", "warning", False, True, "one token is predicted nearly everywhere", collapsed, SEVERAL),
    Rule("at-chance", "warning", False, True, "the loss stays at chance", at_chance),
    Rule("same-batch", "warning", False, False, "the same labels come back at every logged step", same_batch, 2),
)
# Pairs that are refused before anything is captured.
REFUSALS: Final = {
    "empty-pair": "logits or labels have no elements",
    "length-mismatch": "the lengths of logits and labels differ after the shift",
    "layout-mismatch": "logits, labels or inputs don't fit the layout",
    "unreadable-pair": "logits, labels or an argument are of a kind that can't be read",
}
SENTENCES: Final = {**REFUSALS, **{rule.code: rule.says for rule in RULES}}
CODES: Final = tuple(SENTENCES)


def page(code: str) -> str:
    """Give the page about a finding, in Markdown: what it means, how it looks, how to mend it, when it is no fault."""
    here = Path(__file__).parent
    # A wheel carries the pages; in a clone they stand among the documentation.
    folders = (here / "pages", here.parent / "docs" / "findings")
    return next(file for folder in folders if (file := folder / f"{code}.md").exists()).read_text("utf-8")
