"""Ids on the host → plain numbers: counts over all supervised positions, and the ids around the rows shown.

Findings are judged by these counts. No logits are read here.
"""

import itertools
import zlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from predlog.capture.documents import Documents, Words, crossings, documents, of_runs
from predlog.capture.excerpts import cut_out
from predlog.capture.masking import masking
from predlog.capture.positions import Positions
from predlog.capture.rows import hits, wanted_ids
from predlog.capture.score import Scores
from predlog.capture.scored import of_samples, rows_of_shard
from predlog.capture.split import in_whole, neighbours, runs
from predlog.capture.window import as_bytes, words
from predlog.findings.special_tokens import OF_TOKENIZERS, SpecialTokens
from predlog.numbers.shards import of_shard
from predlog.numbers.snapshot import Counts, Numbers, Sizes, Statistics
from predlog.numbers.texts import Row, text_of
from predlog.numbers.window import Chosen, Window

# A label is compared with the input at the position that its row reads, at the next, and at the one after.
_OFFSETS = 3
_Columns = dict[str, Tensor]


def to_numbers(
    sizes: Sizes, labels: Tensor, inputs: Tensor | None, positions: Positions, shown: Sequence[Chosen],
    statistics: Statistics, scores: Scores | None, window: Window, unreduced: Tensor | None = None,
) -> Numbers:  # fmt: skip
    """Return the numbers of ids [sample, codebook, time] on the host, and of the scores of all rows.

    Labels of positions without weight are `ignore_index` already; the other positions are of the same sequences.

    "hits" count the predictions that equal the label, and those that equal the input and not the label. `unreduced`
    [sample, codebook, 1] counts the supervised positions that have no row. No tensor is kept. For pairs on the CPU this
    runs in the training thread: if the worker called torch, the two threads would take turns holding the interpreter,
    which costs more than the calls.
    """
    scored = labels[..., sizes.shift :]
    supervised = scored != sizes.ignore_index
    columns = _of_labels(scored, supervised)
    if sizes.has_codebooks:
        columns["varied"] = ((scored != columns["highest"]) & supervised).sum(-1, keepdim=True)
    columns |= _of_specials(scored, sizes.specials, sizes.ignore_index)
    near = None if positions.index is None else neighbours(positions.index)
    known = documents(positions, sizes.length, near)
    columns |= _of_neighbours(scored, supervised, inputs, known, near, sizes)
    columns |= _of_scores(scores, scored, inputs, supervised, sizes)
    if unreduced is not None:
        columns["unreduced"] = unreduced
    sequences = _with_out_of_range(list(_by_sequence(columns)), scored, supervised, sizes)
    ids, read = words(labels), None if inputs is None else words(inputs)
    for counts, beside in zip(sequences, crossings(known, positions.attended, ids, read, sizes, near), strict=False):
        counts.update(beside)
    for number, counts in enumerate(sequences):
        counts["fingerprint"] = _fingerprint(ids, read, number * sizes.length, sizes)
    ends = [] if near is not None else list(_texts(sizes, supervised, inputs, ids, read, positions.attended, known))
    for counts, one in zip(sequences, ends, strict=False):  # codebooks have none
        counts["text"] = one
    kept = list(cut_out(sizes, window, as_bytes(supervised), ids, read, ends)) if window.text else ()
    around, reads, homes = _beside(shown, sizes, ids, read, known)
    if sizes.shard is not None:
        statistics = of_shard(statistics, [own for _, own, *_ in around], sizes.shard)
    whole = None
    if scores is not None:
        whole = (
            of_samples(scores, scored, supervised, positions.weights, sizes, window)
            if sizes.shard is None
            else rows_of_shard(scores, scored, supervised, inputs, positions, known, sizes)
        )
    if positions.index is None:
        return Numbers(shown, statistics, around, reads, homes, sequences, whole, kept)
    own = runs(labels, inputs, positions, known, sizes, window)
    shown = in_whole(shown, positions.index, sizes)
    return Numbers(shown, statistics, around, reads, homes, sequences, whole, (), own)


def _texts(
    sizes: Sizes, supervised: Tensor, inputs: Tensor | None, labels: memoryview, read: memoryview | None,
    attended: Tensor | None, known: Documents | None,
) -> Iterator[tuple[int, ...]]:  # fmt: skip
    """Yield the numbers of a `Text` for each row: `labels` and `read` are the ids of all rows, one after the other.

    `supervised` [s, 1, rows] are the rows of logits that have a label. Codebooks have no text.
    """
    if sizes.has_codebooks:
        return
    length, rows = sizes.length, supervised.shape[-1]
    mask = as_bytes(supervised)
    used = None if attended is None else as_bytes(attended != 0)
    changes = b"" if inputs is None or used is not None else as_bytes(inputs[..., 1:] != inputs[..., :-1])
    many = [-1] if known is None else (known.begins.sum(-1) + 1).flatten().tolist()
    for number in range(sizes.samples):
        here, begin = slice(number * length, (number + 1) * length), number * (length - 1)
        row = Row(
            labels[here], None if read is None else read[here], mask[number * rows : (number + 1) * rows],
            changes[begin : begin + length - 1], None if used is None else used[here], many[number % len(many)],
        )  # fmt: skip
        yield text_of(row, sizes.specials, sizes.shift)


def _of_neighbours(
    scored: Tensor, supervised: Tensor, inputs: Tensor | None, known: Documents | None, near: Tensor | None,
    sizes: Sizes,
) -> _Columns:  # fmt: skip
    """Return what is counted of labels and what is beside them; of a part of a sample, what is within its runs."""
    found = {} if inputs is None else _of_inputs(scored, inputs, supervised, sizes, known or of_runs(near))
    return found if near is not None else found | masking(scored, supervised, inputs, known, sizes)


def _with_out_of_range(sequences: list[Counts], labels: Tensor, supervised: Tensor, sizes: Sizes) -> list[Counts]:
    """Return the counts with those of labels [s, k, rows] that have no logit, if there are any."""
    if all(counts["lowest"][0] >= 0 and counts["highest"][0] < sizes.limit for counts in sequences):
        return sequences
    outside = (((labels < 0) | (labels >= sizes.limit)) & supervised).sum(-1).flatten().tolist()
    return [counts | {"out_of_range": (count,)} for counts, count in zip(sequences, outside, strict=True)]


def _fingerprint(ids: memoryview, read: memoryview | None, start: int, sizes: Sizes) -> tuple[int, ...]:
    """Return a checksum of the labels of the sequence that starts there and, if they are known, of its inputs."""
    whole = slice(start, start + sizes.length)
    labels = zlib.crc32(ids[start + sizes.shift : whole.stop])
    return (labels,) if read is None else (labels, zlib.crc32(read[whole]))


def _of_scores(
    scores: Scores | None, labels: Tensor, inputs: Tensor | None, supervised: Tensor, sizes: Sizes
) -> _Columns:
    """Count the predictions [s, k, rows] that equal the label, and the input; a shard does not know them."""
    if scores is None or sizes.scored == "losses" or sizes.shard is not None:
        return {}
    predicted = supervised & (scores.prediction >= 0)
    wanted = wanted_ids(labels, inputs if sizes.scored == "all" else None)
    return {"hits": hits(scores.prediction, wanted, predicted).sum(-2)}


def _beside(
    shown: Sequence[Chosen], sizes: Sizes, ids: Words, read: Words | None, known: Documents | None
) -> tuple[list[tuple[int, int, int, int]], list[tuple[int | None, int | None]], list[tuple[int | None, int | None]]]:
    """Return what is around each row shown, what it reads, and where its label is, as `Numbers` has them."""
    around: list[tuple[int, int, int, int]] = []
    reads: list[tuple[int | None, int | None]] = []
    homes: list[tuple[int | None, int | None]] = []
    last = sizes.length - 1
    home = None if known is None else (words(known.ids), words(known.places))
    for number, every in enumerate(shown):
        start = number * sizes.length
        for row in itertools.chain(*every):
            at = row + sizes.shift
            before, after, after_next = max(at - 1, 0), min(at + 1, last), min(at + 2, last)
            around.append((ids[start + before], ids[start + at], ids[start + after], ids[start + after_next]))
            reads.append((None, None) if read is None else (read[start + row], read[start + min(row + 2, last)]))
            homes.append((None, None) if home is None else (home[0][start + at], home[1][start + at]))
    return around, reads, homes


def _by_sequence(columns: _Columns) -> Iterator[Counts]:
    widths = [column.shape[-1] for column in columns.values()]
    for row in torch.cat(list(columns.values()), -1).flatten(0, 1).tolist():
        values = iter(row)
        yield {name: tuple(itertools.islice(values, width)) for name, width in zip(columns, widths, strict=True)}


def _of_labels(labels: Tensor, supervised: Tensor) -> _Columns:
    """Return how many labels [s, k, t] are supervised, and their extremes, each [s, k, 1]; ignored ones count as 0."""
    lowest, highest = torch.aminmax(labels * supervised, dim=-1, keepdim=True)
    return {"supervised": supervised.sum(-1, keepdim=True), "lowest": lowest, "highest": highest}


def _of_specials(labels: Tensor, specials: SpecialTokens, ignore_index: int) -> _Columns:
    """Count the labels [s, k, t] that pad, end or begin a text, each [s, k, 1], if such ids are known."""
    known = {role: [one for one in getattr(specials, role) if one != ignore_index] for role in OF_TOKENIZERS}
    return {
        role: torch.stack([(labels == one).sum(-1, keepdim=True) for one in ids]).sum(0)
        if len(ids) > 1
        else (labels == ids[0]).sum(-1, keepdim=True)
        for role, ids in known.items()
        if ids
    }


def _of_inputs(labels: Tensor, inputs: Tensor, supervised: Tensor, sizes: Sizes, known: Documents | None) -> _Columns:
    """Compare the labels [s, k, rows] with the inputs [s, k, t] that their rows read, and with the two after each.

    `equal` and `compared` are [s, k, 3]: how many supervised labels equal the input 0, 1 and 2 positions on, and how
    many have such an input. If documents are known, an input of another one, or after a jump, is none. Where most
    labels equal an input, `lone` are how many of the compared are an end token that is no input anywhere.
    """
    rows, length = labels.shape[-1], inputs.shape[-1]
    # Past the end is the ignored label, which equals no supervised one.
    windows = pad(inputs, (0, _OFFSETS - 1), value=sizes.ignore_index).unfold(-1, rows, 1)[..., :_OFFSETS, :]
    asked = supervised.unsqueeze(-2)
    ends = [max(min(rows, length - offset), 0) for offset in range(_OFFSETS)]
    if known is None:
        compared = torch.cat([supervised[..., :end].sum(-1, keepdim=True) for end in ends], -1)
    else:
        asked = asked & known.follow(rows)
        compared = asked.sum(-1)
    equal = ((labels.unsqueeze(-2) == windows) & asked).sum(-1)
    columns = {"start": inputs[..., :3], "equal": equal, "compared": compared}
    # A part of a sample doesn't know what the others read: what may be such a label is counted in each.
    if sizes.is_split or bool(((equal < compared) & (2 * equal >= compared))[..., ::2].any()):
        near = torch.arange(rows) < torch.tensor(ends).unsqueeze(-1) if known is None else known.follow(rows)
        # torch.isin takes views of its arguments.
        lone = supervised & ~torch.isin(labels.contiguous(), inputs.contiguous())
        if not sizes.is_split:
            lone = _lone_ends(lone, labels, supervised, sizes.specials)
        lone = lone.unsqueeze(-2) & near
        columns["lone"] = lone.sum(-1)
    return columns


def _lone_ends(lone: Tensor, labels: Tensor, supervised: Tensor, specials: SpecialTokens) -> Tensor:
    """Return where labels [s, k, rows] that are no input anywhere are an end token; nowhere if that is not sure.

    Such labels are all the same id, and each is known to end a text or is the last before ignored ones.
    """
    ids = labels[lone].unique().tolist()
    is_last = torch.ones_like(supervised)
    is_last[..., :-1] = ~supervised[..., 1:]
    is_end = len(ids) == 1 and (ids[0] in specials.eos or not bool((lone & ~is_last).any()))
    return lone if is_end else torch.zeros_like(lone)
