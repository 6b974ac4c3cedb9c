"""Rules that use predictions and probabilities, pooled over records with a margin.

A rule gets the evidence of one stream and codebook at one logged step, or at several in a row, and answers with a
`Fault`, with `CLEAN`, with `NO_BETTER`, or with None if it needs more records. A rule that is not sure returns no
fault. *Statistical* rules count only tokens that can tell one explanation from another.

A healthy model is never confidently wrong: trained on such pairs by likelihood, it is correct about as often as its own
probabilities say. Early in training, on repetitive data or in a noisy codebook its predictions may copy, repeat or
collapse, but with probabilities that match. So the statistical rules require both: a suspicious pattern, and fewer
correct predictions than the probabilities promise.
"""

import math
from collections import Counter
from collections.abc import Sequence

from predlog.findings.evidence import AROUND, Evidence, Sums
from predlog.findings.rule import (
    CLEAN,
    CLEARLY_MORE,
    ENOUGH,
    NO_BETTER,
    Fault,
    Past,
    Pool,
    Verdict,
    _listed,
    _nearly_all_equal,
    _shift,
)

# How many standard deviations fewer correct predictions than the model expected are no accident.
SIGMAS = 6.0
# The share of predictions that must equal another label, or the input.
SUSPICIOUS_HITS = 0.25
SUSPICIOUS_COPIES = 0.5
# If more labels than this share repeat the input, predicting a repetition is sound.
COMMON_REPEATS = 0.2
ONE_TOKEN_NEARLY_EVERYWHERE = 0.9
# The mean probability that a model gives one token everywhere, when that is no memory of the last few batches.
SURE_OF_ONE = 0.5
# A model has lost what it knew if its loss is this many nats per token above its best.
HAS_LOST = 0.5
# A mean loss of at least this share of ln V is chance; after so many steps and records it is no slow start.
CHANCE = 0.97
LONG = 1000
MANY_RECORDS = 200
# A mean loss of this many times ln V means untrained weights.
UNTRAINED = 3.0
SAME_BATCHES = 5
# Options of a run with which several updates are made on one batch.
REPEATS_BATCHES = frozenset({"num_iterations", "num_ppo_epochs", "ppo_epochs", "overfit_batches"})
# Records needed to see whether something persists.
SEVERAL = 8


def prediction_misaligned(pool: Pool, past: Past) -> Verdict:
    """Check for confident predictions that are wrong at their own label, and correct at another offset."""
    tokens = _tokens(pool)
    if tokens < ENOUGH:
        return None
    informative_at = _columns([evidence.sums.informative for evidence in pool])
    hits_at = _columns([evidence.sums.hits for evidence in pool])
    correct_at = _columns([evidence.sums.correct_there for evidence in pool])
    is_undecided = False
    for place in sorted(range(len(AROUND)), key=lambda one: -hits_at[one]):
        informative, hits, correct = informative_at[place], hits_at[place], correct_at[place]
        if informative < ENOUGH:
            is_undecided |= tokens < 4 * ENOUGH
            continue
        offset = AROUND[place]
        if hits < SUSPICIOUS_HITS * informative or hits < 4 * correct + CLEARLY_MORE:
            continue
        sums = _sums(pool)
        if not _is_sure_and_wrong(sums):
            # What a model half knows takes more tokens to tell from chance.
            is_undecided |= sums.expected > 3 * sums.correct and tokens < 4 * ENOUGH
            continue
        if offset < 0 and _may_be_copying(pool, sums, hits / informative, past):
            continue
        return _misaligned(pool, offset, hits, correct, informative)
    return None if is_undecided else CLEAN


def _columns(parts: Sequence[tuple[int, ...]]) -> Sequence[int]:
    return parts[0] if len(parts) == 1 else [*map(sum, zip(*parts, strict=True))]


def _misaligned(pool: Pool, offset: int, hits: int, correct: int, informative: int) -> Fault:
    shift = _shift(pool)
    where = f"{abs(offset)} position{'s' * (abs(offset) > 1)} {'later' if offset > 0 else 'earlier'}"
    fitting = shift + offset
    if _nearly_all_equal(pool, 1) is not None:
        fix = (
            "The labels are the next inputs, as they should be, so the loss sees others: check whether it shifts twice."
        )
    elif fitting >= 0:
        fix = f"shift={fitting} would fit: pass it if the loss uses it too, otherwise fix the labels of the loss."
    else:
        fix = "The labels are ahead of the logits: pass labels that are not shifted, or logits of the next position."
    return Fault(
        f"predictions equal the label {where} ({hits} of {informative} tokens), not their own ({correct})",
        fix,
        {"offset": offset, "hits": hits, "right": correct, "tokens": informative, "shift": shift, "fitting": fitting},
    )


def _may_be_copying(pool: Pool, sums: Sums, share: float, past: Past) -> bool:
    # In next-token training the label before is the input, so predicting it is copying. With inputs there is a rule
    # for that. Without them, an untrained model whose head is its embedding looks the same, until it has learnt.
    if any(evidence.equal is not None for evidence in pool) or sums.loss > UNTRAINED * sums.tokens * _chance(pool):
        return True
    return share > 0.9 and not _has_lost(sums, past, _chance(pool))


def copying_inputs(pool: Pool, past: Past) -> Verdict:
    """Check for confident predictions that equal the inputs where the labels don't, of a model that was better."""
    if all(evidence.equal is None for evidence in pool):
        return CLEAN
    if _tokens(pool) < ENOUGH:
        return None
    copied, copyable = _copies(pool)
    if copyable < ENOUGH:
        return None
    sums = _sums(pool)
    repeated = sum(evidence.equal[0] for evidence in pool if evidence.equal)
    supervised = sum(evidence.supervised for evidence in pool)
    if copied < SUSPICIOUS_COPIES * copyable or repeated > COMMON_REPEATS * supervised or not _is_sure_and_wrong(sums):
        return CLEAN
    if not _has_lost(sums, past, _chance(pool), calm=past.calm):
        return CLEAN  # an untrained model whose head is its embedding predicts its input
    return Fault(
        f"predictions equal the inputs where the labels don't ({copied} of {copyable} tokens), so the model has learnt "
        "to copy",
        "The pair is correct, so the loss sees another one: check whether it shifts its labels.",
        {"copied": copied, "tokens": copyable, "loss": round(sums.loss / sums.tokens, 4)},
    )


def collapsed(pool: Pool, past: Past) -> Verdict:
    """Check for one token predicted nearly everywhere while the labels vary."""
    tokens = _tokens(pool)
    if tokens < ENOUGH or len(pool) < SEVERAL:
        return None
    # Which token it is may change from step to step.
    count = sum([evidence.commonest for evidence in pool])
    if count < ONE_TOKEN_NEARLY_EVERYWHERE * tokens:
        return CLEAN
    sums = _sums(pool)
    if not sums.labels_vary:
        return CLEAN
    chance = _chance(pool)
    had_learnt = 2 * sum(label in past.known for label in sums.labels) >= len(sums.labels)
    is_sure = _is_sure_and_wrong(sums)
    if not (is_sure or had_learnt) or not (
        _has_lost(sums, past, chance)
        or (is_sure and (sums.expected > SURE_OF_ONE * sums.tokens or sums.loss > (chance + HAS_LOST) * sums.tokens))
    ):
        # So does each model that has only learnt which token is the most frequent, or was so a few batches ago.
        return NO_BETTER
    labels = len(set(sums.labels))
    which = [token for token, _ in Counter(sums.predictions).most_common(3)]
    return Fault(
        f"nearly all predictions of a record are the same token ({count} of {sums.tokens}, {_listed(which)}), while "
        f"there are {labels} different labels",
        "Check the learning rate and the gradients: a step that was too large causes this. Go back to a checkpoint.",
        {
            "predicted": which, "count": count, "tokens": sums.tokens, "labels": labels,
            "loss": round(sums.loss / sums.tokens, 4),
        },
    )  # fmt: skip


def at_chance(pool: Pool, past: Past) -> Verdict:
    """Check for a mean loss of the tokens shown that stays at ln V or above and never was lower."""
    tokens = _tokens(pool)
    if tokens < ENOUGH:
        return None
    vocabulary = pool[0].samples[0].vocabulary
    chance = _chance(pool)
    loss = sum([evidence.sums.loss for evidence in pool]) / tokens
    if (
        vocabulary is None
        or vocabulary < 4
        or loss < CHANCE * chance
        or (past.best is not None and past.best < CHANCE * chance)
    ):
        return CLEAN
    sums = _sums(pool)
    if not _has_learnt_nothing_for_long(pool, past, loss):
        if not (_is_sure_and_wrong(sums) and _is_sure_and_wrong(past.first or sums)):
            return CLEAN  # so does each model that has just started
        if sums.tokens < 4 * ENOUGH or len(pool) < SEVERAL:
            return None
        if _is_improving(pool, sums, past) or _copies_most(pool, sums):
            return CLEAN
    return Fault(
        f"the mean loss of the tokens shown stays at {loss:.2f}, and guessing among {vocabulary} tokens costs "
        f"{chance:.2f}",
        "The labels may belong to another tokenizer, another sample or another shift, or the weights that were loaded "
        "are not the model's; with a fresh model, check whether the optimizer has its parameters.",
        {"loss": round(loss, 4), "chance": round(chance, 4), "tokens": sums.tokens, "vocabulary": vocabulary},
    )


def _has_learnt_nothing_for_long(pool: Pool, past: Past, loss: float) -> bool:
    is_long = pool[-1].step - past.first_step >= LONG and past.records >= MANY_RECORDS
    return is_long and loss >= _chance(pool) and past.best is not None and past.best >= _chance(pool)


def same_batch(pool: Pool, _past: Past) -> Verdict:
    """Check for the same labels at every logged step of a training."""
    if not all(evidence.is_trained for evidence in pool):
        return CLEAN  # an evaluation uses the same batch every time
    if any(option.partition("=")[0] in REPEATS_BATCHES for option in pool[-1].declared):
        return CLEAN
    newest = pool[-1]
    fingerprints = {tuple(facts.fingerprint for facts in evidence.samples) for evidence in pool}
    if len(fingerprints) > 1 or not _tells(newest):
        return CLEAN
    if len({evidence.step for evidence in pool}) < SAME_BATCHES:
        return None
    return Fault(
        f"the same labels come back at each of the last {SAME_BATCHES} logged steps",
        "Check whether the loader starts again with the same seed at every step; if an epoch is only a few steps long, "
        "choose an `every` that is no multiple of its length.",
        {"steps": [evidence.step for evidence in pool], "supervised": newest.supervised},
    )


def _tells(evidence: Evidence) -> bool:
    # Labels that number the samples, as in contrastive training, are the same in every batch; so may be a few answers.
    if len({token.label - token.position for facts in evidence.samples for token in facts.tokens}) == 1:
        return False
    seen = {one for facts in evidence.samples for token in facts.tokens for one in (token.label, token.read)}
    return len(seen - {None}) >= CLEARLY_MORE


def _tokens(pool: Pool) -> int:
    return sum([evidence.sums.tokens for evidence in pool])


def _copies(pool: Pool) -> tuple[int, int]:
    return sum([evidence.copies[0] for evidence in pool]), sum([evidence.copies[1] for evidence in pool])


def _sums(pool: Pool) -> Sums:
    return pool[0].sums if len(pool) == 1 else Sums.together([evidence.sums for evidence in pool])


def _is_sure_and_wrong(sums: Sums) -> bool:
    """Return whether the model is correct far less often than its own probabilities say."""
    missing = sums.expected - sums.correct
    return missing > SIGMAS * math.sqrt(sums.variance + 1) and sums.expected > 3 * sums.correct


def _has_lost(sums: Sums, past: Past, chance: float, *, calm: float | None = None) -> bool:
    # A model that never was better than guessing has nothing to lose. One that was calm knew that it was guessing.
    best = min([one for one in (past.best, calm) if one is not None], default=None)
    return best is not None and best <= 1.1 * chance and sums.loss / sums.tokens > best + HAS_LOST


def _chance(pool: Pool) -> float:
    """Return the loss of guessing, in nats per token; 0 if it is not known, which no model is better than."""
    return math.log(pool[0].samples[0].vocabulary or 1)


def _is_improving(pool: Pool, sums: Sums, past: Past) -> bool:
    if past.first is not None and sums.loss / sums.tokens < 0.93 * past.first.loss / past.first.tokens:
        return True
    earlier, later = _sums(pool[: len(pool) // 2]), _sums(pool[len(pool) // 2 :])
    return later.loss / max(later.tokens, 1) < 0.95 * earlier.loss / max(earlier.tokens, 1)


def _copies_most(pool: Pool, sums: Sums) -> bool:
    copied, copyable = _copies(pool)
    return copied > SUSPICIOUS_COPIES * max(copyable, 1) or sums.hits[0] > SUSPICIOUS_COPIES * max(
        sums.informative[0], 1
    )
