"""Forwards that leave no trace: modes, buffers, attributes of modules and random states are put back afterwards."""

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

# What torch itself keeps in a module. Parameters don't change without gradients; hooks are not a forward's to change.
_OF_TORCH: Final = frozenset(vars(nn.Module()))


@contextmanager
def untouched(*models: nn.Module) -> Iterator[None]:
    """Compute no gradients inside, and put back what forwards may have changed: in models, and of random numbers.

    It waits for no device: copies of buffers stay on theirs.
    """
    modules = list(dict.fromkeys(module for model in models for module in model.modules()))
    undo = [*_random_states(), *(step for module in modules for step in _of_module(module))]
    try:
        with torch.no_grad():
            yield
    finally:
        for step in undo:
            step()


def set_eval(*models: nn.Module) -> None:
    """Set evaluation mode, without calling `eval`: some modules merge weights in it."""
    for model in models:
        for module in model.modules():
            module.training = False


def _of_module(module: nn.Module) -> Iterator[Callable[[], object]]:
    """Yield what puts a module back, without those inside of it: its mode, its attributes and its buffers."""
    yield partial(setattr, module, "training", module.training)
    own = {name: value for name, value in vars(module).items() if name not in _OF_TORCH}
    yield partial(_put_back_attributes, module, own)
    yield from (partial(_put_back_value, value, _copied(value)) for value in own.values())
    buffers = dict(module.named_buffers(recurse=False))
    yield partial(_put_back_buffers, module, buffers)
    yield from (partial(_put_back_value, value, _copied(value)) for value in buffers.values())


def _put_back_attributes(module: nn.Module, own: dict[str, Any]) -> None:
    now = vars(module)
    for name in [name for name in now if name not in _OF_TORCH and name not in own]:
        del now[name]
    now.update(own)


def _put_back_buffers(module: nn.Module, buffers: dict[str, Tensor]) -> None:
    now = dict(module.named_buffers(recurse=False))
    for name in now.keys() - buffers.keys():
        delattr(module, name)
    for name, value in buffers.items():
        if now.get(name) is not value:
            setattr(module, name, value)


def _copied(value: Any) -> Any:
    """Return a copy of a value that can be changed in place, as deep as a forward is likely to change it."""
    if isinstance(value, Tensor) and not isinstance(value, nn.Parameter) and not value.is_meta:
        return value.detach().clone()
    return value.copy() if type(value) in {list, dict, set} else None


def _put_back_value(value: Any, copy: Any) -> None:
    if isinstance(copy, Tensor):
        # Through `data`, since autograd takes note of what is written through anything else, and a backward that needs
        # this buffer may still come.
        value.data.copy_(copy)
    elif isinstance(copy, list):
        value[:] = copy
    elif copy is not None and not _is_same(value, copy):
        value.clear()
        value.update(copy)


def _is_same(value: Any, copy: Any) -> bool:
    """Return whether sets or mappings have the same items; values are not compared, since these may be tensors."""
    if value.keys() != copy.keys() if isinstance(copy, dict) else value != copy:
        return False
    return not isinstance(copy, dict) or all(value[key] is one for key, one in copy.items())


def _random_states() -> Iterator[Callable[[], object]]:
    """Yield what puts back the random states of Python, NumPy, torch and its CUDA devices, as far as they are used."""
    yield partial(random.setstate, random.getstate())
    if (numpy := sys.modules.get("numpy")) is not None:
        yield partial(numpy.random.set_state, numpy.random.get_state())
    yield partial(torch.set_rng_state, torch.get_rng_state())
    if torch.cuda.is_initialized():
        yield partial(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())
