"""Counts over all supervised positions of the samples shown, from the ids that the host holds.

They are what the findings are judged by. No logits are read here.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from predlog.findings.special_tokens import ROLES, SpecialTokens

# How many positions after the one that is read the input is held against the label: the same, the next, the one after.
OFFSETS = 3
Counts = dict[str, Tensor]


def of_labels(labels: Tensor, supervised: Tensor) -> Counts:
    """Count the supervised labels [s, k, t] and give their extremes, each [s, k, 1]; an ignored label counts as 0."""
    lowest, highest = torch.aminmax(labels * supervised, dim=-1, keepdim=True)
    return {"supervised": supervised.sum(-1, keepdim=True), "lowest": lowest, "highest": highest}


def out_of_range(labels: Tensor, supervised: Tensor, vocabulary: int) -> Counts:
    """Count the supervised labels [s, k, t] that no logit stands for, [s, k, 1]."""
    return {"out_of_range": (((labels < 0) | (labels >= vocabulary)) & supervised).sum(-1, keepdim=True)}


def of_specials(labels: Tensor, specials: SpecialTokens, ignore_index: int) -> Counts:
    """Count the labels [s, k, t] that pad, end or begin a text, each [s, k, 1], where such ids are known."""
    known = {role: [one for one in getattr(specials, role) if one != ignore_index] for role in ROLES}
    return {
        role: torch.stack([(labels == one).sum(-1, keepdim=True) for one in ids]).sum(0)
        if len(ids) > 1
        else (labels == ids[0]).sum(-1, keepdim=True)
        for role, ids in known.items()
        if ids
    }


def of_inputs(labels: Tensor, inputs: Tensor, supervised: Tensor, ignore_index: int) -> Counts:
    """Hold the labels [s, k, rows] against the inputs [s, k, t] that their rows read, and the two after each.

    `equal` and `compared` are [s, k, 3]: how many supervised labels equal the input 0, 1 and 2 positions on, and how
    many have such an input.
    """
    rows, length = labels.shape[-1], inputs.shape[-1]
    # What lies beyond the end equals no supervised label.
    windows = pad(inputs, (0, OFFSETS - 1), value=ignore_index).unfold(-1, rows, 1)[..., :OFFSETS, :]
    equal = ((labels.unsqueeze(-2) == windows) & supervised.unsqueeze(-2)).sum(-1)
    ends = [max(min(rows, length - offset), 0) for offset in range(OFFSETS)]
    compared = torch.cat([supervised[..., :end].sum(-1, keepdim=True) for end in ends], -1)
    return {"start": inputs[..., :3], "equal": equal, "compared": compared}
