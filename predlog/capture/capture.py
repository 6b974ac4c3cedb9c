"""A pair → what the host needs of it, and nothing else.

The rule: touch the labels of the samples shown and the logit rows of the tokens shown, nothing else. The
one exception is `accuracy`, which takes the argmax of the shown samples' rows. Nothing that is kept is a
view, so the batch's logits and their graph can go as soon as `capture` returns.
"""

from collections.abc import Callable
from dataclasses import replace

from predlog._runtime.torch_state import alone
from predlog.capture import device as recipe
from predlog.capture import layout as layouts
from predlog.capture import pair as pairs
from predlog.capture import projection
from predlog.capture.cpu import held_on_cpu
from predlog.capture.pair import check, floating, integral
from predlog.capture.projection import Source
from predlog.capture.ring import ring_of
from predlog.capture.snapshot import Capture, Held, Sizes
from predlog.capture.window import Window
from predlog.findings.special_tokens import SpecialTokens

_NONE_KNOWN = SpecialTokens()
# Where reading a value stops nothing.
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
) -> Capture:
    """Capture a pair; raises PairError where it is none."""
    product = projection.autocast_type(logits)
    with alone():
        given = pairs.given(logits, layout, product)
        outline = floating(given.outline)
        ids = integral("labels", pairs.as_tensor("labels", labels))
        pair = layouts.canonical(
            outline,
            ids,
            None if inputs is None else integral("inputs", pairs.as_tensor("inputs", inputs)),
            layout,
            shift,
        )
        source = None if given.is_whole else given.source(ids, layout)
        check(pair, source, ignore_index)
        if source is not None and window.accuracy:
            window = replace(window, accuracy=False)  # it would take all rows
        vocabulary = pair.logits.shape[-1] if source is None else source.vocabulary
        if 2 * vocabulary < specials.size:
            specials = _NONE_KNOWN  # these are not the ids of that tokenizer
        samples, codebooks, length = pair.labels.shape
        sizes = Sizes(
            samples=min(samples, window.samples),
            codebooks=min(codebooks, window.codebooks),
            length=length,
            vocabulary=vocabulary,
            shift=shift,
            ignore_index=ignore_index,
            specials=specials,
            has_codebooks=pair.has_codebooks,
            is_trained=any(chunk.requires_grad for chunk in given.chunks),
            has_probabilities=source is None or source.has_probabilities,
        )
        return Capture(sizes, _holding(pair, source, sizes, window))


def _holding(pair: layouts.Pair, source: Source | None, sizes: Sizes, window: Window) -> Callable[[], Held] | None:
    """Start to capture, and give what waits for the rest; None where there is no room for what is on its way."""
    device = pair.labels.device
    if device.type in _NEAR:
        held = held_on_cpu(pair, source, sizes, window)
        return lambda: held
    packing = recipe.packing(pair, sizes, window, source)
    arrival = ring_of(device).arrival(sizes.count * packing.words)
    if arrival is None:
        return None
    packed = recipe.pack(pair, packing, sizes, window, source)
    # What is known of copies that nobody waits for is known of CUDA's.
    arrival.send(packed if device.type == "cuda" else packed.cpu())
    return lambda: recipe.held(packing.views(arrival.read()), sizes, window)
