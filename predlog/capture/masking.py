"""Ids on the host → what masks of the labels leave in and out: runs of special tokens, holes, where an answer begins.

Rows [s, k, r] are those with a label; the label of row r is what the text has at position r + 1, where inputs are
known and the labels are those of the next position, which rules check.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import product

import torch
from torch import Tensor

from predlog.capture.documents import Documents
from predlog.findings.evidence import PROMPT_AFTER, PROMPT_AT, PROMPT_BEFORE
from predlog.findings.special_tokens import SpecialTokens
from predlog.numbers.snapshot import Sizes

# More special tokens than these are codes, such as those of speech, of which only the roles are looked at.
MOST_SPECIAL = 512
_WIDTHS = {"special_run": 6, "holes": 5, "answer": 2}


def masking(
    scored: Tensor, supervised: Tensor, inputs: Tensor | None, known: Documents | None, sizes: Sizes
) -> dict[str, Tensor]:
    """Return what is found in each sequence, each [s, k, n]; zeros for a sequence in which there is nothing.

    `special_run` are the special token that is repeated most often among labels side by side, its longest and its
    shortest run, how many runs there are, how long the one that ends the labels is, and how many spans the labels have.
    `holes` are the id that is ignored most often between two supervised labels, how often it is, how many labels are
    that id, the id before the first such hole, and how many other ids are ignored like that; places where a document
    begins are none. `answer` is where the
    template's prompt ends, `PROMPT_AFTER` the first label and so on, and the answer's first token.
    """
    shape = scored.shape[:2]
    columns = {}
    special = _special(sizes.specials)
    if special is not None and scored.shape[-1] > 1:
        columns["special_run"] = _rows(_special_runs(scored, supervised, special), shape, "special_run")
    if inputs is None or sizes.shift > 1:
        return columns
    if scored.shape[-1] > 2:
        columns["holes"] = _rows(_holes(scored, supervised, inputs, known), shape, "holes")
    if sizes.specials.prompt:
        columns["answer"] = _rows(_answers(supervised, inputs, sizes.specials.prompt), shape, "answer")
    return columns


def _rows(found: Iterator[tuple[tuple[int, int], list[int]]], shape: torch.Size, name: str) -> Tensor:
    rows = dict(found)
    nothing = [0] * _WIDTHS[name]
    every = [rows.get(at, nothing) for at in product(range(shape[0]), range(shape[1]))]
    return torch.tensor(every, dtype=torch.int64, device="cpu").view(*shape, -1)


@lru_cache(maxsize=64)
def _special(specials: SpecialTokens) -> Tensor | None:
    every = specials.every if len(specials.every) <= MOST_SPECIAL else frozenset()
    wanted = {*every, *specials.pad, *specials.eos, *specials.bos}
    return torch.tensor(sorted(wanted), dtype=torch.int64, device="cpu") if wanted else None


def _special_runs(scored: Tensor, supervised: Tensor, special: Tensor) -> Iterator[tuple[tuple[int, int], list[int]]]:
    same = (scored[..., 1:] == scored[..., :-1]) & supervised[..., 1:]
    ids = scored[..., 1:][same]
    if not ids.numel():
        return
    is_special = torch.isin(ids, special)
    if not is_special.any():
        return
    same = same.masked_scatter(same, is_special)
    for at in product(range(same.shape[0]), range(same.shape[1])):
        rows = same[at].nonzero().squeeze(-1)
        if not rows.numel():
            continue
        label = scored[at]
        token = int(label[rows].mode().values)
        rows = rows[label[rows] == token]
        begins = torch.cat([rows[:1], rows[1:][rows[1:] != rows[:-1] + 1]])
        lengths = torch.searchsorted(rows, torch.cat([begins[1:], rows[-1:] + 1])) - torch.searchsorted(rows, begins)
        counted = supervised[at]
        spans = int((counted[1:] & ~counted[:-1]).sum()) + int(counted[0])
        is_last = int(rows[-1]) + 1 == int(counted.nonzero()[-1])
        longest, shortest = int(lengths.max()) + 1, int(lengths.min()) + 1
        yield at, [token, longest, shortest, len(begins), int(lengths[-1] + 1) if is_last else 0, spans]


def _holes(
    scored: Tensor, supervised: Tensor, inputs: Tensor, known: Documents | None
) -> Iterator[tuple[tuple[int, int], list[int]]]:
    rows = scored.shape[-1]
    holes = supervised[..., :-2] & supervised[..., 2:] & ~supervised[..., 1:-1]
    if known is not None:
        holes = holes & ~known.begins[..., 1 : rows - 1]
    if not holes.any():
        return
    for at in product(range(holes.shape[0]), range(holes.shape[1])):
        where = holes[at].nonzero().squeeze(-1)
        if not where.numel():
            continue
        ids = inputs[at][where + 2]
        token = int(ids.mode().values)
        chosen = where[ids == token]
        before = int(inputs[at][chosen[0] + 1])
        yield at, [token, len(chosen), int((scored[at] == token).sum()), before, len(ids) - len(chosen)]


def _answers(
    supervised: Tensor, inputs: Tensor, prompt: tuple[int, ...]
) -> Iterator[tuple[tuple[int, int], list[int]]]:
    wanted, length = list(prompt), len(prompt)
    firsts = supervised.to(torch.uint8).argmax(-1).tolist()
    for at in product(range(supervised.shape[0]), range(supervised.shape[1])):
        # The text's position of the first label; with no label at all it is taken for 1, which no prompt precedes.
        first = firsts[at[0]][at[1]] + 1
        begin = max(first - length - 1, 0)
        read = inputs[at][begin : first + 2].tolist()
        for where, end in ((PROMPT_AT, first), (PROMPT_BEFORE, first - 1), (PROMPT_AFTER, first + 1)):
            stop = end - begin
            if stop >= length and stop < len(read) and read[stop - length : stop] == wanted:
                yield at, [where, read[stop]]
                break
