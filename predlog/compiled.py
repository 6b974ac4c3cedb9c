"""What torch.compile has to do with a module, asked without importing its compiler."""

import sys

from torch import nn


def has_compiled_parts(module: nn.Module) -> bool:
    """Say whether a module or one inside of it is compiled."""
    dynamo = sys.modules.get("torch._dynamo.eval_frame")
    kind = getattr(dynamo, "OptimizedModule", ())
    return any(
        isinstance(one, kind) or getattr(one, "_compiled_call_impl", None) is not None for one in module.modules()
    )


def count() -> int:
    """Count the graphs that were compiled so far in this process."""
    counters = getattr(sys.modules.get("torch._dynamo.utils"), "counters", None)
    return 0 if counters is None else counters["stats"]["unique_graphs"]
