"""Calls of `compare` that no training loop would make, and a decoder, a processor and a sink that raise."""

import itertools
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from structlog.typing import EventDict
from torch import Tensor

from predlog import Recorder

DTYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.complex64, torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.uint16, torch.uint32, torch.uint64,
]  # fmt: skip
if hasattr(torch, "float8_e8m0fnu"):  # since torch 2.7
    DTYPES.append(torch.float8_e8m0fnu)
sizes = st.lists(st.sampled_from([0, 1, 2, 3, 5, 8]), max_size=5)


def tensor(shape: list[int], dtype: torch.dtype, kind: str, fill: float) -> Any:  # noqa: PLR0911 - one a kind
    made = torch.full(shape, fill)
    if kind == "meta":
        return torch.empty(shape, dtype=dtype, device="meta")
    made = made.to(dtype)
    if kind == "sparse" and dtype in {torch.float32, torch.bfloat16, torch.int64, torch.complex64}:
        return made.to_sparse()
    if kind == "grad" and (dtype.is_floating_point and dtype.itemsize > 1):
        return made.requires_grad_()
    if kind == "graph" and (dtype.is_floating_point and dtype.itemsize > 1):
        return made.requires_grad_() * 1
    if kind == "strided" and made.ndim > 1:
        return made.transpose(0, -1)
    if kind == "inference":
        with torch.inference_mode():
            return made.clone()
    return made


tensors = st.builds(
    tensor,
    sizes,
    st.sampled_from(DTYPES),
    st.sampled_from(["plain", "plain", "meta", "sparse", "grad", "graph", "strided", "inference"]),
    st.sampled_from([0.0, 1.0, 2.0, -100.0, float("nan"), float("inf"), -float("inf"), 1e30]),
)
fitting = st.builds(
    lambda b, t, v, dtype, fill: (tensor([b, t, v], dtype, "graph", fill), torch.arange(b * t).view(b, t) % max(v, 1)),
    st.integers(1, 3), st.integers(1, 6), st.integers(1, 9), st.sampled_from(DTYPES),
    st.sampled_from([0.0, 1.0, float("nan")]),
)  # fmt: skip
odd = st.sampled_from(
    [None, "text", b"bytes", 3, -1, 2**70, 0.5, float("nan"), [], [[1, 2]], {}, (), object(),
     np.arange(6).reshape(2, 3), np.array("text"), np.array([object()]), np.float32(3), torch.tensor(3), Exception,
     lambda: None]
)  # fmt: skip
anything = odd | tensors
calls = st.fixed_dictionaries(
    {"pair": fitting | st.tuples(anything, anything), "step": st.just(0) | st.integers(0, 20) | odd},
    optional={
        "stream": st.sampled_from(["text", "audio", ""]) | odd,
        "layout": st.sampled_from(
            ["b t v, b t", "b v t, b t", "t k v, k t", "(b k) t v, b t k", "b t (k v), b t k", "x"]
        )
        | odd,
        "shift": st.integers(-2, 9) | odd,
        "inputs": anything,
        "ignore_index": st.sampled_from([-100, -1, 0, 2]) | odd,
        "loss": odd | tensors,
    },
)


def exploding_decoder(token: int) -> str:
    if token % 2:
        raise RuntimeError("decoder")
    return "\ud800"


_events = itertools.count()


def exploding_processor(_logger: Any, _name: str, event: EventDict) -> EventDict:
    if next(_events) % 5 == 0:
        raise RuntimeError("processor")
    return event


def exploding_sink(_logger: Any, _name: str, event: EventDict) -> EventDict:
    raise OSError("sink")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one call left behind: how many tensors it changed, how many live on, and whether the pair was captured."""

    changed: int
    kept: int
    captured: bool


def make(recorder: Recorder, given: dict[str, Any], number: int) -> Outcome:
    """Make the call that `calls` drew, as the `number`th."""
    (logits, labels), step = given["pair"], given["step"]
    how = {key: value for key, value in given.items() if key not in {"pair", "step"}}
    # Each step of a stream is recorded once, so every call starts a new one where it can.
    stream = how.pop("stream", "text")
    if type(stream) is str:
        stream += str(number)
    # Copies, because hypothesis keeps what it has drawn: what is left of them after the call, predlog has kept.
    handed = {"logits": logits, "labels": labels, **how}
    handed = {name: one.clone() if isinstance(one, Tensor) else one for name, one in handed.items()}
    tensors = [one for one in handed.values() if isinstance(one, Tensor)]
    references = [weakref.ref(one) for one in tensors]
    before = [fingerprint(one) for one in tensors]
    captured = recorder.compare(step=step, stream=stream, **handed) is not None
    changed = sum(fingerprint(one) != was for one, was in zip(tensors, before, strict=True))
    del handed, tensors
    return Outcome(changed, sum(reference() is not None for reference in references), captured)


def fingerprint(one: Tensor) -> tuple[Any, ...]:
    version = None if one.is_inference() else one._version
    if one.is_meta or one.layout != torch.strided or not one.numel():
        return (version, one.shape)
    data = one.detach().flatten().clone().view(torch.uint8)
    return (version, one.shape, one.stride(), one.requires_grad, bytes(data.tolist()))
