"""A pair → a snapshot: the few numbers of it that the host needs.

Only the labels of the samples shown and the logit rows of the tokens shown are read. There are two exceptions: the
`score` reads all supervised rows of the samples shown, and the check of the reported loss reads all rows, at the
first records of a stream and rarely afterwards. Nothing that is kept is a view, so the batch's logits and their
graph can be freed as soon as `capture` returns.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from predlog._runtime.torch_state import alone
from predlog.capture import axes, cpu, device, samples, scalar, split, whole_loss
from predlog.capture.dtensor import Span
from predlog.capture.local import Local, axes_of, to_local, with_rows
from predlog.capture.pair import Pair, to_pair
from predlog.capture.projection import Projection
from predlog.capture.shard import BEST, of_part
from predlog.errors import NothingHereError, PairError
from predlog.findings.reported_loss import Reported, Totals
from predlog.findings.special_tokens import SpecialTokens
from predlog.numbers.losses import LossSums
from predlog.numbers.snapshot import Sizes, Slice, Snapshot, joined
from predlog.numbers.window import Window

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
    loss_mask: object = None,
    position_ids: object = None,
    document_ids: object = None,
    attention_mask: object = None,
    row_index: object = None,
    row_count: object = None,
    reported_loss: object = None,
    sample_ids: object = None,
    items: object = None,
    accumulate: int | None = None,
    shard: object = None,
    ranks: tuple[int, ...] | None = None,
    declared: frozenset[str] = frozenset(),
    autocast: torch.dtype | None = None,
    window: Window,
    specials: SpecialTokens = _NONE_KNOWN,
    has_totals: bool = False,
    has_axes: bool = False,
) -> Snapshot:
    """Return a snapshot of a pair.

    `logits` are a tensor, a `Projection`, `Rows`, or a list of chunks along time; `labels` and `inputs` are integer
    ids. What has no torch tensor may speak DLPack. `shift` is by how many positions the labels lead the logits.
    `loss_mask`, `position_ids`, `document_ids`, `attention_mask` and `row_index` are what `to_positions` takes, and
    `row_count` is how many positions the whole sample has that the last is an index into. `reported_loss` is
    the trainer's loss, divided by `items` if not by the number of labels, of one of `accumulate` micro-batches.
    `sample_ids` are one id per sample. `declared` are options of the run. A projection is computed in the type
    `autocast`, or in that of the caller's autocast. With `has_totals` the losses of all rows are summed up, to be held
    against it; with `has_axes` it is looked at which axis is time. `shard` says which part of the vocabulary the logits
    are of, and `ranks` which processes have the rows of the samples together. `window` says which samples, tokens and
    codebooks are shown.

    Of DTensors the part that this process has is read. Raises PairError if they are no pair, NoSuchSampleError if the
    batch has none of the samples to be shown, and NothingHereError if this process has no part of the pair.
    """
    product = _autocast_type(logits, autocast)
    enter, leave = alone()
    try:
        enter()
        beside = {
            "loss_mask": loss_mask, "position_ids": position_ids, "document_ids": document_ids,
            "attention_mask": attention_mask, "row_index": row_index, "sample_ids": sample_ids,
        }  # fmt: skip
        here = with_rows(to_local(logits, labels, inputs, layout, shard, beside, shift))
        labels, inputs = here.labels, here.inputs
        row_count = here.rows.whole if here.rows is not None and row_count is None else row_count
        how = {"layout": layout, "shift": shift, "ignore_index": ignore_index, "product": product}
        found = _pair(here, shard, row_count, ranks, window, how)
        if isinstance(found, Snapshot):
            return found
        pair, part = found
        is_split = pair.positions.index is not None
        window = _possible(window, pair, part, is_split=is_split)
        choice = samples.choose(pair, window, here.beside["sample_ids"])
        sizes = _sizes(pair, choice, window, shift, ignore_index, specials, part, here.samples)
        if is_split:
            sizes = replace(sizes, is_split=True, row_count=row_count, ranks=ranks)  # type: ignore[arg-type] # it was checked
        if pair.fused is not None:
            sizes = replace(sizes, scored="losses" if pair.fused.match is None else "matches")
        shown = samples.parts(pair, choice)
        if here.remark is not None:
            sizes = replace(sizes, unused=(*sizes.unused, here.remark))
        if layout is None and getattr(labels, "ndim", None) == 1 and pair.labels.shape[0] == 1:
            sizes = replace(sizes, is_flat=True)
        if declared:
            sizes = replace(sizes, declared=declared)
        reported, why = _reported(reported_loss, items, accumulate)
        sizes = replace(sizes, unused=(*sizes.unused, *why))
        totals = sums = None
        if has_totals and here.samples is None:
            totals, sums = _summed_up(pair, shift, ignore_index, part, has_loss=reported is not None)
        across = axes.start(pair, labels, inputs, layout, shift, ignore_index) if has_axes and not is_split else None
        if pair.labels.device.type in _NEAR:
            numbers = joined([cpu.to_numbers(one, _part(sizes, one, shown), window) for one in shown])
            return Snapshot(sizes, lambda: numbers, totals, reported, across, choice.ids, sums)
        waits = [device.start(one, _part(sizes, one, shown), window) for one in shown]
        arriving = [wait for wait in waits if wait is not None]
        arrived = (lambda: joined([wait() for wait in arriving])) if len(arriving) == len(waits) else None
        return Snapshot(sizes, arrived, totals, reported, across, choice.ids, sums)
    finally:
        leave()


def _pair(
    here: Local, shard: object, row_count: object, ranks: tuple[int, ...] | None, window: Window, how: dict[str, Any]
) -> tuple[Pair, Slice | None] | Snapshot:
    """Return the pair that this process has, and which part of the vocabulary it is of, None if it is whole.

    Of rows of samples of which this process has none, it is a snapshot that says so.
    """
    beside: dict[str, Any] = {name: value for name, value in here.beside.items() if name != "sample_ids"}
    try:
        pair = to_pair(here.logits, here.labels, here.inputs, **how, **beside)
        if here.is_trained is not None:
            pair = replace(pair, is_trained=here.is_trained)
        return of_part(pair, here.logits, shard, here.part, row_count)
    except PairError as error:
        empty = _without_rows(error, here, shard, row_count, ranks, window, how)
        if empty is None:
            raise
        return empty


def _without_rows(
    error: PairError, here: Local, shard: object, row_count: Any, ranks: tuple[int, ...] | None, window: Window,
    how: dict[str, Any],
) -> Snapshot | None:  # fmt: skip
    """Return a snapshot of a part of rows of which this process has none; None if that is not what the error says.

    Else whoever joins the parts of the others could not know that no part is missing.
    """
    is_known = row_count is None or (type(row_count) is int and row_count > 0)
    if here.beside["row_index"] is None or not (isinstance(error, NothingHereError) or error.code == "empty-pair"):
        return None
    axes_of_logits = partial(axes_of, labels=here.labels, layout=how["layout"])
    found = split.outline(here.logits, here.labels, how["shift"], axes_of_logits) if is_known else None
    if found is None:
        return None
    pair = to_pair(*found, None, **how)
    choice = samples.choose(pair, window, here.beside["sample_ids"])
    of = getattr(shard, "of", None)
    of = of if isinstance(of, int) and of > 0 else pair.vocabulary or 1
    part = Slice(of, of, of)
    sizes = _sizes(pair, choice, window, how["shift"], how["ignore_index"], _NONE_KNOWN, part, here.samples)
    sizes = replace(sizes, is_split=True, row_count=row_count, ranks=ranks)
    return Snapshot(sizes, lambda: split.nothing(sizes), ids=choice.ids)


def _reported(loss: object, items: object, accumulate: int | None) -> tuple[Callable[[], Reported] | None, list[str]]:
    """Return what waits for a reported loss, if there is one, or why it is none: the pair can do without."""
    if loss is None:
        return None, []
    try:
        return scalar.reported(loss, items, accumulate), []
    except PairError as error:
        return None, [f"the loss is not checked: {error}"]


def _summed_up(
    pair: Pair, shift: int, ignore_index: int, part: Slice | None, *, has_loss: bool
) -> tuple[Callable[[], Totals] | None, Callable[[], LossSums] | None]:
    """Start to sum up the loss of a pair, or what a part knows of it, which is written with the loss."""
    if part is None:
        return whole_loss.start(pair, shift, ignore_index), None
    return None, whole_loss.start_part(pair, shift, ignore_index, part) if has_loss else None


def _possible(window: Window, pair: Pair, shard: Slice | None, *, is_split: bool) -> Window:
    """Return what can be shown of a pair of what is to be shown."""
    if pair.fused is not None:
        return replace(window, all_tokens=0)  # their predictions are not known
    if pair.source is not None and pair.source.head is not None and window.score:
        window = replace(window, score=False)  # it would make all rows
    if shard is not None:
        # Which rows are the worst, and what is predicted, is known when all shards are there.
        text = 0 if is_split else window.text  # it may go on elsewhere
        return replace(window, worst=0, all_tokens=0, alternatives=max(window.alternatives, BEST), text=text)
    return window


def _part(sizes: Sizes, one: Pair, shown: Sequence[Pair]) -> Sizes:
    """Return the sizes of one of the pairs that the samples shown are in."""
    return sizes if len(shown) == 1 else replace(sizes, samples=one.labels.shape[0])


def _sizes(
    pair: Pair, choice: samples.Choice, window: Window, shift: int, ignore_index: int, specials: SpecialTokens,
    shard: Slice | None, of_batch: Span | None,
) -> Sizes:  # fmt: skip
    _, codebooks, length = pair.labels.shape
    offset = 0 if of_batch is None else of_batch.start
    vocabulary = pair.vocabulary if shard is None else shard.of
    if vocabulary is not None and 2 * vocabulary < specials.size:
        specials = _NONE_KNOWN  # these are not the ids of that tokenizer
    return Sizes(
        samples=len(choice.places),
        places=() if choice.are_first and not offset else tuple(offset + one for one in choice.places),
        codebooks=min(codebooks, window.codebooks),
        length=length,
        vocabulary=vocabulary,
        shard=shard,
        shift=shift,
        ignore_index=ignore_index,
        specials=specials,
        has_codebooks=pair.has_codebooks,
        is_trained=pair.is_trained,
        has_probabilities=pair.source is None or pair.source.has_probabilities,
        unused=(*pair.positions.unused, *choice.remarks),
        knows_inputs=pair.inputs is not None,
        knows_documents=pair.positions.places is not None
        or pair.positions.documents is not None
        or pair.positions.ends is not None,
        knows_padding=pair.positions.attended is not None,
        has_weights=pair.positions.weights is not None,
    )


def _autocast_type(logits: object, known: torch.dtype | None) -> torch.dtype | None:
    """Return the type in which autocast projects, known or the caller's; None if autocast would not change it."""
    weight = logits.weight if isinstance(logits, Projection) else None
    if not isinstance(weight, Tensor) or weight.dtype == torch.float64:  # which autocast leaves as it is
        return None
    if known is not None:
        return known
    kind = weight.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
