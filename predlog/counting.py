"""Counts over all supervised positions of the samples shown, from labels and inputs alone.

They are what the findings are judged by. A fixed number of operations of fixed size that never wait for a value; no
logits are read here.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from predlog.specials import ROLES, SpecialTokens

# How many positions after the one that is read the input is held against the label: the same, the next, the one after.
OFFSETS = 3


def of_labels(
    labels: Tensor, supervised: Tensor, running: Tensor, vocabulary: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Give ids and counts, each [s, k, 1], of labels [s, k, t] with the running count of the supervised ones.

    `lowest` and `highest` count an ignored label as 0. `fingerprint` is a checksum of the labels and their order.
    """
    seen = labels * supervised
    lowest, highest = torch.aminmax(seen, dim=-1, keepdim=True)
    ids = {"lowest": lowest, "highest": highest, "fingerprint": (seen * running).sum(-1, keepdim=True)}
    return ids, {"out_of_range": (seen.clamp(0, vocabulary - 1) != seen).sum(-1, keepdim=True)}


def of_specials(labels: Tensor, specials: SpecialTokens, ignore_index: int) -> dict[str, Tensor]:
    """Count the labels [s, k, t] that pad, end or begin a text, each [s, k, 1], where such ids are known."""
    known = {role: [one for one in getattr(specials, role) if one != ignore_index] for role in ROLES}
    return {
        role: torch.stack([(labels == one).sum(-1, keepdim=True) for one in ids]).sum(0)
        if len(ids) > 1
        else (labels == ids[0]).sum(-1, keepdim=True)
        for role, ids in known.items()
        if ids
    }


def of_inputs(
    labels: Tensor, inputs: Tensor, supervised: Tensor, running: Tensor, ignore_index: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Hold the labels [s, k, rows] against the inputs [s, k, t] that their rows read, and the two after each.

    `equal` and `compared` are [s, k, 3]: how many supervised labels equal the input 0, 1 and 2 positions on, and how
    many have such an input.
    """
    rows, length = labels.shape[-1], inputs.shape[-1]
    # What lies beyond the end equals no supervised label.
    windows = pad(inputs, (0, OFFSETS - 1), value=ignore_index).unfold(-1, rows, 1)[..., :OFFSETS, :]
    equal = ((labels.unsqueeze(-2) == windows) & supervised.unsqueeze(-2)).sum(-1)
    ends = [min(rows, length - offset) for offset in range(OFFSETS)]
    compared = [running[..., end - 1 : end] if end > 0 else torch.zeros_like(running[..., :1]) for end in ends]
    places = torch.arange(1, length + 1, device=inputs.device)
    ids = {"start": inputs[..., :3], "read_sum": (inputs * places).sum(-1, keepdim=True)}
    return ids, {"equal": equal, "compared": torch.cat(compared, -1)}
