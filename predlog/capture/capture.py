"""A pair → a snapshot: the few numbers of it that the host needs.

Only the labels of the samples shown and the logit rows of the tokens shown are read. The one exception is `accuracy`,
which takes the argmax of all rows of the samples shown. Nothing that is kept is a view, so the batch's logits and their
graph can be freed as soon as `capture` returns.
"""

from dataclasses import replace

import torch
from torch import Tensor

from predlog._runtime.torch_state import alone
from predlog.capture import cpu, device
from predlog.capture.pair import Pair, to_pair
from predlog.capture.projection import Projection
from predlog.capture.snapshot import Sizes, Snapshot
from predlog.capture.window import Window
from predlog.findings.special_tokens import SpecialTokens

_NONE_KNOWN = SpecialTokens()
# The devices on which reading a value waits for nothing.
_NEAR = frozenset({"cpu"})


def capture(
    logits: object,
    labels: object,
    *,
    layout: str | None = None,
    shift: int = 0,
    inputs: object = None,
    ignore_index: int = -100,
    window: Window,
    specials: SpecialTokens = _NONE_KNOWN,
) -> Snapshot:
    """Return a snapshot of a pair.

    `logits` are a tensor, a `Projection`, `Rows`, or a list of chunks along time; `labels` and `inputs` are integer
    ids. What has no torch tensor may speak DLPack. `shift` is by how many positions the labels lead the logits.
    `window` limits the tokens, samples and codebooks shown. Raises PairError if they are no pair.
    """
    product = _autocast_type(logits)
    enter, leave = alone()
    try:
        enter()
        pair = to_pair(logits, labels, inputs, layout=layout, shift=shift, ignore_index=ignore_index, product=product)
        if pair.source is not None and window.accuracy:
            window = replace(window, accuracy=False)  # it would make all rows
        sizes = _sizes(pair, window, shift, ignore_index, specials)
        if layout is None and getattr(labels, "ndim", None) == 1:
            sizes = replace(sizes, is_flat=True)
        if pair.labels.device.type in _NEAR:
            numbers = cpu.to_numbers(pair, sizes, window)
            return Snapshot(sizes, lambda: numbers)
        return Snapshot(sizes, device.start(pair, sizes, window))
    finally:
        leave()


def _sizes(pair: Pair, window: Window, shift: int, ignore_index: int, specials: SpecialTokens) -> Sizes:
    samples, codebooks, length = pair.labels.shape
    if pair.vocabulary is not None and 2 * pair.vocabulary < specials.size:
        specials = _NONE_KNOWN  # these are not the ids of that tokenizer
    return Sizes(
        samples=min(samples, window.samples),
        codebooks=min(codebooks, window.codebooks),
        length=length,
        vocabulary=pair.vocabulary,
        shift=shift,
        ignore_index=ignore_index,
        specials=specials,
        has_codebooks=pair.has_codebooks,
        is_trained=pair.is_trained,
        has_probabilities=pair.source is None or pair.source.has_probabilities,
    )


def _autocast_type(logits: object) -> torch.dtype | None:
    """Return the type in which the caller's autocast would project; None if autocast would not change it."""
    weight = logits.weight if isinstance(logits, Projection) else None
    if not isinstance(weight, Tensor) or weight.dtype == torch.float64:  # which autocast leaves as it is
        return None
    kind = weight.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
