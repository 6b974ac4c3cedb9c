"""Rules about what the mask of the labels leaves in and out; they use labels, inputs and special tokens only."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from predlog.findings.evidence import PROMPT_AT, PROMPT_BEFORE
from predlog.findings.facts import Facts
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

# Samples that must share what one or two may have by chance.
_FEW = 4
# The share of the samples in which a special token is repeated; in batches of two, the longer one is not padded.
_MOST, _SOME = 0.5, 0.25
# The share of labels that repeat the one before if all of them do so by design.
_OFTEN = 0.25
# How many other ids are ignored at single places, for each that is ignored always, where it is no id that is masked.
_OTHERS = 0.25
# Without inputs, labels are those of the next position if they come in spans of at least so many on average.
_LONG_SPANS = 8
# The share of labels that is unknown by no accident, and the labels that it needs.
_UNKNOWN = 0.05
_MANY_LABELS = 256
# What the run asks for if prompts are to be masked.
ASKS_FOR_MASK = frozenset({"assistant_only_loss", "completion_only_loss", "prompt column"})


def _samples(pool: Pool) -> list[Facts]:
    return [facts for evidence in pool for facts in evidence.samples if facts.supervised]


def _commonest(ids: Iterable[int]) -> tuple[int, int]:
    """Return the most common id, and how often it is there."""
    return next(iter(Counter(ids).most_common(1)), (0, 0))


# --- special-run-supervised ---------------------------------------------------------------------------------------
def special_run_supervised(pool: Pool, _past: Past) -> Verdict:
    """Check for a special token that most samples have twice or more in a row among the labels."""
    samples = _samples(pool)
    runs = [facts for facts in samples if facts.special_run and facts.special_run[1]]
    if not runs:
        return CLEAN
    if not _is_next_token(pool, runs):
        is_known = len(samples) >= MANY_SAMPLES or any(facts.equal is not None for facts in runs)
        return CLEAN if is_known else None
    token = _commonest(facts.special_run[0] for facts in runs if facts.special_run)[0]
    specials = runs[0].specials
    if token in (*specials.pad, *specials.unk) and token not in specials.eos and token not in specials.bos:
        return CLEAN  # that is `pad_supervised`, or one that stands for whatever the tokenizer does not know
    least = _least_run(runs[0], token)
    found = [
        run for run, facts in ((facts.special_run, facts) for facts in runs)
        if run and run[0] == token and least <= run[1] < facts.supervised and not facts.padding
    ]  # fmt: skip
    if not found or any(map(fills_time, found)) or _repeats_all(samples, token):
        return CLEAN
    padding = [run for run in found if run[4] > 2]
    share = _SOME if len(padding) > 0.5 * len(found) else _MOST
    if len(found) < _FEW or len(found) < share * len(samples):
        return CLEAN if len(samples) >= MANY_SAMPLES else None
    longest = max(run[1] for run in found)
    if share == _SOME:
        fix = f"It pads the rows: set labels to {runs[0].ignore_index} wherever the attention mask is 0."
    elif longest == least:
        fix = "Two of what makes the rows add it, such as a template and the tokenizer: let only one of them add it."
    else:
        fix = f"If it holds the place of an image or a sound, set its labels to {runs[0].ignore_index}."
    return Fault(
        f"in {len(found)} of {len(samples)} samples the labels have special token {token} {least} times or more in a"
        f" row, up to {longest}",
        fix,
        {"token": token, "found": len(found), "samples": len(samples), "longest": longest},
    )


def _least_run(facts: Facts, token: int) -> int:
    """Return the shortest run that is none by design: a text may end and the next begin with the same token."""
    specials = facts.specials
    has_roles = bool(specials.eos or specials.bos)
    return 3 if not has_roles or (token in specials.eos and token in specials.bos) else 2


def _is_next_token(pool: Pool, runs: Sequence[Facts]) -> bool:
    # A model that fills in what is masked learns the padding on purpose; its labels are not the next inputs.
    if any(facts.equal is not None for facts in runs):
        return _nearly_all_equal(runs, 1) is not None
    spans = sum(facts.special_run[5] for facts in runs if facts.special_run)
    # Without a shift, too, long spans are no filling in, unless it is by chance.
    is_known = _shift(pool) == 1 or len(_samples(pool)) >= MANY_SAMPLES
    return is_known and spans * _LONG_SPANS <= sum(facts.supervised for facts in runs)


def _repeats_all(samples: Sequence[Facts], token: int) -> bool:
    """Return whether other labels, too, often come several times in a row: frames of a sound, data made to repeat."""
    others = [
        label == following
        for facts in samples
        for label, following in pairwise([one.label for one in facts.tokens])
        if label != token
    ]
    return sum(others) > _OFTEN * len(others)


def fills_time(run: tuple[int, ...]) -> bool:
    """Return whether a token has many runs of many lengths, as what fills the time between words beside sound."""
    return run[3] > 2 and run[1] > run[2]


# --- masked-by-id -------------------------------------------------------------------------------------------------
def masked_by_id(pool: Pool, _past: Past) -> Verdict:
    """Check for one id that is ignored wherever it is within supervised text, and is no label anywhere."""
    samples = _samples(pool)
    holed = [(facts.holes, facts) for facts in samples if facts.holes and facts.holes[1]]
    if not holed or _nearly_all_equal(samples, 1) is None:
        return CLEAN
    weights: Counter[int] = Counter()
    for holes, _ in holed:
        weights[holes[0]] += holes[1]
    token = weights.most_common(1)[0][0]
    found = [(holes, facts) for holes, facts in holed if holes[0] == token]
    count, labels = weights[token], sum(holes[2] for holes, _ in found)
    if labels or not _may_be_text(token, [facts for _, facts in found], count):
        return CLEAN
    if len(found) < _FEW or count < CLEARLY_MORE:
        return None
    begins = sum(facts.start[:1] == (token,) for facts in samples)
    after = _commonest(holes[3] for holes, _ in found)[1]
    if 2 * begins > len(samples) or 2 * after > len(found):
        return CLEAN  # it begins documents, or belongs to what a template writes
    if sum(holes[4] for holes, _ in holed) + sum(weights.values()) - count > _OTHERS * count:
        return (
            CLEAN  # other ids are ignored like that, so it is places that are masked, such as the starts of documents
        )
    return Fault(
        f"token {token} is ignored at each of {count} places within supervised text, and is never a label",
        "It is taken for padding: mask by the attention mask and not by id, or pad with a token that no text has.",
        {"token": token, "places": count, "samples": len(found)},
    )


def _may_be_text(token: int, samples: Sequence[Facts], count: int) -> bool:
    """Return whether an id is that of a token of texts, or ends them, and not one that holds a place."""
    specials, vocabulary = samples[0].specials, samples[0].vocabulary
    if token < 0 or (vocabulary is not None and token >= vocabulary) or token in specials.bos:
        return False
    if token in specials.eos:
        return True
    if specials.size:
        # One that texts are split into remains a token of texts, though it was made the padding.
        is_special = token in specials.every and (token not in specials.pad or token in specials.unk)
        return token < specials.size and token not in specials.added and not is_special
    if specials.every:
        # Without a tokenizer nobody knows what holds a place; such tokens were added before or after all others.
        shown = [one.label for facts in samples for one in facts.tokens if one.label not in specials.every]
        highest = max(facts.highest for facts in samples)
        return token not in specials.every and min(shown, default=token) <= token <= highest
    return token == 0 and count >= MANY_SAMPLES  # the id that is padding where nobody has said which is


# --- answer-mask-off ----------------------------------------------------------------------------------------------
def answer_mask_off(pool: Pool, _past: Past) -> Verdict:
    """Check whether the prompt that begins an answer ends one token before the first label, or the mask is moved."""
    samples = _samples(pool)
    found = [(facts.answer, facts) for facts in samples if facts.answer and facts.answer[0]]
    if not found or any(one[0] != found[0][0][0] or one[0] == PROMPT_AT for one, _ in found):
        return CLEAN
    if len(found) < NEARLY_ALL * len(samples) or _nearly_all_equal(samples, 1) is None:
        return CLEAN
    is_late = found[0][0][0] == PROMPT_BEFORE
    if not is_late and not all(_lacks_end(facts) for _, facts in found):
        return CLEAN  # templates may have the last token of the prompt be learnt, such as a line break
    if len(found) < CLEARLY_MORE:
        return None
    specials = samples[0].specials
    firsts = [one[1] for one, _ in found if one[1] not in specials.every and one[1] not in specials.added]
    is_varied = 2 * _commonest(firsts)[1] <= len(firsts) and len(firsts) >= CLEARLY_MORE and len(set(firsts)) >= _FEW
    if is_late and not is_varied:
        return CLEAN if len(found) >= MANY_SAMPLES else None  # what is prefilled is the same everywhere
    prompt = f"the template's prompt ({_listed(specials.prompt)})"
    evidence = {"samples": len(found), "offset": 1 if is_late else -1, "prompt": list(specials.prompt)}
    if is_late:
        what = f"the first token of the answer is masked: {prompt} ends one token before it"
        fix = "The mask of the prompt is one token too long: begin with the token after the prompt."
    else:
        what = f"the labels begin with the last token of {prompt}, and end before the end token"
        fix = (
            "The mask is one token too early at both ends: one that was made for labels is used for inputs, or the"
            " other way round. Move it by one."
        )
    return Fault(f"in all {len(found)} samples {what}", fix, evidence)


def _lacks_end(facts: Facts) -> bool:
    """Return whether the inputs go on with what ends the text, and no label does."""
    specials, tail = facts.specials, () if facts.text is None else facts.text.tail
    if facts.follower in specials.eos:
        return not facts.eos
    return specials.holds(facts.follower) and not any(map(specials.holds, tail))


# --- prompt-supervised --------------------------------------------------------------------------------------------
def prompt_supervised(pool: Pool, _past: Past) -> Verdict:
    """Check whether everything is supervised though the run asks for a mask."""
    asked = sorted(pool[-1].declared & ASKS_FOR_MASK)
    if not asked:
        return CLEAN
    samples = [facts for facts in _samples(pool) if facts.span is not None]
    if any(not _is_whole(facts) for facts in samples):
        return CLEAN
    supervised = sum(facts.supervised for facts in samples)
    if len(samples) < _FEW or supervised < ENOUGH:
        return None
    return Fault(
        f"everything in {len(samples)} samples is supervised, the prompts too, though the run asks for a mask"
        f" ({', '.join(asked)})",
        "Check whether the data were tokenized before, or a collator of your own makes the labels: then nothing"
        " applies the mask.",
        {"samples": len(samples), "supervised": supervised, "asked": asked},
    )


def _is_whole(facts: Facts) -> bool:
    # A few may be left out, as where documents begin.
    first, last = facts.span or (1, 1)
    begin = 0 if facts.text is None else max(facts.text.begin, 0)
    return first <= begin and facts.supervised >= NEARLY_ALL * (last + 1 - first)


# --- unknown-supervised -------------------------------------------------------------------------------------------
def unknown_supervised(pool: Pool, _past: Past) -> Verdict:
    """Check for labels that are the unknown token."""
    samples = [facts for facts in _samples(pool) if facts.unk is not None]
    if not samples:
        return CLEAN
    specials = samples[0].specials
    unknown, supervised = sum(facts.unk or 0 for facts in samples), sum(facts.supervised for facts in samples)
    if unknown < _UNKNOWN * supervised or {*specials.unk} & {*specials.pad, *specials.eos, *specials.bos}:
        return CLEAN
    if sum(facts.pad or 0 for facts in samples) > _UNKNOWN * supervised:
        return CLEAN  # text that goes along with sound: padding fills the time, and a token of its own ends it
    if _nearly_all_equal(samples, 1) is None and not _are_tokens(samples[0]):
        return CLEAN
    if len(samples) < _FEW or supervised < _MANY_LABELS:
        return None
    return Fault(
        f"{unknown} of {supervised} supervised labels are the unknown token ({_listed(specials.unk)})",
        "The tokenizer does not know these texts: check whether it is the model's, and which characters it lacks.",
        {"unknown": unknown, "supervised": supervised, "unk": list(specials.unk)},
    )


def _are_tokens(facts: Facts) -> bool:
    """Return whether labels are ids of the tokenizer, and not tags or classes."""
    return facts.shift > 0 or facts.vocabulary is None or facts.vocabulary >= max(facts.specials.size, 1)
