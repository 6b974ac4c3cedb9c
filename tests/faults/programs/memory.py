"""Compare pairs whose memory is not what they say, in forked processes, and tell which of these died.

One process compares pair after pair and says before each which it is; where it dies, the next one goes on behind it.
"""

import ctypes
import os
import random
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import torch
from torch import Tensor

from predlog import Projection, Rows
from predlog.recorder.recorder import Recorder
from tests.capture.test_dlpack import Capsule
from tests.faults.telling import asked, tell

_LOGITS, _LABELS, _LOGPROBS = torch.randn(1, 8, 16), torch.arange(8).view(1, 8), torch.full((1, 8), -1.0)
# Where a tensor of these shapes belongs in a pair: logits, hidden states, a head's weight, labels, inputs, predictions.
_PLACES: dict[str, tuple[Tensor, Callable[[Any], tuple[tuple[Any, Any], dict[str, Any]]]]] = {
    "logits": (_LOGITS, lambda one: ((one, _LABELS), {})),
    "parts": (_LOGITS[:, 4:], lambda one: (([_LOGITS[:, :4], one], _LABELS), {})),
    "hidden": (_LOGITS, lambda one: ((Projection(one, torch.randn(16, 16)), _LABELS), {})),
    "weight": (torch.randn(16, 16), lambda one: ((Projection(_LOGITS, one), _LABELS), {})),
    "labels": (_LABELS, lambda one: ((_LOGITS, one), {})),
    "inputs": (_LABELS, lambda one: ((_LOGITS, _LABELS), {"inputs": one})),
    "rows": (_LABELS, lambda one: ((Rows(one, _LOGPROBS, _LOGPROBS), _LABELS), {})),
}
_VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "whole": Tensor.clone,
    "behind others": lambda one: torch.cat([one.flatten()] * 2)[one.numel() :].view(one.shape),
    "strided": lambda one: torch.stack([one, one], -1)[..., 0],
    "transposed": lambda one: one.mT.clone(memory_format=torch.contiguous_format).mT,
    "expanded": lambda one: one[:1, :1, ...].clone().expand(one.shape),
}
_BUFFER = (ctypes.c_byte * (1 << 16))()
# What the fields of a capsule may hold, first what is right. There is memory before and behind the array.
_FIELDS: dict[str, tuple[Any, ...]] = {
    "shape": ((1, 8, 16), (1, 4, 16), (8, 16), (1, -8, 16), (0, 8, 16), (1, 8, 2**62), (2**40, 2**40, 16), ()),
    "strides": (None, (128, 16, 1), (0, 16, 1), (0, 0, 0), (0, -16, 1), (-128, 16, -1), (0, 2**62, 2**62)),
    "ndim": (3, 0, 2, -1, 65, 1000, 2**31 - 1), "code": (2, 0, 1, 4, 5, 99), "bits": (32, 0, 7, 8, 64, 255),
    "lanes": (1, 0, 4, 2**16 - 1), "device_type": (1, 2, 3, 14, 77, -1), "device_id": (0, -1, 2**31 - 1),
    "byte_offset": (0, 4, 1024), "data": (len(_BUFFER) // 2, 0),
}  # fmt: skip


def storages() -> Iterator[tuple[str, Callable[[], Any], bool | None]]:
    """Yield pairs of which a storage was cut to some of its bytes, and whether there are still enough."""
    for place, (tensor, pair) in _PLACES.items():
        for name, view in _VIEWS.items():
            whole = view(tensor)
            last = sum((many - 1) * stride for many, stride in zip(whole.shape, whole.stride(), strict=True))
            needed = int(whole.storage_offset() + last + 1) * whole.itemsize
            for left in (0, 1, needed // 2, needed - 1, needed, None):
                yield f"{place}, {name}, {left} of {needed}", _cut(tensor, pair, view, left), left in {needed, None}


def _cut(
    tensor: Tensor, pair: Callable[[Any], Any], view: Callable[[Tensor], Tensor], left: int | None
) -> Callable[[], Any]:
    def made() -> Any:
        one = view(tensor)
        if left is not None:
            one.untyped_storage().resize_(left)
        return pair(one)

    return made


def capsules(many: int) -> Iterator[tuple[str, Callable[[], Any], bool | None]]:
    """Yield capsules of which up to three fields hold something else, which may be right as well."""
    chance = random.Random(1)
    for _ in range(many):
        others = {name: chance.choice(_FIELDS[name]) for name in chance.sample([*_FIELDS], chance.randrange(4))}
        is_usual = all(value == _FIELDS[name][0] for name, value in others.items())
        yield f"capsule {others}", _made(others), True if is_usual else None


def _made(others: dict[str, Any]) -> Callable[[], Any]:
    place = others.get("data", len(_BUFFER) // 2)
    shape = others.get("shape", (1, 8, 16))
    # As many strides as sizes, as a capsule has; `ndim` alone may say otherwise.
    strides = others.get("strides") if len(shape) == 3 else None
    fields = {**others, "shape": shape, "strides": strides, "data": place and ctypes.addressof(_BUFFER) + place}
    return lambda: ((Capsule(**{"ndim": len(shape), **fields}), _LABELS), {})


def main(many: int) -> None:
    """Compare all pairs; tell which ended the process, and which were not refused or recorded as they should be."""
    cases = [*storages(), *capsules(many)]
    dead, wrong, outcomes, at = [], [], [0, 0], 0
    while at < len(cases):
        reader, writer = os.pipe()
        if not os.fork():
            _compare(cases[at:], writer)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            told = pipe.read()
        status = os.wait()[1]
        for (name, _, expected), outcome in zip(cases[at:], told, strict=False):
            outcomes[outcome] += 1
            if expected is not None and outcome != expected:
                wrong.append(f"{name}: {'recorded' if outcome else 'refused'}")
        at += len(told)
        if at < len(cases):
            dead.append(f"{cases[at][0]}: status {status}")
            at += 1
    tell("done", cases=len(cases), dead=dead, wrong=wrong, refused=outcomes[0], recorded=outcomes[1])


def _compare(cases: list[tuple[str, Callable[[], Any], bool | None]], writer: int) -> None:
    sys.stderr = StringIO()
    recorder = Recorder(every=1, console=False, sinks=[lambda *given: given[2]])
    for step, (_, make, _) in enumerate(cases):
        (logits, labels), how = make()
        future = recorder.compare(logits, labels, step, **how)
        recorder._worker.flush(30)
        is_recorded = future is not None and future.exception(30) is None and len(future.result(0)) > 0
        os.write(writer, bytes([is_recorded]))
    os._exit(0)


if __name__ == "__main__":
    main(**asked())
