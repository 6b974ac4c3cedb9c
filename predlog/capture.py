"""A pair → what the host needs of it, and nothing else.

The rule: touch the labels of the samples shown and the logit rows of the tokens shown, nothing else. The
one exception is `accuracy`, which takes the argmax of the shown samples' rows. Nothing that is kept is a
view, so the batch's logits and their graph can go as soon as `capture` returns.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain

import torch
from torch import Tensor

from predlog import captured, recipe, rows, sources
from predlog import layout as layouts
from predlog.captured import Capture, Held, Sizes
from predlog.errors import PairError
from predlog.ring import Ring
from predlog.sources import Source
from predlog.specials import SpecialTokens
from predlog.surroundings import alone
from predlog.window import Ends, Window, ends

_NONE_KNOWN = SpecialTokens()
# Captures that may be on their way from one device at once, as many as may wait in a queue by default. A training loop
# runs a step or two ahead of its device, so a handful is in use, and takes memory.
_SLOTS = 256
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
    product = sources.autocast_type(logits)
    with alone():
        given = sources.given(logits, layout, product)
        outline = _floating(given.outline)
        ids = _integral("labels", layouts.as_tensor("labels", labels))
        pair = layouts.canonical(
            outline,
            ids,
            None if inputs is None else _integral("inputs", layouts.as_tensor("inputs", inputs)),
            layout,
            shift,
        )
        source = None if given.is_whole else given.source(ids, layout)
        _check(pair, source, ignore_index)
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


@lru_cache
def _ring(device: torch.device) -> Ring:
    return Ring(_SLOTS, is_pinned=device.type == "cuda")


def _holding(pair: layouts.Pair, source: Source | None, sizes: Sizes, window: Window) -> Callable[[], Held] | None:
    """Start to capture, and give what waits for the rest; None where there is no room for what is on its way."""
    device = pair.labels.device
    if device.type in _NEAR:
        held = _held_on_cpu(pair, source, sizes, window)
        return lambda: held
    packing = recipe.packing(pair, sizes, window, source)
    arrival = _ring(device).arrival(sizes.count * packing.words)
    if arrival is None:
        return None
    packed = recipe.pack(pair, packing, sizes, window, source)
    # What is known of copies that nobody waits for is known of CUDA's.
    arrival.send(packed if device.type == "cuda" else packed.cpu())
    return lambda: recipe.held(packing.views(arrival.read()), sizes, window)


def _held_on_cpu(pair: layouts.Pair, source: Source | None, sizes: Sizes, window: Window) -> Held:
    labels = _own(pair.labels, sizes)
    inputs = None if pair.inputs is None else _own(pair.inputs, sizes)
    scored = labels[..., sizes.shift :]
    many = scored.shape[-1]
    logits = pair.logits[: sizes.samples, : sizes.codebooks, :many]
    supervised = scored != sizes.ignore_index
    shown = ends(supervised, window)
    index = [lane * sizes.length + sizes.shift + row for lane, both in enumerate(shown) for row in chain(*both)]
    label = labels.view(-1).index_select(0, torch.tensor(index, dtype=torch.int64, device="cpu"))
    if source is None:
        statistics = rows.statistics(logits, shown, label)
    else:
        statistics = rows.statistics(*_made(source, shown, labels.shape[:2]), label)
    hits = None
    if window.accuracy:
        hits = rows.matched(logits, scored, supervised, None if inputs is None else inputs[..., :many])
    return captured.held(sizes, labels, inputs, shown, statistics, hits)


def _made(source: Source, shown: Sequence[Ends], lanes: Sequence[int]) -> tuple[Tensor, list[Ends]]:
    """Make the rows shown, and give them as one lane [1, 1, row, v] that shows all of its rows."""
    wanted = [[*both.first, *both.last] for both in shown]
    most = max(map(len, wanted))
    if not most:
        return torch.empty(1, 1, 0, source.vocabulary, dtype=source.dtype, device="cpu"), [Ends([], [])]
    where = torch.tensor([[*ats, *[0] * (most - len(ats))] for ats in wanted], device="cpu").view(*lanes, most)
    made = source.at(where).flatten(0, 2)
    kept = [lane * most + place for lane, ats in enumerate(wanted) for place in range(len(ats))]
    return made[kept][None, None], [Ends(list(range(len(kept))), [])]


def _own(ids: Tensor, sizes: Sizes) -> Tensor:
    """Copy the ids of the lanes shown, if need be, so that they lie together and are of 64 bits."""
    return ids[: sizes.samples, : sizes.codebooks].to(torch.int64).contiguous()


def _floating(logits: Tensor) -> Tensor:
    if not logits.dtype.is_floating_point:
        raise PairError(f"logits {list(logits.shape)} are {logits.dtype}: are logits and labels swapped?")
    return logits


def _integral(name: str, ids: Tensor) -> Tensor:
    if ids.dtype.is_floating_point or ids.dtype.is_complex or ids.dtype == torch.bool:
        raise PairError(f"{name} {list(ids.shape)} are {ids.dtype}: token ids must be integers, as .long() gives them")
    return ids


def _check(pair: layouts.Pair, source: Source | None, ignore_index: int) -> None:
    if type(ignore_index) is not int or not -(2**63) <= ignore_index < 2**63:
        raise PairError("ignore_index must be a Python int of at most 64 bits")
    logits = [pair.logits] if source is None else source.tensors
    devices = {tensor.device for tensor in (*logits, pair.labels, pair.inputs) if tensor is not None}
    if len(devices) > 1:
        raise PairError(f"the pair lies on several devices, {sorted(map(str, devices))}: move it to one")
