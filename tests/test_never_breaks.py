"""Whatever is handed to `compare`, the training loop goes on: nothing is raised, changed or kept."""

import gc
import itertools
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.typing import EventDict
from torch import Tensor

from predlog import PredlogError, Recorder
from tests import events

DTYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.float8_e8m0fnu, torch.complex64, torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.uint16, torch.uint32, torch.uint64,
]  # fmt: skip
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


class _CountsItsCalls:
    calls = 0


def test_ten_thousand_calls_of_nonsense(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """10,000 calls with anything, a decoder, a processor and a sink that raise: nothing raised, changed or kept."""
    counter = _CountsItsCalls()
    recorder = Recorder(
        tmp_path, every=1, decode=exploding_decoder, processors=[exploding_processor], queue=10**5,
        sinks=[exploding_sink], console=False,
    )  # fmt: skip

    @settings(max_examples=10_000, database=None, suppress_health_check=list(HealthCheck))
    @given(calls)
    def call(given: dict[str, Any]) -> None:
        counter.calls += 1
        (logits, labels), step = given["pair"], given["step"]
        how = {key: value for key, value in given.items() if key not in {"pair", "step"}}
        # Each step of a stream is recorded once, so every call starts a new one where it can.
        stream = how.pop("stream", "text")
        if type(stream) is str:
            stream += str(counter.calls)
        # Copies, because hypothesis keeps what it has drawn: what is left of them after the call, predlog has kept.
        handed = {"logits": logits, "labels": labels, **how}
        handed = {name: one.clone() if isinstance(one, Tensor) else one for name, one in handed.items()}
        tensors = [one for one in handed.values() if isinstance(one, Tensor)]
        references = [weakref.ref(one) for one in tensors]
        before = [fingerprint(one) for one in tensors]
        recorder.compare(step=step, stream=stream, **handed)
        assert [fingerprint(one) for one in tensors] == before
        del handed, tensors
        assert [reference() for reference in references] == [None] * len(references)

    call()
    assert counter.calls >= 10_000
    assert recorder.close(60)
    stats = recorder.stats()
    assert stats["pending"] == 0
    # Nonsense must not be all: pairs that can be captured meet the broken decoder, processor and sink.
    assert stats["sinks"]["exploding_sink"]["failed"] == stats["sinks"]["exploding_sink"]["submitted"] > 500
    assert 0 < stats["failed"] < stats["submitted"] == stats["failed"] + stats["written"]
    lines = capfd.readouterr().err.splitlines()
    assert 3 <= len(lines) <= 40
    assert all(line.startswith("predlog: ") for line in lines)
    assert any("exploding_sink failed: OSError: sink" in line for line in lines)
    assert any("decode(" in line for line in lines)


def fingerprint(one: Tensor) -> tuple[Any, ...]:
    version = None if one.is_inference() else one._version
    if one.is_meta or one.layout != torch.strided or not one.numel():
        return (version, one.shape)
    data = one.detach().flatten().clone().view(torch.uint8)
    return (version, one.shape, one.stride(), one.requires_grad, bytes(data.tolist()))


@pytest.mark.parametrize("how", [{}, {"shift": 99}, {"layout": "b v t, b t"}, {"layout": "nonsense"}, {"inputs": 7}])
def test_no_tensor_is_kept_alive(tmp_path: Path, how: dict[str, Any]) -> None:
    """Once the caller lets go, logits, labels and their graph are freed at once, recorded or refused."""
    recorder = Recorder(tmp_path, every=1, console=False)
    gc.collect()
    gc.disable()
    try:
        for step in range(3):
            weight = torch.randn(40, 50, requires_grad=True)
            logits, labels = torch.randn(2, 20, 40) @ weight, torch.randint(50, (2, 20))
            inputs = labels.clone()
            # The graph of `logits` holds `weight`, so if the weight goes, the graph has gone.
            references = [weakref.ref(one) for one in (weight, logits, labels, inputs)]
            future = recorder.compare(logits, labels, step, **{"inputs": inputs, **how})
            del weight, logits, labels, inputs
            assert [reference() is None for reference in references] == [True] * 4
            assert (future is None) == bool(how)
    finally:
        gc.enable()
    assert recorder.close()


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        (
            (torch.zeros(0, 8, 9), torch.zeros(0, 8).long()),
            "logits [0, 8, 9] and labels [0, 8] hold nothing to compare",
        ),
        ((torch.zeros(2, 8, 9), torch.zeros(2, 7).long()), "logits [2, 8, 9] and labels [2, 7]"),
        ((torch.zeros(2, 8, 9), torch.zeros(2, 8)), "labels [2, 8] are torch.float32: token ids must be integers"),
        ((None, None), "logits are a NoneType: pass a torch tensor"),
    ],
)
def test_what_was_wrong_is_said_in_one_line(
    capfd: pytest.CaptureFixture[str], pair: tuple[Any, Any], says: str
) -> None:
    """A pair that is refused is a finding, said once: where there is no sink at all, on stderr."""
    with Recorder(every=1, console=False) as recorder:
        for step in range(50):
            assert recorder.compare(*pair, step) is None
    line, summary = capfd.readouterr().err.splitlines()
    assert ", step 0: text: " in line
    assert says in line
    assert "1 finding stands: " in summary
    assert "(text, since step 0)" in summary


def test_strict_raises_at_once(tmp_path: Path) -> None:
    """With strict=True a refused pair raises PredlogError in the caller."""
    with (
        Recorder(tmp_path, every=1, console=False, strict=True) as recorder,
        pytest.raises(PredlogError, match="empty"),
    ):
        recorder.compare(torch.zeros(0, 8, 9), torch.zeros(0, 8, dtype=torch.long), 0)


def test_an_interrupt_passes(tmp_path: Path) -> None:
    """Ctrl-C during `compare` is the user's, not an error of ours."""

    class Interrupted:
        def __dlpack__(self, **_how: Any) -> Any:
            raise AssertionError("asked for the device first")

        def __dlpack_device__(self) -> Any:
            raise KeyboardInterrupt

    with Recorder(tmp_path, every=1, console=False) as recorder, pytest.raises(KeyboardInterrupt):
        recorder.compare(Interrupted(), Interrupted(), 0)


def test_a_negative_stride_does_not_end_the_process(tmp_path: Path) -> None:
    """torch 2.13 aborts on a DLPack capsule with negative strides; a reversed array must not get that far."""
    code = (
        "import numpy, predlog\n"
        "predlog.configure(every=1, console=False)\n"
        "reversed = numpy.random.rand(2, 5, 9).astype('float32')[:, ::-1]\n"
        "labels = numpy.arange(10).reshape(2, 5)[:, ::-1] % 9\n"
        "class Wrapped:\n"
        "    def __array__(self): return reversed\n"
        "print(len(predlog.compare(reversed, labels, 0).result(10)))\n"
        "print(len(predlog.compare(Wrapped(), labels, 1).result(10)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n2\n", "")


def test_training_is_bitwise_the_same(tmp_path: Path) -> None:
    """Weights after training with predlog at every step are the weights after training without it."""

    def train(recorder: Recorder | None) -> list[Tensor]:
        torch.manual_seed(3)
        model = torch.nn.Sequential(torch.nn.Embedding(50, 16), torch.nn.Dropout(0.1), torch.nn.Linear(16, 50))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        for step in range(20):
            _, labels = events.pair(step)
            logits = model(labels.clamp(0))
            if recorder:
                recorder.compare(logits, labels, step, shift=1, inputs=labels)
            loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return [parameter.detach() for parameter in model.parameters()]

    with Recorder(tmp_path, every=1, console=False, strict=True) as recorder:
        assert all(map(torch.equal, train(None), train(recorder)))
        assert recorder.stats()["submitted"] == 40
