"""Run training programs one after the other in this process, and keep what their models saw and came to.

`python -m tests.integrations.watched PROGRAM...`, under torchrun. Each program runs in its own folder, where
`seen-rank<n>.pt` is left: every pair [logits, labels, inputs] of a model that gets labels, in their order, the
weights at the end, and how many collectives the program has made. Nothing of predlog's is used.

The processes have one group for all programs, since the launcher's store can't be used for a second one.
"""

import os
import runpy
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn


def watch(program: Path) -> None:
    """Run one program to its end."""
    os.chdir(program.parent)
    pairs: list[list[Tensor]] = []
    models: list[Any] = []

    def call(model: Any, *arguments: Any, **given: Any) -> Any:
        output = module_call(model, *arguments, **given)
        if "ForCausalLM" in type(model).__name__:
            models[:] = [model]
        if models and models[0] is model and "labels" in given:
            pairs.append([one.detach().clone() for one in (output.logits, given["labels"], given["input_ids"])])
        return output

    before, environment = made(), dict(os.environ)
    module_call = nn.Module.__call__
    nn.Module.__call__ = call  # type: ignore[method-assign]  # a hook for all modules gets no keyword arguments in torch 2.4
    names = runpy.run_path(str(program), run_name="__main__")
    nn.Module.__call__ = module_call  # type: ignore[method-assign]
    forget()
    os.environ.clear()  # the Trainer tells Accelerate what to do by variables
    os.environ.update(environment)
    left = {"pairs": pairs, "collectives": made() - before, "weights": weights(models[0] if models else names["model"])}
    torch.save(left, f"seen-rank{distributed.get_rank()}.pt")


def forget() -> None:
    """Let a program that uses Accelerate find it as new: it keeps its settings for the process."""
    if (accelerate := sys.modules.get("accelerate")) is not None:
        accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
        accelerate.state.GradientState._reset_state()


def made() -> int:
    """Return how many collectives this process has made, in all groups."""
    # The backend is named, because a group of two backends, which is the default, can't be asked before torch 2.5.
    cpu = torch.device("cpu")
    groups: list[Any] = list(distributed.distributed_c10d._world.pg_map)
    return sum(group._get_backend(cpu)._get_sequence_number_for_group() for group in groups)


def weights(model: Any) -> dict[str, Tensor]:
    """Return a model's whole weights; where they are in shards, that is a collective."""
    found = {name: one.detach() for name, one in model.state_dict().items() if isinstance(one, Tensor)}
    return {name: one.full_tensor() if hasattr(one, "full_tensor") else one.clone() for name, one in found.items()}


def main(programs: list[str]) -> None:
    """Run all of them, and let none make or end the group."""
    distributed.init_process_group()
    end = distributed.destroy_process_group
    for name in ("init_process_group", "destroy_process_group"):
        setattr(distributed, name, lambda *_arguments, **_names: None)
    for program in programs:
        watch(Path(program))
    end()


if __name__ == "__main__":
    main(sys.argv[1:])
