"""What torch's own profiler saw of a call: operations and allocations, whatever modes the callee switches off."""

import warnings
from collections.abc import Callable
from typing import Any

from torch.profiler import ProfilerActivity, profile


def profiled(run: Callable[[], object]) -> list[Any]:
    """Give the events on the host, in order; a `[memory]` event is an allocation, or a freeing where it is negative."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Warning: Profiler clears events")  # of torch 2.11, at each start
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            kept = run()
    del kept  # until here, so that nothing it holds counts as freed
    assert profiler.profiler is not None
    assert profiler.profiler.kineto_results is not None
    return list(profiler.profiler.kineto_results.events())


def operations(run: Callable[[], object]) -> int:
    """Count the operations of torch that a call runs, views included, and those within others."""
    return sum(event.name().startswith("aten::") for event in profiled(run))
