"""Rules about what is learnt: a model that is sure and wrong, weights that stay as they are, a label left behind.

They look at many records, because a healthy model may look like that for a while: at its start, after a change of data,
while the learning rate is 0. What a run doesn't train by likelihood, or not at all, is known by the name of its stream.
"""

import math
import re
from itertools import pairwise

from predlog.findings.evidence import Evidence, Sums
from predlog.findings.facts import Facts
from predlog.findings.rule import (
    CLEAN,
    CLEARLY_MORE,
    ENOUGH,
    MANY_SAMPLES,
    NO_BETTER,
    Fault,
    Past,
    Pool,
    Verdict,
)
from predlog.findings.statistical import HAS_LOST, UNTRAINED, _chance, _copies_most, _is_sure_and_wrong, _sums, _tokens

# The mean probability of predictions that are sure, and the share of correct ones that is nearly none.
SURE = 0.3
NEARLY_NONE = 0.05
# Of one record, which has few tokens.
SURE_AT_A_GLANCE, NONE_AT_A_GLANCE = 0.15, 0.3
# Records that show that nothing improves, and how much less the loss is in their second half if something does.
LASTING = 32
IMPROVED = 0.97
# How often, and over how many steps, a sample must have the same log-probabilities.
SAME_RECORDS = 3
SAME_STEPS = 100
# How many tokens must have a log-probability that a change would show in, and how low that is.
TELLING, CERTAIN = 4, -0.01
# Labels of a codebook, all the same, that are no accident.
MANY_LABELS = 256
# Streams of these names are not trained, or are trained to be less probable.
HELD_OUT = frozenset({
    "eval", "evals", "evaluate", "evaluation", "val", "valid", "validation", "test", "dev", "heldout", "holdout",
    "unseen", "probe",
})  # fmt: skip
FROZEN = frozenset({"ref", "reference", "teacher", "frozen"})
UNLIKELY = frozenset({"rejected", "forget", "unlearn", "negative"})


def sure_and_wrong(pool: Pool, past: Past) -> Verdict:
    """Check for predictions that are sure and nearly never correct, of a loss that was lower and doesn't improve."""
    newest = pool[-1].sums
    if not newest.tokens:
        return None
    if newest.expected < SURE_AT_A_GLANCE * newest.tokens or newest.correct > NONE_AT_A_GLANCE * newest.tokens:
        return CLEAN
    if len(pool) < LASTING or _tokens(pool) < 4 * ENOUGH:
        return None
    sums = _sums(pool)
    if (
        sums.expected < SURE * sums.tokens
        or sums.correct > NEARLY_NONE * sums.tokens
        or not sums.labels_vary
        or not _is_sure_and_wrong(sums)
        or _is_excused(pool, sums, past)
    ):
        return CLEAN
    loss, chance = sums.loss / sums.tokens, _chance(pool)
    best = min([one for one in (past.best, past.calm) if one is not None], default=math.inf)
    was_good = best <= 1.1 * chance
    is_high = loss >= best + HAS_LOST if was_good else 0 < chance < loss
    # Far above that of untrained weights it is no recovery yet, though it falls.
    is_lost = was_good and loss > UNTRAINED * chance
    if not is_high or (_is_falling(pool) and not is_lost):
        return CLEAN
    than = f"and was {best:.2f} before" if was_good else f"and guessing costs {chance:.2f}"
    return Fault(
        f"predictions have a probability of {sums.expected / sums.tokens:.2f} on average, and {sums.correct} of "
        f"{sums.tokens} are correct; the loss is {loss:.2f} {than}",
        "The model learns something else than this pair: compare the shift, the order of the codebooks or heads, the "
        "mask and the tokenizer with what the loss sees. If it is to unlearn these labels, ignore sure-and-wrong.",
        {
            "tokens": sums.tokens, "correct": sums.correct, "probability": round(sums.expected / sums.tokens, 4),
            "loss": round(loss, 4), "chance": round(chance, 4),
        },
    )  # fmt: skip


def _is_excused(pool: Pool, sums: Sums, past: Past) -> bool:
    """Return whether the model may be untrained, with its embedding as head, or the labels aren't to be learnt."""
    if is_named(past.stream, HELD_OUT | UNLIKELY):
        return True
    shown = [one.fingerprint for evidence in pool for one in evidence.samples]
    if not any(evidence.is_trained for evidence in pool) and 2 * len(set(shown)) <= len(shown):
        return True  # an evaluation of the same samples again and again may be overfitted
    if past.calm is not None:
        return False  # it has not begun like that
    copyable = sum(evidence.copies[1] for evidence in pool)
    is_known = copyable >= ENOUGH or sums.informative[0] >= ENOUGH
    return not is_known or _copies_most(pool, sums)


def _is_falling(pool: Pool) -> bool:
    earlier, later = _sums(pool[: len(pool) // 2]), _sums(pool[len(pool) // 2 :])
    return later.loss / max(later.tokens, 1) < IMPROVED * earlier.loss / max(earlier.tokens, 1)


def label_never_learnt(pool: Pool, past: Past) -> Verdict:
    """Check for a label that stays far less probable than it is frequent, while the others are learnt."""
    behind, portions = past.labels.behind, past.labels.portions
    if not behind or is_named(past.stream, HELD_OUT | UNLIKELY):
        return CLEAN
    sums = _sums(pool)
    if past.best is not None and sums.loss > (past.best + HAS_LOST) * max(sums.tokens, 1):
        return NO_BETTER  # a model that has lost what it knew is worse at all labels
    label, worst = max(behind.items(), key=lambda one: one[1].count)
    tokens = worst.tokens(portions)
    probability = worst.probability / worst.count
    more = f", and likewise {len(behind) - 1} more" if len(behind) > 1 else ""
    return Fault(
        f"label {label} is {worst.count} of {tokens} labels shown and has a probability of {probability:.1e} where it "
        f"is the label, without a trend, while the loss of the others fell by {worst.gain:.1f}{more}",
        "Check whether something keeps it from being learnt: a mask or weight of the loss, a row of the head that is "
        "frozen or was added after the optimizer was made, a logit that is suppressed.",
        {
            "label": label, "count": worst.count, "tokens": tokens, "probability": probability,
            "labels": sorted(behind)[:CLEARLY_MORE],
        },
    )  # fmt: skip


def nothing_trained(pool: Pool, past: Past) -> Verdict:
    """Check for a sample that has the same log-probabilities to the last digit each time it is shown."""
    newest, samples = pool[-1], past.samples
    if not newest.is_trained or newest.is_idle:
        return NO_BETTER
    again = samples.again(newest)
    if not all(is_same for _, _, is_same in again):
        return CLEAN
    for before, facts, _ in again:
        steps = newest.step - before.since
        if (
            before.last == newest.step
            or before.times + 1 < SAME_RECORDS
            or steps < SAME_STEPS
            or not _shows_changes(facts)
        ):
            continue
        # What was trained and is no longer: at the end of a schedule nothing may change for a while.
        if samples.has_changed and not _has_stopped(newest, past, steps):
            continue
        if is_named(past.stream, FROZEN | HELD_OUT):
            continue
        return Fault(
            f"the same sample has the same log-probabilities to the last digit at {before.times + 1} logged steps from "
            f"{before.since} on, so nothing is trained",
            "Check whether the optimizer has the parameters of this model, whether its steps are taken and not skipped,"
            " and the learning rate. If the model is meant to stay as it is, compute its logits under torch.no_grad().",
            {"since": before.since, "records": before.times + 1, "steps": steps, "tokens": len(facts.tokens)},
        )
    return NO_BETTER


def _shows_changes(facts: Facts) -> bool:
    known = [token.label_logprob for token in facts.tokens if token.label_logprob is not None]
    return sum(one < CERTAIN for one in known) >= min(TELLING, max(len(known), 1))


def _has_stopped(newest: Evidence, past: Past, steps: int) -> bool:
    same = [one for one in past.samples.known.values() if one.times > 1]
    return len(same) >= CLEARLY_MORE and 2 * steps >= newest.step - past.first_step


def constant_codebook(pool: Pool, _past: Past) -> Verdict:
    """Check for a codebook that has one value in all samples, while most of the others vary."""
    newest = pool[-1]
    others = newest.others
    if others is None or others.shown < 2:
        return CLEAN
    if not newest.supervised:
        return None
    codebook = newest.samples[0].codebook
    value = newest.samples[0].highest
    if codebook in others.varying or any(one.highest != value for one in newest.samples if one.supervised):
        return CLEAN
    pairs = {
        one.others.pair: one
        for one in pool
        if one.others is not None and 2 * len(one.others.varying) >= one.others.shown - 1 and one.supervised
    }
    samples = [facts for one in pairs.values() for facts in one.samples if facts.supervised]
    if any(facts.varied is None or facts.highest != value for facts in samples):
        return CLEAN
    labels = sum(facts.supervised for facts in samples)
    if len(samples) < MANY_SAMPLES or labels < MANY_LABELS:
        return None
    return Fault(
        f"all {labels} labels of {len(samples)} samples are {value}, while other codebooks vary",
        "Check how the codes are made and stacked: a codebook that was never written, or an axis that was repeated, "
        "looks like this. If the channel is meant to be silent, ignore constant-codebook.",
        {"value": value, "samples": len(samples), "labels": labels},
    )


def is_named(stream: str, names: frozenset[str]) -> bool:
    """Return whether one of the words of a stream's name is among some names."""
    words = re.split(r"[^a-z]+", stream.lower())
    return not names.isdisjoint((*words, *map("".join, pairwise(words))))  # "held_out" is one word
