"""Where the rows of a batch belong in whole samples, if the Trainer splits these over processes by itself.

Context parallelism is torch's: a process has a piece from the front of each sample and one from its back, or one piece
if the load is not balanced. Sequence parallelism is DeepSpeed's Ulysses: one piece. All pieces are equally long, since
attention across processes works with no others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from predlog._runtime.failure import located, own_failure

UNKNOWN = (
    "the Trainer splits the rows of samples over processes, and how isn't known ({}), so nothing is recorded: pass"
    " 'row_index' in the batch, the position of each label in its whole sample, split as the labels are"
)


@dataclass(frozen=True, slots=True)
class SplitRows:
    """Which of so `many` pieces of each sample this process has, and the `group` of ranks that have all pieces.

    `is_balanced` is whether a piece is one from the front and one from the back. While batches are split for context
    parallelism, torch's attention is another function than the `usual` one; None where that does not tell.
    """

    place: int
    many: int
    group: Any
    is_balanced: bool
    usual: Any = None

    def has_split(self, given: Mapping[str, Any]) -> bool:
        """Return whether a batch is split that a model was called with: some evaluations get whole ones.

        Of what is split the labels were shifted before, by the Trainer or the loader.
        """
        is_entered = self.usual is None or functional.scaled_dot_product_attention is not self.usual
        return is_entered and given.get("shift_labels") is not None

    def arguments(self, labels: Tensor, own: object, *, is_part: bool) -> dict[str, Any]:
        """Return what `compare` takes of labels [b, t], whose `row_index` may be the program's `own`.

        If the logits are a part otherwise, their own mesh says which ranks have the others.
        """
        found: dict[str, Any] = {} if is_part else {"group": self.group}
        if own is not None:
            return found
        length, device = labels.shape[-1], labels.device
        if self.is_balanced and length % 2 == 0:  # what can't be cut into two pieces per process is not balanced
            half = length // 2
            starts = self.place * half, (2 * self.many - 1 - self.place) * half
            index = torch.cat([torch.arange(start, start + half, device=device) for start in starts])
        else:
            index = torch.arange(self.place * length, (self.place + 1) * length, device=device)
        return {**found, "row_index": index, "row_count": length * self.many}


def split_rows(trainer: Any, loader: Any) -> SplitRows | str | None:
    """Return how a trainer splits samples, before its first step; None if it does not, and why if that isn't known.

    `loader` is what it takes batches from.
    """
    accelerator = getattr(trainer, "accelerator", None)
    config = getattr(accelerator, "parallelism_config", None)
    try:
        if getattr(config, "cp_size", None) not in (None, 1):
            return _of_context(accelerator, config)
        if getattr(config, "sp_size", None) not in (None, 1):
            return _of_sequence(loader)
    except own_failure(Exception) as error:  # of other releases of accelerate and torch
        return UNKNOWN.format(located(error))
    return None


def _of_context(accelerator: Any, config: Any) -> SplitRows | str:
    if (backend := getattr(config, "cp_backend", "torch")) != "torch":
        return UNKNOWN.format(f"cp_backend={backend!r}")
    mesh = accelerator.torch_device_mesh["cp"]
    place, many = mesh.get_local_rank(), mesh.size()
    # Split as batches are, which no process waits for, and now, while no work waits on the device.
    index, usual = torch.arange(2 * many), functional.scaled_dot_product_attention
    with accelerator.maybe_context_parallel(buffers=[index], buffer_seq_dims=[0], no_restore_buffers={index}):
        own, entered = index.tolist(), functional.scaled_dot_product_attention
    balanced = [place, 2 * many - 1 - place]
    if own not in (balanced, [2 * place, 2 * place + 1]):
        return UNKNOWN.format(f"of {2 * many} rows, process {place} of {many} has {own}")
    return SplitRows(place, many, mesh, own == balanced, None if entered is usual else usual)


def _of_sequence(loader: Any) -> SplitRows | str:
    place, many, group = (getattr(loader, name, None) for name in ("sp_rank", "sp_world_size", "sp_group"))
    if not isinstance(place, int) or not isinstance(many, int):
        return UNKNOWN.format(f"a {type(loader).__name__} does not say which piece it gives")
    return SplitRows(place, many, group, is_balanced=False)
