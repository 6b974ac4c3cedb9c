"""A pair on any device → one packed tensor, by a fixed list of operations that never wait for a value.

The labels of the samples shown are packed as they are: they are small, and the host counts them. So are rows that were
reduced elsewhere. The rows of logits, which are large, are reduced here to a few numbers per row. The operations write
their results directly into the packed tensor. A `Packing` names its parts, for the device and for the host.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from predlog.capture import counts, reduction, score, split
from predlog.capture.pair import Pair
from predlog.capture.positions import Positions, supervised_only
from predlog.capture.ring import ring_of
from predlog.capture.rows import gathered
from predlog.capture.score import Scores
from predlog.capture.tensors import as_signed
from predlog.capture.window import chosen, with_worst
from predlog.numbers.snapshot import Numbers, Sizes, Statistics
from predlog.numbers.window import Window

_WORD = 8
# What the columns of `Scores` are called here.
_SCORES = ("predictions", "losses", "entropies", "ranks", "peaks", "log_sums")
# The last word of each sequence: a ring needs one that is not 0 at the end.
_STAMP = 1


@dataclass(frozen=True, slots=True)
class Packing:
    """The parts of the words of a sequence: their names, how many values each has, and of which type."""

    parts: tuple[tuple[str, int, torch.dtype], ...]

    @property
    def words(self) -> int:
        """The number of 64-bit words per sequence, the stamp included."""
        return sum(_words(many, dtype) for _, many, dtype in self.parts) + 1

    def views(self, packed: Tensor) -> dict[str, Tensor]:
        """Return each part of packed [s, k, words] as a view [s, k, many] of its own type."""
        views, start = {}, 0
        for name, many, dtype in self.parts:
            stop = start + _words(many, dtype)
            views[name] = packed[..., start:stop].view(dtype)[..., :many]
            start = stop
        return views


def _words(many: int, dtype: torch.dtype) -> int:
    return -(-many * dtype.itemsize // _WORD)


def start(pair: Pair, sizes: Sizes, window: Window) -> Callable[[], Numbers] | None:
    """Start to capture, without waiting for the device; return what waits for the result and unpacks it.

    Returns None if no slot of the device's ring is free.
    """
    device = pair.labels.device
    to = packing(pair, sizes, window)
    arrival = ring_of(device).arrival(sizes.count * to.words)
    if arrival is None:
        return None
    packed = pack(pair, to, sizes, window)
    # Asynchronous copies are tested on CUDA only; elsewhere the copy is waited for.
    arrival.send(packed if device.type == "cuda" else packed.cpu())
    return lambda: to_numbers(to.views(arrival.read()), sizes, window)


def packing(pair: Pair, sizes: Sizes, window: Window) -> Packing:
    """Return how a pair is packed.

    The numbers of the rows shown come from the outside in: the first supervised row, the second …, then the last, the
    one before it …
    """
    length, rows = sizes.length, sizes.length - sizes.shift
    parts = [("labels", length, torch.int64)]
    if pair.inputs is not None:
        parts.append(("inputs", length, torch.int64))
    parts += [(name, value.shape[-1], torch.int64) for name, value in pair.positions.named()]
    if window.score and pair.positions.weights is not None:
        parts.append(("weights", length, torch.float32))
    if pair.columns is not None:
        return Packing((*parts, *((name, rows, reduction.column_type(one)) for name, one in pair.columns.named())))
    dtype = pair.logits.dtype if pair.source is None else pair.source.dtype
    shown, numbers = 2 * _rows(rows, window), torch.float64 if dtype == torch.float64 else torch.float32
    if window.score:
        shown += (worst := min(window.worst, rows))
        parts += [("worst", worst, torch.int64), ("are_worst", worst, torch.bool)]
        parts += [("predictions", rows, torch.int64), ("losses", rows, numbers), ("entropies", rows, numbers)]
        parts += [("ranks", rows, torch.int64)] * (window.all_tokens > 0)
        parts += [(name, rows, numbers) for name in ("peaks", "log_sums") if sizes.shard is not None]
    parts += [("prediction", shown, torch.int64), ("above", shown, torch.int64)]
    parts += [(name, shown, numbers) for name in ("peak", "label_logit", "prediction_logprob")]
    if many := min(window.alternatives, _columns(sizes)):
        parts += [("best", shown * many, torch.int64), ("best_logits", shown * many, numbers)]
    return Packing(tuple(parts))


def pack(pair: Pair, to: Packing, sizes: Sizes, window: Window) -> Tensor:
    """Find the supervised rows at both ends, reduce them, and return the results packed as [s, k, words].

    The label at p belongs to the row of logits at p - shift. Number and sizes of the operations depend neither on the
    number of samples in the batch nor on the mask.
    """
    known = pair.positions.shown(sizes.samples, sizes.codebooks)
    labels = supervised_only(pair.labels[: sizes.samples, : sizes.codebooks], known.weights, sizes.ignore_index)
    labels = split.paired(labels, known.index, sizes.shift, sizes.ignore_index)
    packed = pad(labels, (0, to.words - labels.shape[-1]), value=_STAMP)
    part = to.views(packed)
    if pair.inputs is not None:
        part["inputs"].copy_(as_signed(pair.inputs[: sizes.samples, : sizes.codebooks]))
    for name, value in known.named():
        part[name].copy_(value)
    if "weights" in part and known.weights is not None:
        part["weights"].copy_(known.weights)
    if pair.columns is not None:
        for name, column in pair.columns.shown(sizes).named():
            part[name].copy_(column)
        return packed
    labels = part["labels"][..., sizes.shift :]
    where = _ends(labels != sizes.ignore_index, _rows(labels.shape[-1], window), known.index)
    if window.score:
        where = torch.cat([where, _score(pair, part, labels, where, sizes, window)], -1)
    # Clamped, because a label without a logit would raise an assertion on the device.
    label = _local(labels.gather(-1, where), sizes).clamp_(0, _columns(sizes) - 1).unsqueeze(-1)
    if pair.source is None:
        logits = pair.logits[: sizes.samples, : sizes.codebooks, : labels.shape[-1]]
        rows = gathered(logits, where.unsqueeze(-1).expand(-1, -1, -1, logits.shape[-1]), dim=2)
    else:
        rows = pair.source.at(where)
    rows = rows if rows.dtype == torch.float64 else rows.to(torch.float32)
    torch.gather(rows, -1, label, out=part["label_logit"].unsqueeze(-1))
    torch.max(rows, -1, out=(part["peak"], part["prediction"]))
    torch.sum(rows > part["label_logit"].unsqueeze(-1), -1, out=part["above"])
    best = part["prediction"].unsqueeze(-1)
    torch.gather(rows.log_softmax(-1), -1, best, out=part["prediction_logprob"].unsqueeze(-1))
    if "best" in part:
        values, ids = rows.topk(part["best"].shape[-1] // where.shape[-1])
        part["best"].copy_(ids.flatten(-2))
        part["best_logits"].copy_(values.flatten(-2))
    return packed


def _score(
    pair: Pair, part: Mapping[str, Tensor], labels: Tensor, where: Tensor, sizes: Sizes, window: Window
) -> Tensor:
    """Score all rows, and return those with the largest losses beside the rows shown, [s, k, n]."""
    scores = Scores(*(part.get(name) for name in _SCORES))  # type: ignore[arg-type] # three are there
    size = sizes.samples, sizes.codebooks, labels.shape[-1]
    if pair.fused is not None:
        for to, values in zip(scores, pair.fused.scores(labels, sizes), strict=True):
            if to is not None and values is not None:
                to.copy_(values)
    else:
        logits = pair.logits[: size[0], : size[1], : size[2]]
        chunks = [logits] if pair.source is None else pair.source.rows(*size)
        score.elsewhere(chunks, _local(labels, sizes), scores)
    many = where.shape[-1] // 2
    shown = torch.cat([where[..., : window.first], where[..., many : many + window.last]], -1)
    left_out = (labels == sizes.ignore_index).scatter(-1, shown, True)
    places, are_there = score.worst(scores.loss, left_out, part["worst"].shape[-1])
    part["worst"].copy_(places)
    part["are_worst"].copy_(are_there)
    return places


def to_numbers(part: Mapping[str, Tensor], sizes: Sizes, window: Window) -> Numbers:
    """Return the numbers of packed parts that have arrived on the host, in the order in which rows are shown."""
    labels, inputs = part["labels"], part.get("inputs")
    ends = part.get("ends")
    known = Positions(
        part.get("weights"),
        part.get("places"),
        part.get("documents"),
        None if ends is None else ends[0, 0],
        part.get("attended"),
        part.get("index"),
    )
    if "label_logprob" in part:
        columns = reduction.Columns(
            part["prediction"], part["prediction_logprob"], part["label_logprob"], part.get("label_rank"),
            entropy=part.get("entropy"),
        )  # fmt: skip
        return reduction.to_numbers(columns, sizes, window, labels, inputs, known)
    scored = labels[..., sizes.shift :]
    supervised = scored != sizes.ignore_index
    if known.index is not None:
        split.check(known.index, sizes)
    shown = chosen(supervised, window, known.index)
    if "worst" in part:
        shown = with_worst(shown, part["worst"], part["are_worst"])
    width, many = part["prediction"].shape[-1], _rows(scored.shape[-1], window)
    index: list[int] = []
    for number, every in enumerate(shown):
        begin = width * number
        index += range(begin, begin + len(every.first))
        index += reversed(range(begin + many, begin + many + len(every.last)))
        index += range(begin + 2 * many, begin + 2 * many + len(every.worst))
    rows = torch.tensor(index, dtype=torch.int64, device="cpu")
    prediction, above, peak, label_logit, logprob = (
        part[name].flatten().index_select(0, rows).tolist()
        for name in ("prediction", "above", "peak", "label_logit", "prediction_logprob")
    )
    best: list[list[tuple[int, float]]] = []
    if "best" in part:
        ids, logits = (part[name].unflatten(-1, (width, -1)).flatten(0, 2) for name in ("best", "best_logits"))
        chosen_ids, chosen_logits = (one.index_select(0, rows).tolist() for one in (ids, logits))
        best = [[*zip(*ones, strict=True)] for ones in zip(chosen_ids, chosen_logits, strict=True)]
    statistics = Statistics(prediction, above, peak, label_logit, [-one for one in logprob], best)
    scores = None
    if "losses" in part:
        scores = Scores(*(part.get(name) for name in _SCORES))  # type: ignore[arg-type] # three are there
    return counts.to_numbers(sizes, labels, inputs, known, shown, statistics, scores, window)


def _columns(sizes: Sizes) -> int:
    return sizes.limit if sizes.shard is None else sizes.shard.stop - sizes.shard.start


def _local(labels: Tensor, sizes: Sizes) -> Tensor:
    """Return labels as indices of the columns of logits."""
    return labels if sizes.shard is None else labels - sizes.shard.start


def _rows(rows: int, window: Window) -> int:
    return min(max(window.first, window.last), rows)


def _ends(supervised: Tensor, many: int, index: Tensor | None) -> Tensor:
    """Return the first and the last supervised rows of a mask [s, k, t], from the outside in, as [s, k, 2 many].

    If there are fewer, other rows fill up: the host knows from the labels how many are supervised. With an `index`
    [s, k, labels] of their labels in the whole sample, they are the first and the last by that.
    """
    rows = supervised.shape[-1]
    if index is not None:
        places = as_signed(index)[..., -rows:]
        ramps = torch.stack([split.MOST_POSITIONS - places, places + 1], -2)
        return (supervised.unsqueeze(-2) * ramps).topk(many).indices.flatten(-2)
    # t, …, 1 for the first and, after the 0, 1, …, t for the last: the further out, the larger.
    ramps = torch.arange(-rows, rows + 1, dtype=torch.int32, device=supervised.device).abs_().unfold(0, rows, rows + 1)
    return (supervised.unsqueeze(-2) * ramps).topk(many).indices.flatten(-2)
