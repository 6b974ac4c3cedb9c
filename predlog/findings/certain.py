"""Rules that use shapes, labels and inputs only, and mostly decide on the first record."""

from predlog.findings.evidence import Evidence, Facts
from predlog.findings.rule import (
    CLEAN,
    CLEARLY_MORE,
    ENOUGH,
    MANY_SAMPLES,
    NEARLY_ALL,
    Fault,
    Past,
    Pool,
    Verdict,
    _listed,
    _nearly_all_equal,
    _shift,
)


def nothing_supervised(pool: Pool, past: Past) -> Verdict:
    """Check whether every label is ignored, or those of nearly all samples, unless a delay pattern explains it."""
    samples = [(evidence, facts) for evidence in pool for facts in evidence.samples]
    shown = {(evidence.step, facts.sample) for evidence, facts in samples}
    empty = {(one.step, facts.sample) for one, facts in samples if not facts.supervised and not _is_delayed(facts, one)}
    if not empty:
        return CLEAN
    # If some had labels before, a sample or batch without any may be normal for the data: a short one in a masked
    # model, one without sound in a stream of sound.
    if past.supervised or len(empty) < len(shown):
        if len(empty) < NEARLY_ALL * len(shown):
            return CLEAN
        if len(shown) < MANY_SAMPLES:
            return None
    facts = pool[0].samples[0]
    if len(shown) * facts.length < ENOUGH:
        return None  # in a masked model a few short rows may have no masked position
    since = f" from position {facts.shift} on" if facts.shift else ""
    which = f"all {len(shown)} samples" if len(empty) == len(shown) else f"{len(empty)} of {len(shown)} samples"
    return Fault(
        f"every label of {which if len(shown) > 1 else 'the sample'} shown is {facts.ignore_index}{since}, which is "
        "ignored, so there is nothing to learn from",
        "Check what masks the labels: a template or response marker that is not found in the text masks all of it, "
        "and so does a prompt that fills the row until the answer is cut off.",
        {
            "samples": len(shown), "without": len(empty), "length": facts.length,
            "ignore_index": facts.ignore_index,
        },
    )  # fmt: skip


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
            "precision and divisions by zero in the steps before.",
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
    fix = (
        "For next-token training pass shift=1, or shift the labels before the loss."
        if not shift
        else f"They lag behind what shift={shift} assumes: pass labels that were not shifted to the right."
    )
    return _equal_inputs(pool, 0, "at the same position", "copy", fix)


def labels_shifted_twice(pool: Pool, _past: Past) -> Verdict:
    """Check for labels that equal the inputs two positions later at a `shift` below 2."""
    shift = _shift(pool)
    if shift > 1:
        return CLEAN  # labels further ahead were asked for, as with heads for several tokens
    fix = (
        "They were shifted once before shift=1 shifts them again: pass shift=0 and use a loss that does not shift, or "
        "pass labels that are not shifted. If the head is to predict the token after the next, pass shift=2."
        if shift
        else "Shift them only once: the label of a position is the next input."
    )
    return _equal_inputs(pool, 2, "two positions later", "skip a token", fix)


def _equal_inputs(pool: Pool, offset: int, where: str, asked: str, fix: str) -> Verdict:
    """Check for labels that nearly all equal the inputs at an offset."""
    found = _nearly_all_equal(pool, offset)
    if found is None:
        return CLEAN
    # If neighbouring inputs are equal, a label equals both and proves nothing: enough must differ from the next.
    if sum(one.compared[1] - one.equal[1] for one in pool if one.equal and one.compared) < CLEARLY_MORE:
        return None
    equal, compared = found
    return Fault(
        f"labels equal the inputs {where} ({equal} of {compared} supervised tokens), so the model is asked to {asked}",
        fix,
        {"equal": equal, "compared": compared, "shift": _shift(pool)},
    )


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


def pad_supervised(pool: Pool, _past: Past) -> Verdict:
    """Check for padding among the supervised labels."""
    samples = [facts for evidence in pool for facts in evidence.samples if facts.pad is not None]
    if not any(map(_is_padded, samples)):
        return CLEAN
    specials = samples[0].specials
    count, supervised = sum(facts.pad or 0 for facts in samples), sum(facts.supervised for facts in samples)
    if not count or {*specials.pad} & {*specials.eos, *specials.bos}:
        return CLEAN  # an end token that is also padding may be a correct label
    return Fault(
        f"{count} of {supervised} supervised labels are padding ({_listed(specials.pad)})",
        f"Set labels to {samples[0].ignore_index} wherever the attention mask is 0; otherwise the model learns to pad.",
        {"padding": count, "supervised": supervised, "pad": list(specials.pad)},
    )


def _is_padded(facts: Facts) -> bool:
    """Return whether a sample starts or ends with padding.

    One such token alone may separate documents, and labels of another vocabulary have no padding.
    """
    pad, labels = facts.specials.pad, [token.label for token in facts.tokens]
    return (
        len(labels) > 1
        and ({*labels[:2]} <= {*pad} or {*labels[-2:]} <= {*pad})
        and all(
            token.read is None or facts.vocabulary is None or token.read < facts.vocabulary for token in facts.tokens
        )
    )
