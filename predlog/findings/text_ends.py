"""Rules about where a text begins and ends: answers that were cut off, and end or begin tokens in the wrong place.

They use labels, inputs and special tokens only, and most need several samples: a single one may well be an exception.
Streams with codebooks are left out.
"""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import chain
from typing import Final

from predlog.findings.facts import Facts, Text
from predlog.findings.masking import answer_mask_off
from predlog.findings.rule import (
    ALL_BUT_FEW,
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
    _listed,
    _nearly_all_equal,
)
from predlog.findings.special_tokens import SpecialTokens

# Samples without labels: a smaller share than this may be cut off on purpose, and that they all fill their rows may be
# an accident of this probability.
A_FEW: Final = 0.1
NO_ACCIDENT: Final = 1e-4
# Samples that begin again, since one may be an accident.
SOME: Final = 4
# How far from the end of a text its last label may be: a template may end with a line feed that is masked.
_NEAR_END: Final = 2
# Rows are often padded to a multiple of this: a text of the greatest length may be cut off for all that.
_MULTIPLE: Final = 8


def answers_truncated(pool: Pool, past: Past) -> Verdict:
    """Check whether all samples without labels fill a row of the greatest length seen, while shorter rows have some."""
    newest = pool[-1]
    if newest.samples[0].text is None:
        return CLEAN
    if len(pool) == 1 and all(one.supervised for one in newest.samples):
        return CLEAN if past.labelled >= ENOUGH else NO_BETTER
    samples = [(one.supervised, one.text) for evidence in pool for one in evidence.samples if one.text is not None]
    longest = max(past.longest, *[text.used for _, text in samples])
    empty = [text for supervised, text in samples if not supervised]
    # Completions that were cut off are left out on purpose.
    is_meant = GENERATES in newest.declared
    if is_meant or longest < 0 or any(text.used != longest or text.documents > 1 for text in empty):
        return NO_BETTER
    shorter = [text for supervised, text in samples if supervised and 0 <= text.used < longest]
    if len(empty) < CLEARLY_MORE:
        return None
    full = sum([text.used == longest for _, text in samples])
    is_accident = (full / len(samples)) ** len(empty) > NO_ACCIDENT
    have_prompts = _have_prompts(shorter, is_weighed=any(one.is_weighed for one in newest.samples))
    # Three standard deviations more than a few: of few samples, twice as many may be cut off by chance.
    few = A_FEW * len(samples) + 3 * math.sqrt(A_FEW * (1 - A_FEW) * len(samples))
    if len(empty) < few or is_accident or not have_prompts:
        return None
    return Fault(
        f"{len(empty)} of {len(samples)} samples have no labels, and each of them fills a row of {longest} tokens, the "
        f"greatest length seen, while {len(shorter)} shorter ones have labels: their answers were cut off",
        "Raise the greatest length, leave such samples out, or cut the prompt instead of the answer.",
        {"without": len(empty), "samples": len(samples), "shorter": len(shorter), "longest": longest},
    )


def _have_prompts(texts: Sequence[Text], *, is_weighed: bool) -> bool:
    """Return whether texts have prompts before their labels.

    Completions that were cut off are often left out on purpose. They have no prompt, or with a mask of the loss, that
    of the completions, prompts of one length.
    """
    before = [text.first - text.begin for text in texts]
    prompted = sum([one > 1 for one in before])
    return 2 * prompted >= len(texts) and not (is_weighed and _commonest(before) >= NEARLY_ALL * len(texts))


def _commonest(values: Sequence[int]) -> int:
    """Return how often the most common value is there."""
    return max(Counter(values).values(), default=0)


def eos_never_supervised(pool: Pool, past: Past) -> Verdict:
    """Check whether the inputs of many samples continue with an end token that is never a label."""
    samples = [facts for evidence in pool for facts in evidence.samples if facts.eos is not None]
    ends = samples[0].specials.eos if samples else ()
    ended = [facts for facts in samples if facts.follower in ends and _should_end(facts)]
    if not ended or any(facts.eos for facts in samples):
        return CLEAN
    if _nearly_all_equal(samples, 1) is None:
        return CLEAN  # only labels that are the next inputs need an end token
    if any(facts.holes and facts.holes[0] in ends and facts.holes[1] for facts in samples):
        return CLEAN  # it is ignored between texts, too: that is `masked_by_id`
    if isinstance(answer_mask_off(pool, past), Fault):
        return CLEAN  # the mask is one off at both ends
    if len(ended) < MANY_SAMPLES:
        return None
    pad = {*ended[0].specials.pad}
    by_id = "masking the padding masks it too: mask by the attention mask, or pad with another token."
    one_off = "the mask of the labels ends one token early: leave the token after the last label in, too."
    if pad & {*ends}:
        fix = f"The end token is also the padding token, so {by_id} If the labels are not masked by id, {one_off}"
        if ended[0].padding is None:
            fix += " If the texts have no end token, and this is their padding, add one to each."
    elif pad:
        fix = f"The padding token is another ({_listed(sorted(pad))}), so {one_off}"
    else:
        fix = f"If the end token is also the padding token, {by_id} Otherwise {one_off}"
    return Fault(
        f"the inputs of {len(ended)} samples continue with the end token ({_listed(ends)}), and it is never a "
        "label, so the model never learns to stop",
        fix,
        {"samples": len(ended), "eos": list(ends)},
    )


def _should_end(facts: Facts) -> bool:
    # A one-token answer, such as yes or no, needs no end; a turn may end with a special token of its own.
    if facts.ends_at_padding:
        return False  # that is `end_missing`
    return facts.supervised > 2 and not {token.label for token in facts.tokens[-2:]} & facts.specials.every


def end_missing(pool: Pool, past: Past) -> Verdict:
    """Check for texts that end before their row does without an end token, or with one that generation ignores."""
    newest = pool[-1].samples
    if newest[0].text is None or not newest[0].specials.every:
        return CLEAN
    specials = newest[0].specials
    longest = max(past.longest, *[one.text.used for one in newest if one.text is not None])
    ended = [one.text for one in newest if one.text is not None and _ends_before_its_row(one, one.text, longest)]
    good = [frozenset(specials.stop)] if specials.stop else [specials.every, specials.added]
    if any(not ends.isdisjoint(text.tail) for text in ended for ends in good):
        return CLEAN
    if len(pool) == 1 and len(ended) < MANY_SAMPLES:
        return None if ended else NO_BETTER
    samples = [
        (one, one.text)
        for evidence in pool
        for one in evidence.samples
        if one.text is not None and _ends_before_its_row(one, one.text, longest)
    ]
    if len(samples) < MANY_SAMPLES:
        return None
    facts = [one for one, _ in samples]
    # Only labels that are the next inputs need an end token.
    is_other = any(one.equal is not None for one in facts) and _nearly_all_equal(facts, 1) is None
    # Completions that never stop are cut off at a number of tokens.
    is_cut = _commonest([text.last - text.first for _, text in samples]) >= NEARLY_ALL * len(samples)
    if is_other or is_cut or GENERATES in pool[-1].declared or isinstance(answer_mask_off(pool, past), Fault):
        return NO_BETTER
    return _without_end([text for _, text in samples], [one.follower for one in facts], specials)


def _without_end(texts: Sequence[Text], followers: Sequence[int | None], specials: SpecialTokens) -> Verdict:
    """Return what is wrong with the ends of texts: none has a token among its last labels where generation stops.

    `followers` are the inputs after the last labels.
    """
    special = Counter(one for text in texts for one in specials.every.intersection(text.tail))
    if special:
        token, count = special.most_common(1)[0]
        return _ends_otherwise(token, specials.stop, count) if count >= NEARLY_ALL * len(texts) else NO_BETTER
    if any(map(specials.holds, chain.from_iterable(text.tail for text in texts))):
        return NO_BETTER
    if Counter(text.tail[-1] for text in texts).most_common(1)[0][1] >= NEARLY_ALL * len(texts):
        return NO_BETTER  # the same at the end of each: a mark that is no special token
    ends = Counter(one for one in followers if one is not None and specials.holds(one))
    masked, count = next(iter(ends.most_common(1)), (-1, 0))
    if count >= NEARLY_ALL * len(texts):
        return Fault(
            f"{len(texts)} texts end with special token {masked} before their row does, and it has no label, so the "
            "model never learns to stop",
            "The mask of the labels ends one token early: leave the token after the last label in, too.",
            {"samples": len(texts), "eos": list(specials.eos), "stop": sorted(specials.stop), "masked": masked},
        )
    return Fault(
        f"{len(texts)} texts end before their row does, and none has a special token among its last labels, so the "
        "model never learns to stop",
        "End each text with the end token, and give it a label: the tokenizer or a template may leave it out, and a "
        "mask may miss it.",
        {"samples": len(texts), "eos": list(specials.eos), "stop": sorted(specials.stop)},
    )


def _ends_otherwise(token: int, stop: Collection[int], samples: int) -> Fault:
    stops = sorted(stop)
    return Fault(
        f"{samples} texts have token {token} among their last labels, and generation stops at {_listed(stops)}, which "
        "none of them has there",
        f"Let generation stop where the texts end, model.generation_config.eos_token_id = {token}, or end the texts "
        f"with {_listed(stops)}.",
        {"samples": samples, "token": token, "stop": stops},
    )


def _ends_before_its_row(facts: Facts, text: Text, longest: int) -> bool:
    """Return whether a text has an end of its own: it was not cut off, and its last labels are at its end."""
    return (
        len(text.tail) > 2  # a one-token answer needs no end
        and facts.supervised > len(text.tail)
        and 0 < text.used < facts.length
        and (text.used < longest or text.used <= facts.length - _MULTIPLE)
        and -1 <= text.end - 1 - text.last <= _NEAR_END
        and (facts.ends_at_padding or facts.follower not in facts.specials.eos)  # that has a rule of its own
        and (facts.equal is not None or facts.shift > 0)
        and (facts.padding is not None or len(facts.specials.pad) > 0)  # otherwise what pads is a guess
    )


def end_only_in_labels(pool: Pool, _past: Past) -> Verdict:
    """Check for labels that end a text inside of packed rows, whose inputs have no end token anywhere."""
    newest = pool[-1].samples
    if newest[0].text is None or not newest[0].specials.eos:
        return CLEAN
    if any(one.text is not None and one.text.ended > 0 for one in newest):
        return CLEAN
    samples = [facts for evidence in pool for facts in evidence.samples if _has_inner_end(facts)]
    if not samples and len(pool) == 1:
        return NO_BETTER
    texts = [one.text for one in samples if one.text is not None]
    ends = sum([text.inner for text in texts])
    if ends < CLEARLY_MORE:
        return None
    after = {min([text.after[0] for text in texts]), max([text.after[1] for text in texts])}
    # A label that ends a text is not the next input here.
    equal = sum([one.equal[1] + (one.eos or 0) for one in samples if one.equal])
    compared = sum([one.compared[1] for one in samples if one.compared])
    if equal < ALL_BUT_FEW * compared or len(after) == 1 or after <= newest[0].specials.every:
        return NO_BETTER  # if each text begins with the same token, that one parts it from the text before
    rows, eos = len(samples), newest[0].specials.eos
    return Fault(
        f"{ends} labels inside of {rows} packed row{'s' * (rows > 1)} are the end token ({_listed(eos)}), and no input "
        "is, so the model does not read where a text ends",
        "Add the end token to each text before the texts are packed, and make inputs and labels of the same row.",
        {"ends": ends, "rows": rows, "eos": list(eos)},
    )


def _has_inner_end(facts: Facts) -> bool:
    # Documents that are known keep apart without an end token.
    return facts.text is not None and facts.text.inner > 0 and facts.text.documents <= 1


def bos_inside(pool: Pool, _past: Past) -> Verdict:
    """Check whether the first label after a masked prompt is the begin token, which the row has begun with already."""
    newest = pool[-1].samples
    if newest[0].text is None or not newest[0].specials.bos:
        return CLEAN
    if not any(_begins_again(one) for one in newest):
        return CLEAN
    samples = [one for evidence in pool for one in evidence.samples if one.supervised]
    again = [one for one in samples if _begins_again(one)]
    if len(again) < NEARLY_ALL * len(samples):
        return CLEAN
    if len(samples) < SOME:
        return None
    token = again[0].text.head if again[0].text is not None else -1
    return Fault(
        f"the first label after a masked prompt is the begin token {token} in {len(again)} of {len(samples)} samples",
        "The tokenizer adds it to the answer, too: tokenize the answer with add_special_tokens=False.",
        {"token": token, "again": len(again), "samples": len(samples)},
    )


def _begins_again(facts: Facts) -> bool:
    text, specials = facts.text, facts.specials
    return (
        text is not None
        and text.head in specials.bos
        and text.head not in specials.eos
        and text.head not in specials.pad
        and text.opening == text.head
        and text.documents <= 1
        and text.first - text.begin > 1
    )
