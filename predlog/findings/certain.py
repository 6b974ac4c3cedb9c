"""Rules that use shapes, labels and inputs only, and mostly decide on the first record."""

from predlog.findings.evidence import Evidence
from predlog.findings.facts import Facts
from predlog.findings.rule import (
    CLEAN,
    CLEARLY_MORE,
    ENOUGH,
    GENERATES,
    MANY_SAMPLES,
    NEARLY_ALL,
    NO_BETTER,
    Fault,
    Past,
    Pool,
    Verdict,
    _nearly_all_equal,
    _shift,
)

# What is declared of a pair that may be a part of the batch, of which another part has labels.
PART = "part of the batch"


def nothing_supervised(pool: Pool, past: Past) -> Verdict:
    """Check whether every label is ignored, or those of nearly all samples, unless a delay pattern explains it."""
    if PART in pool[-1].declared:
        return CLEAN
    samples = [(evidence, facts) for evidence in pool for facts in evidence.samples]
    shown = {(evidence.step, facts.sample) for evidence, facts in samples}
    empty = {(one.step, facts.sample) for one, facts in samples if not facts.supervised and not _is_delayed(facts, one)}
    if not empty:
        # Where samples without labels keep coming, a few with labels don't end it.
        return CLEAN if past.labelled + len(shown) >= MANY_SAMPLES else NO_BETTER
    # If some had labels before, a sample or batch without any may be normal for the data: a short one in a masked
    # model, one without sound in a stream of sound.
    if past.supervised or len(empty) < len(shown):
        if len(empty) < NEARLY_ALL * len(shown):
            return NO_BETTER
        if len(shown) < MANY_SAMPLES:
            return None
    facts = pool[0].samples[0]
    if len(shown) * facts.length < ENOUGH:
        return None  # in a masked model a few short rows may have no masked position
    since = f" from position {facts.shift} on" if facts.shift else ""
    is_generated = facts.is_weighed or GENERATES in pool[-1].declared
    cause = _WHAT_MASKS["codebook" if facts.codebook is not None else "completions" if is_generated else "labels"]
    which = f"all {len(shown)} samples" if len(empty) == len(shown) else f"{len(empty)} of {len(shown)} samples"
    return Fault(
        f"every label of {which if len(shown) > 1 else 'the sample'} shown is {facts.ignore_index}{since}, which is "
        f"ignored,{' or has a loss mask of 0,' if facts.is_weighed else ''} so there is nothing to learn from",
        cause,
        {
            "samples": len(shown), "without": len(empty), "length": facts.length,
            "ignore_index": facts.ignore_index,
        },
    )  # fmt: skip


# What to check if nothing is supervised.
_WHAT_MASKS = {
    "labels": "Check what masks the labels: a template or response marker that is not found in the text masks all of "
    "it, and so does a prompt that fills the row until the answer is cut off.",
    "completions": "Check what makes the loss mask: completions that were cut off at their greatest length have one"
    " of 0 where that is asked for (`mask_truncated_completions` in TRL), as do turns of tools and environments; a mask"
    " of attention or of padding may also be inverted, or belong to another batch.",
    "codebook": "Check what masks the codes: a delay longer than the sample, a code that is real and also the padding"
    " or ignore_index, a mask of sounding frames in silence, or codes that this codebook has none of.",
}


def _is_delayed(facts: Facts, evidence: Evidence) -> bool:
    # In a delay pattern codebook k begins k steps later, so a short sample has no labels in the last codebooks.
    return facts.codebook is not None and 0 < evidence.widest <= facts.codebook


def label_out_of_range(pool: Pool, _past: Past) -> Verdict:
    """Check for labels that have no logit and are not ignored."""
    samples = [facts for evidence in pool for facts in evidence.samples]
    count = sum(facts.out_of_range for facts in samples)
    if not count:
        return CLEAN
    supervised, vocabulary = sum(facts.supervised for facts in samples), samples[0].vocabulary
    lowest, highest = min(facts.lowest for facts in samples), max(facts.highest for facts in samples)
    ignored = samples[0].ignore_index
    fixes = []
    extremes = []
    if lowest < 0:
        extremes.append(f"lowest {lowest}")
        known = " (a usual mark for ignored labels)" if lowest in {-1, -100, -101} else ""
        fixes.append(
            f"{lowest}{known} is not ignored here: pass ignore_index={lowest}, and to the loss as well, or mask with "
            f"{ignored}."
        )
    if vocabulary is not None and highest >= vocabulary:
        extremes.append(f"highest {highest}")
        fixes.append(
            f"{highest} has no logit: if it is padding, mask it with {ignored}, or pass ignore_index={highest} if "
            "the model masks it by itself; if tokens were added to the tokenizer, resize the model's embeddings."
        )
    outside = "are below 0" if vocabulary is None else f"lie outside 0 to {vocabulary - 1}"
    return Fault(
        f"{count} of {supervised} supervised labels {outside} ({', '.join(extremes)})",
        " ".join(fixes),
        {
            "out_of_range": count, "supervised": supervised, "vocabulary": vocabulary, "lowest": lowest,
            "highest": highest, "ignore_index": ignored,
        },
    )  # fmt: skip


def logits_not_finite(pool: Pool, _past: Past) -> Verdict:
    """Check for NaN or infinity in the rows shown."""
    samples = [facts for evidence in pool for facts in evidence.samples]
    tokens = [token for facts in samples for token in facts.tokens]
    if not tokens:
        return None
    count = sum(facts.nonfinite for facts in samples)
    if not count:
        return CLEAN
    broken = sum(facts.broken for facts in samples)
    evidence = {"tokens": len(tokens), "rows_not_finite": broken, "labels_without_probability": count - broken}
    if broken:
        return Fault(
            f"{broken} of {len(tokens)} rows of logits shown hold NaN or infinity",
            "Weights that are NaN stay NaN: go back to a checkpoint, and check the learning rate, overflow in half "
            "precision and divisions by zero in the steps before. If a mask of the loss leaves these rows out, pass it"
            " as loss_mask=.",
            evidence,
        )
    return Fault(
        f"{count} of {len(tokens)} labels shown have probability 0, so the loss is infinite",
        "Their logits are -inf: the mask over the vocabulary must keep the labels.",
        evidence,
    )


def labels_are_inputs(pool: Pool, _past: Past) -> Verdict:
    """Check for labels that equal the inputs at the same position."""
    shift = _shift(pool)
    asked, loss = "so the model is asked to copy", pool[-1].loss
    if shift:
        fix = f"They lag behind what shift={shift} assumes: pass labels that were not shifted to the right."
    elif loss == "one more shift":
        asked = "and the reported loss shows that the model or the loss shifts them by itself"
        fix = "Pass shift=1 to predlog, which must see what the loss sees."
    elif loss == "fits":
        fix = (
            "The reported loss shows that nothing shifts them: shift the labels before the loss."
            " Changing predlog's call alone does not fix the training."
        )
    else:
        asked = "as they were passed to predlog"
        fix = (
            "If the model or the loss shifts them by itself, pass shift=1; otherwise the model learns to copy: shift"
            " the labels before the loss. Changing predlog's call alone does not fix the training."
        )
    return _equal_inputs(pool, 0, "at the same position", asked, fix)


def labels_shifted_twice(pool: Pool, _past: Past) -> Verdict:
    """Check for labels that equal the inputs two positions later at a `shift` below 2."""
    shift = _shift(pool)
    if shift > 1:
        return CLEAN  # labels further ahead were asked for, as with heads for several tokens
    fix = (
        "They were shifted once before shift=1 shifts them again: pass shift=0 and use a loss that does not shift, or "
        "pass labels that are not shifted. Changing predlog's call"
        " alone does not fix the training. If the head is to predict the token after the next, pass shift=2."
        if shift
        else "Shift them only once: the label of a position is the next input."
    )
    return _equal_inputs(pool, 2, "two positions later", "so the model is asked to skip a token", fix)


def _equal_inputs(pool: Pool, offset: int, where: str, asked: str, fix: str) -> Verdict:
    """Check for labels that nearly all equal the inputs at an offset."""
    found = _nearly_all_equal(pool, offset)
    if found is None:
        return CLEAN
    # If neighbouring inputs are equal, a label equals both and proves nothing: enough must differ from the next.
    lone = sum(one.lone[1] for one in pool if one.lone)
    if sum(one.compared[1] - one.equal[1] for one in pool if one.equal and one.compared) - lone < CLEARLY_MORE:
        return None
    equal, compared = found
    what = f"labels equal the inputs {where} ({equal} of {compared} supervised tokens), {asked}"
    return Fault(what, fix, {"equal": equal, "compared": compared, "shift": _shift(pool)})


def label_crosses_boundary(pool: Pool, _past: Past) -> Verdict:
    """Check for labels of another document than the one that their row reads, or whose row reads padding."""
    samples = [facts for evidence in pool for facts in evidence.samples]
    known = [facts for facts in samples if facts.crossing is not None or facts.from_padding is not None]
    crossing = sum(facts.crossing or 0 for facts in known)
    from_padding = sum(facts.from_padding or 0 for facts in known)
    if not crossing + from_padding:
        return CLEAN
    if _shift(pool) == 0 and _nearly_all_equal(samples, 1) is None:
        return CLEAN  # labels that are not the next inputs
    if any(evidence.loss == "attention mask applied" for evidence in pool):
        from_padding = 0
    if crossing and not any(facts.specials.eos for facts in known):
        # If all of the rows read the same token, it is likely to end a text.
        read = {one for facts in known for one in facts.separators or () if one >= 0}
        if len(read) == 1:
            if crossing == 1 and len(pool) < MANY_SAMPLES:
                return None
            crossing = 0
    if not crossing + from_padding:
        return CLEAN
    supervised = sum(facts.supervised for facts in known)
    ignored = samples[0].ignore_index
    found = [
        f"{crossing} of {supervised} supervised labels belong to another document than the token that their row reads"
        if crossing
        else "",
        f"{from_padding} of {supervised} supervised labels have a row that reads padding" if from_padding else "",
    ]
    fix = (
        f"Set the label of each document's first token to {ignored}, as where position_ids are 0."
        if crossing
        else f"Set the label of the first token after padding to {ignored}."
    )
    evidence = {"crossing": crossing, "from_padding": from_padding, "supervised": supervised}
    return Fault(" and ".join(filter(None, found)), fix, evidence)


def bos_doubled(pool: Pool, _past: Past) -> Verdict:
    """Check for inputs that begin with the same special token twice."""
    samples = [facts for evidence in pool for facts in evidence.samples if len(facts.start) > 1]
    if not samples or not samples[0].specials.every:
        return CLEAN
    specials = samples[0].specials
    doubled = [facts for facts in samples if facts.start[0] == facts.start[1] and _begins(facts)]
    if len(doubled) < NEARLY_ALL * len(samples):
        return CLEAN
    token = doubled[0].start[0]
    if token not in specials.bos or token in specials.eos:
        # Two of another special token may be padding on the left, or the first two of many image tokens.
        exactly = [facts for facts in doubled if facts.start[2:] and facts.start[2] != token]
        if len(exactly) < len(samples):
            return CLEAN
        if len(samples) < 4:
            return None
    return Fault(
        f"the inputs of {len(doubled)} of {len(samples)} samples begin with token {token} twice",
        "The tokenizer adds it, and a template, a collator or the model adds it again: let only one of them add it.",
        {"token": token, "doubled": len(doubled), "samples": len(samples)},
    )


def _begins(facts: Facts) -> bool:
    return facts.start[0] in facts.specials.every and facts.start[0] not in facts.specials.pad
