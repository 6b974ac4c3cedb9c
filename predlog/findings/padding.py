"""The rule about padding among the labels: known by the attention mask, or else guessed by the padding token."""

from collections.abc import Sequence

from predlog.findings.facts import Facts
from predlog.findings.masking import fills_time
from predlog.findings.rule import CLEAN, Fault, Past, Pool, Verdict, _listed, _shift

_MASK_PADDING = "Set labels to {} wherever the attention mask is 0; otherwise the model learns to pad."


def pad_supervised(pool: Pool, _past: Past) -> Verdict:
    """Check for padding among the supervised labels."""
    everyone = [facts for evidence in pool for facts in evidence.samples]
    if any(facts.padding is not None for facts in everyone):
        return _known_padding(everyone, pool)
    samples = [facts for facts in everyone if facts.pad is not None]
    count = sum([facts.pad or 0 for facts in samples])
    if not count or not any(map(_is_padded, samples)):
        return CLEAN
    if any(facts.special_run and fills_time(facts.special_run) for facts in samples):
        return CLEAN
    specials = samples[0].specials
    supervised = sum(facts.supervised for facts in samples)
    if {*specials.pad} & {*specials.eos, *specials.bos}:
        return CLEAN  # an end token that is also padding may be a correct label
    what = f"{count} of {supervised} supervised labels are padding ({_listed(specials.pad)})"
    fix = _MASK_PADDING.format(samples[0].ignore_index)
    return Fault(what, fix, {"padding": count, "supervised": supervised, "pad": list(specials.pad)})


def _known_padding(samples: Sequence[Facts], pool: Pool) -> Verdict:
    """Check for labels that the attention mask marks as padding, unless the loss leaves these out."""
    count, supervised = sum(one.padding or 0 for one in samples), sum(one.supervised for one in samples)
    if _shift(pool) == 0 and all(one.equal is None and one.pad == 0 for one in samples):
        return CLEAN  # no label is padding, so the mask is that of something else, such as the encoder's
    if not count or any(evidence.loss == "attention mask applied" for evidence in pool):
        return CLEAN
    what = f"{count} of {supervised} supervised labels are padding, where the attention mask is 0"
    fix = _MASK_PADDING.format(samples[0].ignore_index)
    if count == supervised:
        what = f"the attention mask is 0, which marks padding, at all {supervised} supervised labels"
        fix = "Check the mask: predlog takes 0 for padding. One of 0 and -inf, or with 1 at padding, must be converted."
    return Fault(what, fix, {"padding": count, "supervised": supervised, "pad": list(samples[0].specials.pad)})


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
