"""Whatever surrounds the call, it records the same, or returns at once; and nothing of the pair is kept."""

import gc
import importlib.util
import pkgutil
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from structlog.typing import EventDict
from torch import Tensor
from torch import _inductor as inductor
from torch._dynamo.testing import CompileCounterWithBackend
from torch._dynamo.utils import counters
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode, _get_current_function_mode
from torch.utils import checkpoint as checkpointing
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import predlog
from predlog import Comparison, Recorder
from predlog._runtime import torch_state
from predlog._runtime.notices import Notices
from tests import events, fresh
from tests.sizes import sizes

STEPS = 50
Compare = Callable[..., Future[tuple[Comparison, ...]] | None]
How = dict[str, Any]


def shown(future: Future[tuple[Comparison, ...]] | None) -> list[How]:
    """Return what was recorded, without what any two recorders differ in."""
    assert future is not None
    records = [msgspec.structs.asdict(one) for one in future.result(10)]
    assert records
    passing = {"timestamp", "run", "recorder", "seq", "step"}
    return [{key: one[key] for key in one if key not in passing} for one in records]


def by_itself(logits: Tensor, labels: Tensor, **how: Any) -> list[How]:
    """Return what is recorded of a pair outside of any surrounding, in a recorder of its own."""
    with torch.no_grad():
        logits, labels = logits.detach().clone(), labels.clone()
    with Recorder(every=1, console=False, strict=True) as recorder:
        return shown(recorder.compare(logits, labels, 0, **how))


def nothing(*_arguments: Any, **_how: Any) -> None:
    """Stand in for `compare`, to see what a program does without it."""


def assert_said_once(text: str) -> None:
    """Allow one line of predlog's own; an error of torch's, caught by luck, is no way to leave something alone."""
    lines = text.splitlines()
    assert len(lines) <= 1
    assert not [line for line in lines if "Error: " in line or "Warning: " in line]


# Compiled callers


@contextmanager
def comparing(how: str, every: int) -> Iterator[tuple[Compare, Recorder]]:
    """Return `recorder.compare` or `predlog.compare`, and the recorder behind it."""
    if how == "predlog":
        recorder = predlog.configure(every=every, console=False)
        yield predlog.compare, recorder
        predlog.close()
        return
    with Recorder(every=every, console=False) as recorder:
        yield recorder.compare, recorder


def trained(compare: Compare, backend: str, between: Callable[[int], object] = nothing, **how: Any) -> dict[str, Any]:
    """Train with a compiled step that calls `compare`; give the losses, the weights, and what was compiled."""
    torch._dynamo.reset()
    counters.clear()
    counter = CompileCounterWithBackend(backend)
    generator = torch.Generator().manual_seed(3)
    embedding = torch.randn(30, 8, generator=generator).requires_grad_()
    head = torch.randn(8, 30, generator=generator).requires_grad_()

    def loss_of(ids: Tensor, step: int, lr: float) -> Tensor:
        logits = torch.tanh(embedding[ids]) @ head
        compare(logits, ids, step, shift=1, inputs=ids, lr=lr)
        return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())

    compiled = torch.compile(loss_of, backend=counter, fullgraph=True, **how)
    losses = []
    for step in range(STEPS):
        lr = 0.5 / (1 + step)
        loss = compiled(torch.randint(30, (2, 12), generator=generator), step, lr)
        for weight, gradient in zip((embedding, head), torch.autograd.grad(loss, (embedding, head)), strict=True):
            weight.data -= lr * gradient
        losses.append(loss.item())
        between(step)
    return {
        "losses": losses,
        "weights": [embedding.tolist(), head.tolist()],
        "compiled": (counter.frame_count, counter.op_count, [str(graph.graph) for graph in counter.graphs]),
        "graphs": counters["stats"]["unique_graphs"],
        "breaks": dict(counters["graph_break"]),
    }


@pytest.mark.parametrize("every", [1, 10])
@pytest.mark.parametrize("how", ["recorder", "predlog"])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_caller_is_compiled_as_without(
    capfd: pytest.CaptureFixture[str], backend: str, how: str, every: int
) -> None:
    """A compiled step that calls compare is the same graph, compiled as often, with bitwise the same results."""
    with comparing(how, every) as (compare, recorder):
        found = trained(compare, backend)
        assert recorder.stats()["submitted"] == 0
    expected = trained(nothing, backend)
    assert found == expected
    assert found["compiled"][0] == found["graphs"] == 1
    assert_said_once(events.said(capfd))


@pytest.mark.parametrize("how", ["recorder", "predlog"])
@pytest.mark.parametrize("dynamic", [False, True])
def test_a_compiled_caller_of_fixed_or_free_sizes(how: str, dynamic: bool) -> None:
    """Where each int is a constant to the compiler, or none is, the step is no reason to compile again either."""
    with comparing(how, 10) as (compare, _):
        assert trained(compare, "eager", dynamic=dynamic) == trained(nothing, "eager", dynamic=dynamic)


def test_a_new_default_recorder_is_no_reason_to_compile_again() -> None:
    """Whoever configures predlog anew between two compiled steps has the same graph after it."""

    def between(step: int) -> None:
        if step % 10 == 5:
            predlog.configure(every=1 + step, console=False)

    with comparing("predlog", 10):
        assert trained(predlog.compare, "eager", between) == trained(nothing, "eager")


# The "lite" mode does all that inductor does but for generating kernels, so nothing waits for a C++ compiler. Old
# releases of torch do not have it, and wait.
@pytest.mark.parametrize("mode", sizes(core="lite", slow="default"))
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning", "ignore:Skipping serialization")  # torch's own
def test_inductor_compiles_a_caller_as_without(capfd: pytest.CaptureFixture[str], mode: str) -> None:
    """What holds for the quick backends holds for the one that people train with."""
    options = inductor.config.patch(inductor.list_mode_options().get(mode, {}))
    with options, comparing("recorder", 10) as (compare, recorder):
        assert trained(compare, "inductor") == trained(nothing, "inductor")
        assert recorder.stats()["submitted"] == 0
    assert_said_once(events.said(capfd))


def test_an_exported_caller_is_exported_as_without() -> None:
    """`torch.export` of a module that calls compare gives the graph that it gives without."""

    class Model(torch.nn.Module):
        def __init__(self, compare: Compare) -> None:
            super().__init__()
            self.compare = compare

        def forward(self, logits: Tensor) -> Tensor:
            self.compare(logits, torch.zeros(logits.shape[:2]).long(), 0)
            return logits * 2

    with Recorder(every=1, console=False, strict=True) as recorder:
        for strict in (True, False):
            graphs = [
                torch.export.export(Model(compare), (torch.randn(2, 5, 9),), strict=strict).graph
                for compare in (recorder.compare, nothing)
            ]
            assert str(graphs[0]) == str(graphs[1])
        assert recorder.stats()["submitted"] == 0


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_what_a_compiled_model_gives_is_recorded(backend: str) -> None:
    """Around a compiled model, compare records each step as around any other."""
    torch._dynamo.reset()
    model = torch.nn.Sequential(torch.nn.Embedding(50, 8), torch.nn.Linear(8, 50))
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    with Recorder(every=1, console=False, strict=True) as recorder:
        for step in range(5):
            _, labels = events.pair(step)
            inputs = labels.clamp(0)
            logits = compiled(inputs)
            future = recorder.compare(logits, labels, step, shift=1, inputs=inputs)
            logits.sum().backward()
            assert shown(future) == by_itself(logits, labels, shift=1, inputs=inputs)


# Modes of torch


@contextmanager
def default_dtype() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device() -> Iterator[None]:
    with torch.device("meta"):  # as `set_default_device`, which torch 2.4 to 2.9 can't undo as a whole
        yield


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def anomalies() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that this is slow
        with torch.autograd.detect_anomaly():
            yield


@contextmanager
def saved_elsewhere() -> Iterator[None]:
    def refuse(_saved: Any) -> Any:
        raise AssertionError("compare saves nothing for a backward pass")

    with torch.autograd.graph.saved_tensors_hooks(refuse, refuse):
        yield


class Passing(TorchDispatchMode):
    """A user's mode that sees each operation and lets it through."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **kwargs or {})


SURROUNDINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no_grad": torch.no_grad,
    "enable_grad": torch.enable_grad,
    "inference_mode": torch.inference_mode,
    "autocast": partial(torch.autocast, "cpu", torch.bfloat16),
    "default dtype": default_dtype,
    "default device": default_device,
    "deterministic": deterministic,
    "anomalies": anomalies,
    "saved tensors": saved_elsewhere,
    "dispatch mode": Passing,
    "flop counter": partial(FlopCounterMode, display=False),
}
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", SURROUNDINGS)
def test_a_surrounding_changes_nothing(name: str, dtype: torch.dtype) -> None:
    """In any mode that people train in, a pair is recorded as it is outside, and comes out as it went in."""
    made, labels = events.pair(vocabulary=700)
    leaf = made.to(dtype).requires_grad_()
    logits = leaf * 1
    how: How = {"shift": 1, "inputs": labels.clamp(0)}
    expected = by_itself(logits, labels, **how)
    with Recorder(every=1, console=False, strict=True) as recorder:
        for step in range(3):
            with SURROUNDINGS[name]():
                future = recorder.compare(logits, labels, step, **how)
                assert shown(future) == expected  # the worker's part too is done in the surrounding
            assert shown(recorder.compare(logits, labels, step, stream="outside", **how)) == [
                {**one, "stream": "outside"} for one in expected
            ]
    (gradient,) = torch.autograd.grad(logits.sum(), leaf)
    assert torch.equal(gradient, torch.ones_like(leaf))


def test_autocast_around_model_and_compare() -> None:
    """Logits that autocast made bfloat16 are recorded in autocast as out of it, and the weights' gradients stay."""

    def trained_in_autocast(compare: Compare) -> list[Tensor]:
        torch.manual_seed(3)
        model = torch.nn.Sequential(torch.nn.Embedding(50, 16), torch.nn.Linear(16, 50))
        for step in range(5):
            _, labels = events.pair(step)
            inputs = labels.clamp(0)
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(inputs)
                assert logits.dtype == torch.bfloat16
                if (future := compare(logits, labels, step, shift=1, inputs=inputs)) is not None:
                    recorded.append((shown(future), by_itself(logits, labels, shift=1, inputs=inputs)))
                loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
            loss.backward()
        return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]

    recorded: list[tuple[list[How], list[How]]] = []
    with Recorder(every=1, console=False, strict=True) as recorder:
        found = trained_in_autocast(recorder.compare)
    assert len(recorded) == 5
    assert all(one == other for one, other in recorded)
    assert all(map(torch.equal, found, trained_in_autocast(nothing)))


MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "training": nullcontext,
    "inference": torch.inference_mode,
    "no grad": torch.no_grad,
}


def alternate(*order: str) -> None:
    """Record pairs of each dtype in one mode after the other, and hold them against what is recorded by itself."""
    for dtype in DTYPES:
        with Recorder(every=1, console=False, strict=True) as recorder:
            for step, mode in enumerate(order):
                with MODES[mode]():
                    made, labels = events.pair(step, vocabulary=700)
                    logits = made.to(dtype).requires_grad_(mode == "training") * 1
                    assert logits.requires_grad == (mode == "training")
                    assert logits.is_inference() == (mode == "inference")
                    future = recorder.compare(logits, labels, step, shift=1)
                # A tensor that inference mode made may be handed over outside of it, too.
                later = recorder.compare(logits, labels, step, shift=1, stream="later")
                expected = by_itself(logits, labels, shift=1)
                assert shown(future) == expected
                assert shown(later) == [{**one, "stream": "later"} for one in expected]


@pytest.mark.parametrize("order", [
    pytest.param(["training", "inference", "training", "no grad", "inference", "training"], marks=pytest.mark.slow),
    ["inference", "training", "inference", "no grad", "training"],
], ids=lambda order: order[0])  # fmt: skip
def test_training_and_evaluation_alternate(order: Sequence[str]) -> None:
    """One recorder serves inference mode, no_grad and training in turn: what one left behind works in the next."""
    # In a process of its own, because what is left behind may be left to all recorders of a process.
    done = fresh.run(f"from tests._runtime.test_torch_state import alternate\nalternate(*{order})")
    assert (done.returncode, done.stdout, fresh.said(done.stderr)) == (0, "", [])


# Checkpointed regions

ATEN = torch.ops.aten
POLICY: Any = getattr(checkpointing, "CheckpointPolicy", None)  # since torch 2.5
SAVED = {ATEN.gather.default, ATEN.sum.dim_IntList, ATEN.amax.default, ATEN.addmm.default, ATEN.add.Tensor}


def policy(_context: Any, operation: Any, *_arguments: Any, **_how: Any) -> Any:
    return POLICY.MUST_SAVE if operation in SAVED else POLICY.PREFER_RECOMPUTE


CHECKPOINTS: dict[str, How] = {
    "not reentrant": {"use_reentrant": False},
    "reentrant": {"use_reentrant": True},
}
if POLICY is not None:
    CHECKPOINTS["selective"] = {
        "use_reentrant": False,
        "context_fn": partial(checkpointing.create_selective_checkpoint_contexts, policy),
    }


@pytest.mark.parametrize("name", CHECKPOINTS)
@pytest.mark.parametrize("every", [1, 3])
def test_a_checkpointed_region_is_recorded_once(name: str, every: int) -> None:
    """Computed twice, a region that calls compare is recorded once a step, and its gradients stay as they were."""

    def trained_with_checkpoints(compare: Compare) -> list[Tensor]:
        torch.manual_seed(3)
        body, head = torch.nn.Embedding(50, 16), torch.nn.Sequential(torch.nn.Dropout(0.2), torch.nn.Linear(16, 50))
        gradients: list[Tensor] = []
        for step in range(6):
            _, labels = events.pair(step)

            def region(hidden: Tensor, labels: Tensor = labels, step: int = step) -> Tensor:
                visits.append(step)
                logits = head(hidden)
                future = compare(logits, labels, step, shift=1)
                if future is not None:
                    recorded.append((step, shown(future), by_itself(logits, labels, shift=1)))
                # These are operations that compare may make, too.
                picked = logits.log_softmax(-1)[:, :-1].gather(-1, labels[:, 1:].clamp(0).unsqueeze(-1))
                sums: Tensor = (picked + logits.amax(-1, keepdim=True)[:, :-1]).sum(-1)
                return sums

            loss = checkpoint(region, body(labels.clamp(0)), **CHECKPOINTS[name]).mean()
            parameters = [*body.parameters(), *head.parameters()]
            if CHECKPOINTS[name]["use_reentrant"]:  # it knows no torch.autograd.grad
                loss.backward()
                gradients += [one.grad.clone() for one in parameters if one.grad is not None]
            else:
                gradients += torch.autograd.grad(loss, parameters)
        return gradients

    visits: list[int] = []
    recorded: list[tuple[int, list[How], list[How]]] = []
    with Recorder(every=every, console=False, strict=True) as recorder:
        found = trained_with_checkpoints(recorder.compare)
        assert recorder.stats()["submitted"] == 2 * len(recorded)
    assert sorted(visits) == sorted([*range(6), *range(6)])
    assert [step for step, _, _ in recorded] == list(range(0, 6, every))
    assert all(one == other for _, one, other in recorded)
    expected = trained_with_checkpoints(nothing)
    assert len(found) == len(expected) > 0
    assert all(map(torch.equal, found, expected))


# Transforms and traces: there are no values, or not those of a batch


def logits_of(weight: Tensor, inputs: Tensor) -> Tensor:
    return torch.tanh(weight[inputs]) @ weight.T


def loss_of(compare: Compare, step: int, weight: Tensor, labels: Tensor) -> Tensor:
    inputs = labels.clamp(0)
    logits = logits_of(weight, inputs)
    compare(logits, labels, step, shift=1, inputs=inputs)
    return torch.nn.functional.cross_entropy(logits[..., :-1, :].flatten(0, -2), labels[..., 1:].flatten())


def derived(compare: Compare, step: int, weight: Tensor, labels: Tensor) -> Any:
    return torch.func.grad(partial(loss_of, compare, step))(weight, labels)


def mapped(compare: Compare, step: int, weight: Tensor, labels: Tensor) -> Any:
    return torch.func.vmap(partial(loss_of, compare, step), in_dims=(None, 0))(weight, labels)


def mapped_over_batches(compare: Compare, step: int, weight: Tensor, labels: Tensor) -> Any:
    return torch.func.vmap(partial(loss_of, compare, step), in_dims=(0, None))(torch.stack([weight, -weight]), labels)


def derived_by_sample(compare: Compare, step: int, weight: Tensor, labels: Tensor) -> Any:
    return torch.func.vmap(torch.func.grad(partial(loss_of, compare, step)), in_dims=(None, 0))(weight, labels)


def pushed_forward(compare: Compare, step: int, weight: Tensor, labels: Tensor) -> Any:
    pushed: Any = torch.func.jvp(lambda one: loss_of(compare, step, one, labels), (weight,), (torch.ones_like(weight),))
    return pushed


def pulled_back(compare: Compare, step: int, weight: Tensor, labels: Tensor) -> Any:
    pulled: Any = torch.func.vjp(lambda one: loss_of(compare, step, one, labels), weight)
    value, pull = pulled
    return value, pull(torch.ones_like(value))


class Model(torch.nn.Module):
    def __init__(self, compare: Compare, step: int, weight: Tensor) -> None:
        super().__init__()
        self.compare, self.step = compare, step
        self.weight = torch.nn.Parameter(weight.clone())

    def forward(self, labels: Tensor) -> Tensor:
        return loss_of(self.compare, self.step, self.weight, labels)


def called_functionally(compare: Compare, step: int, weight: Tensor, labels: Tensor) -> Any:
    model = Model(compare, step, torch.zeros_like(weight))
    return torch.func.grad(lambda one: torch.func.functional_call(model, {"weight": one}, (labels,)))(weight)


def functionalized(compare: Compare, step: int, weight: Tensor, labels: Tensor) -> Any:
    return torch.func.functionalize(partial(loss_of, compare, step))(weight, labels)


TRANSFORMS = [
    derived, mapped, mapped_over_batches, derived_by_sample, pushed_forward, pulled_back, called_functionally,
    functionalized,
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch's own use of it, for jvp
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_transform_is_left_alone(capfd: pytest.CaptureFixture[str], transform: Callable[..., Any]) -> None:
    """Within `torch.func` compare records nothing, says so at most once, and the result is as without it."""
    generator = torch.Generator().manual_seed(5)
    with Recorder(every=1, console=False) as recorder:
        for step in range(4):
            weight = torch.randn(50, 8, generator=generator)
            _, labels = events.pair(step)
            found, expected = (transform(one, step, weight, labels) for one in (recorder.compare, nothing))
            torch.testing.assert_close(found, expected, rtol=0, atol=0)
        assert recorder.flush()
        assert recorder.stats()["submitted"] == 0
        assert_said_once(events.said(capfd))
        # Outside, the next step is recorded as ever.
        logits = logits_of(weight, labels.clamp(0))
        assert shown(recorder.compare(logits, labels, 9, shift=1)) == by_itself(logits, labels, shift=1)


def test_what_is_skipped_is_no_failure() -> None:
    """A strict recorder raises nothing for a pair that it skips, as it is documented to."""
    with Recorder(every=1, console=False, strict=True) as recorder:

        def loss(weight: Tensor, step: int) -> Tensor:
            _, labels = events.pair(step)
            logits = logits_of(weight, labels.clamp(0))
            recorder.compare(logits, labels, step, shift=1)
            return logits.sum()

        for step in range(4):
            torch.func.grad(loss)(torch.randn(50, 8), step)
        assert recorder.stats()["submitted"] == 0


def test_a_functional_call_is_recorded() -> None:
    """Weights put in by `functional_call` alone are plain tensors, so there is a pair to record."""
    weight, (_, labels) = torch.randn(50, 8, requires_grad=True), events.pair()
    futures: list[Future[tuple[Comparison, ...]] | None] = []
    with Recorder(every=1, console=False, strict=True) as recorder:

        def compare(logits: Tensor, labels: Tensor, step: int, **how: Any) -> None:
            futures.append(recorder.compare(logits, labels, step, **how))

        model = Model(compare, 0, torch.zeros(50, 8))
        torch.func.functional_call(model, {"weight": weight}, (labels,)).backward()
        inputs = labels.clamp(0)
        assert [shown(one) for one in futures] == [by_itself(logits_of(weight, inputs), labels, shift=1, inputs=inputs)]


@pytest.mark.parametrize("handed", ["fake pair", "real pair"])
def test_under_fake_tensors_there_are_no_values(capfd: pytest.CaptureFixture[str], handed: str) -> None:
    """Under FakeTensorMode compare records nothing and says so at most once, whatever it is handed."""
    with Recorder(every=1, console=False) as recorder:
        for step in range(4):
            real = events.pair(step)
            mode = FakeTensorMode()
            logits, labels = real if handed == "real pair" else map(mode.from_tensor, real)
            with mode:
                assert recorder.compare(logits, labels, step, shift=1) is None
        assert recorder.flush()
        assert recorder.stats()["submitted"] == 0
        assert_said_once(events.said(capfd))
        assert shown(recorder.compare(*real, 9, shift=1)) == by_itself(*real, shift=1)


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
def test_a_trace_of_make_fx_is_as_without(capfd: pytest.CaptureFixture[str], mode: Any) -> None:
    """Under `make_fx` compare records nothing, and leaves nothing in the graph."""
    weight, (_, labels) = torch.randn(50, 8), events.pair()
    with Recorder(every=1, console=False) as recorder:
        for step in range(3):
            graphs = [
                make_fx(partial(loss_of, one, step), tracing_mode=mode)(weight, labels).code
                for one in (recorder.compare, nothing)
            ]
            assert graphs[0] == graphs[1]
        assert recorder.flush()
        assert recorder.stats()["submitted"] == 0
        assert_said_once(events.said(capfd))


# A torch without one of its private names


def find_no_obstacle(_monkeypatch: pytest.MonkeyPatch) -> None:
    assert torch_state.obstacle() is None


def find_no_backward(_monkeypatch: pytest.MonkeyPatch) -> None:
    assert not torch_state.is_in_backward()


def stay_alone(_monkeypatch: pytest.MonkeyPatch) -> None:
    enter, leave = torch_state.alone()
    enter()
    assert torch.is_inference_mode_enabled()
    leave()
    assert not torch.is_inference_mode_enabled()


def stay_without_gradients(_monkeypatch: pytest.MonkeyPatch) -> None:
    enter, leave = torch_state.alone()
    enter()
    assert not torch.is_grad_enabled()
    leave()
    assert torch.is_grad_enabled()


def remove_the_last_mode(_monkeypatch: pytest.MonkeyPatch) -> None:
    mode = TorchFunctionMode()
    mode.__enter__()
    torch_state.removing([mode])()
    assert _get_current_function_mode() is None
    torch_state.removing([mode])()  # which is gone


def find_nothing_compiled(_monkeypatch: pytest.MonkeyPatch) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 2))
    assert not torch_state.has_compiled_parts(module)
    assert not torch_state.is_compiled_in_place(module)
    assert not torch_state.is_compiled_around(module)


def count_no_graphs(_monkeypatch: pytest.MonkeyPatch) -> None:
    assert torch_state.count_graphs() == 0


def find_no_call(_monkeypatch: pytest.MonkeyPatch) -> None:
    assert torch_state.call_of(torch.nn.Linear(2, 2)) is None


class Renamed(torch.nn.Module):
    """What torch.compile makes of a module, in a torch that keeps the original under another name."""


def recognize_a_compiled_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch._dynamo.eval_frame.OptimizedModule", Renamed)
    assert torch_state.is_compiled_around(Renamed())


def find_no_larger_mesh(_: pytest.MonkeyPatch) -> None:
    mesh = object()
    assert torch_state.root_mesh(mesh) is mesh


# What still works without each of the private names.
WORKING: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "peek_interpreter_stack": find_no_obstacle,
    "_get_dispatch_mode": find_no_obstacle,
    "PROXY": find_no_obstacle,
    "FAKE": find_no_obstacle,
    "FUNCTIONAL": find_no_obstacle,
    "_current_graph_task_id": find_no_backward,
    "DisableTorchFunction": stay_alone,
    "_DisableTorchDispatch": stay_alone,
    "_DisableAutocast": stay_alone,
    "_InferenceMode": stay_without_gradients,
    "_len_torch_function_stack": remove_the_last_mode,
    "_pop_torch_function_stack": remove_the_last_mode,
    "_push_on_torch_function_stack": remove_the_last_mode,
    "OptimizedModule": find_nothing_compiled,
    "counters": count_no_graphs,
    "_call_impl": find_no_call,
    "_compiled_call_impl": find_nothing_compiled,
    "_orig_mod": recognize_a_compiled_module,
    "_get_root_mesh": find_no_larger_mesh,
}


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget which private names were looked up, and what was reported, as in a new process."""

    def forget() -> None:
        torch_state._find.cache_clear()

    monkeypatch.setattr(torch_state, "_notices", Notices())
    forget()
    yield
    forget()


def take_away(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a private name out of the installed torch, and what an older torch has in its place."""
    holders_of_older = [older.rpartition(".")[0] for older in torch_state.OLDER_NAMES.get(name, ())]
    found = set()
    for one in dict.fromkeys([name, *holders_of_older]):
        owner, _, last = one.rpartition(".")
        with suppress(AttributeError, ImportError):
            monkeypatch.delattr(pkgutil.resolve_name(owner), last, raising=last != "_orig_mod")  # that is an instance's
            found.add(one)
    assert found


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("name", torch_state.PRIVATE_NAMES)
def test_a_private_name_that_is_gone_is_reported_once(
    name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without any one private name predlog works on, records the same, and reports the name and what is lost, once."""
    logits, labels = events.pair()
    expected = by_itself(logits, labels, shift=1)
    torch_state._find.cache_clear()
    last = name.rpartition(".")[2]
    with monkeypatch.context() as taken:
        take_away(name, taken)
        for _ in range(2):
            WORKING[last](taken)
        with Recorder(every=1, console=False, strict=True) as recorder:
            for step in range(2):
                assert shown(recorder.compare(logits, labels, step, shift=1)) == expected
    (line,) = events.said(capfd).splitlines()
    assert line == f"predlog: torch {torch.__version__} has no {name}: {torch_state.PRIVATE_NAMES[name]}"


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("name", ["get_root_mesh", "get_parent_mesh"])
def test_older_torches_find_the_whole_mesh(
    name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where a mesh does not know what it is a part of, its module does: in torch 2.4 with None for what is no part."""
    part, whole = object(), object()
    monkeypatch.delattr("torch.distributed.device_mesh.DeviceMesh._get_root_mesh", raising=False)
    known = {part: whole} if name == "get_parent_mesh" else {part: whole, whole: whole}
    monkeypatch.setattr("torch.distributed.device_mesh._mesh_resources", SimpleNamespace(**{name: known.get}))
    assert torch_state.root_mesh(part) is whole
    assert torch_state.root_mesh(whole) is whole
    assert not events.said(capfd)


@pytest.mark.usefixtures("forgotten")
def test_no_private_name_is_missed_here(capfd: pytest.CaptureFixture[str]) -> None:
    """The torch that is installed has every private name: nothing is reported, whatever is asked."""
    compiled: Any = torch.compile(torch.nn.Linear(2, 2), backend="eager")
    in_place = torch.nn.Sequential(torch.nn.Linear(2, 2))
    in_place[0].compile(backend="eager")
    for name in torch_state.PRIVATE_NAMES:
        assert name.endswith("._orig_mod") or torch_state._find(name, missing := object()) is not missing
    assert torch_state.has_compiled_parts(torch.nn.Sequential(compiled))
    assert torch_state.has_compiled_parts(in_place)
    assert torch_state.is_compiled_around(compiled)
    assert torch_state.is_compiled_in_place(in_place[0])
    assert not torch_state.is_compiled_around(in_place)
    assert not events.said(capfd)


def test_private_names_are_looked_up_when_they_are_needed() -> None:
    """Importing the module looks nothing up, so what a run does not need is not missed in it."""
    spec = importlib.util.find_spec("predlog._runtime.torch_state")
    assert spec is not None
    assert spec.loader is not None
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    assert fresh._find.cache_info().currsize == 0
    fresh.obstacle()
    assert fresh._find.cache_info().currsize == 5


def test_the_question_whether_dynamo_compiles_is_torchs_own() -> None:
    """A compiler takes this very function's answer for granted, and would trace into another."""
    assert torch_state.is_dynamo_compiling is torch.compiler.is_dynamo_compiling


# Nothing is kept


class _Saved:
    """Lives as long as the graph that it was saved in."""


class _Keeps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, saved: _Saved) -> Tensor:
        ctx.saved = saved
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0], None


@contextmanager
def blocked_recorder(directory: Path) -> Iterator[tuple[Recorder, threading.Event]]:
    """Return a recorder whose worker is in a processor until the event is set."""
    arrived, release = threading.Event(), threading.Event()

    def wait(_logger: Any, _name: str, event: EventDict) -> EventDict:
        arrived.set()
        assert release.wait(60)
        return event

    with Recorder(directory, every=1, console=False, strict=True, processors=[wait], queue=100) as recorder:
        recorder.compare(*events.pair(), 0, stream="first")
        assert arrived.wait(60)
        try:
            yield recorder, release
        finally:
            release.set()


SHAPES = {"large": (3, 40, 700), "shown as a whole": (1, 8, 5), "one token": (1, 1, 3)}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("surrounding", ["none", "autocast", "inference_mode", "no_grad"])
def test_nothing_is_kept_while_the_worker_waits(
    tmp_path: Path, surrounding: str, dtype: torch.dtype, shape: tuple[int, int, int]
) -> None:
    """When compare returns, and before its worker ran, no tensor, storage or graph of the pair is held."""
    samples, length, vocabulary = shape
    futures = []
    gc.collect()
    gc.disable()
    try:
        with blocked_recorder(tmp_path) as (recorder, release):
            for step in range(4):
                saved = _Saved()
                leaf = torch.randn(samples, length, vocabulary, dtype=dtype, requires_grad=True)
                logits = _Keeps.apply(leaf, saved)  # type: ignore[no-untyped-call]
                # An array goes when the storage over it goes, whatever else torch may know of it.
                arrays = [np.random.default_rng(step).integers(vocabulary, size=(samples, length)) for _ in range(2)]
                labels, inputs = (torch.from_numpy(array) for array in arrays)
                tensors = [leaf, logits, labels, inputs]
                references = [
                    weakref.ref(one)
                    for one in (saved, *tensors, *arrays, *(each.untyped_storage() for each in tensors))
                ]
                with nullcontext() if surrounding == "none" else SURROUNDINGS[surrounding]():
                    future = recorder.compare(logits, labels, step, inputs=inputs)
                del saved, leaf, logits, arrays, labels, inputs, tensors
                assert [reference() for reference in references] == [None] * len(references)
                assert future is not None
                assert not future.done()
                futures.append(future)
            assert recorder.stats()["pending"] == 2 + 4 * min(samples, 2)
            release.set()
            assert all(len(future.result(10)) == min(samples, 2) for future in futures)
    finally:
        gc.enable()


MEMORY = """
import ctypes, gc, os, random, sys
import torch
import predlog

torch.set_num_threads(1)
libc, page = ctypes.CDLL(None), os.sysconf("SC_PAGE_SIZE")

def resident():
    gc.collect()
    libc.malloc_trim(0)
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * page

random.seed(3)
recorder = predlog.Recorder(sys.argv[1], every=1, console=False)

def steps(begin, end):
    for step in range(begin, end):
        samples, length, vocabulary = random.randint(1, 4), random.randint(2, 48), random.randint(2, 600)
        dtype = random.choice([torch.float32, torch.bfloat16])
        weight = torch.randn(vocabulary, dtype=dtype, requires_grad=True)
        logits = torch.randn(samples, length, vocabulary, dtype=dtype) * weight
        labels = torch.randint(vocabulary, (samples, length))
        recorder.compare(logits, labels, step, shift=1, inputs=labels, stream=random.choice(["text", "eval"]), lr=0.1)
        if step % 100 == 0:
            assert recorder.flush(60)
    assert recorder.flush(60)

begin = int(sys.argv[2]) // 5
end = begin + int(sys.argv[2])
steps(0, begin)
before = resident()
steps(begin, end)
after = resident()
stats = recorder.stats()
assert recorder.close(60)
assert stats["dropped"] == stats["failed"] == stats["pending"] == 0, stats
assert stats["written"] > 1.25 * end, stats
print((after - before) / 2**20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc and malloc_trim are Linux's")
@pytest.mark.parametrize("steps", sizes(core=None, slow=5_000, full=10_000))
def test_memory_does_not_grow(tmp_path: Path, steps: int) -> None:
    """Over thousands of recorded steps of changing shapes, resident memory grows by less than 5 MiB."""
    done = fresh.run(MEMORY, tmp_path / "run", str(steps), within=600)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 5.0
