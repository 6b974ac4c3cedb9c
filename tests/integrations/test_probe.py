"""A probe batch: the model is looked at in the middle of its training, which goes on as if there had been no look."""

import copy
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import predlog
from predlog.errors import PredlogError, SettingError
from predlog.integrations.probe import Probe
from predlog.integrations.untouched import untouched
from tests.events import told

IDS = torch.randint(3, 30, (40, 4, 12), generator=torch.Generator().manual_seed(0))


class Model(nn.Module):
    """Dropout, batch norm, a part that stays in evaluation mode, and all kinds of random numbers and state."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.norm = nn.Embedding(30, 16), nn.BatchNorm1d(16)
        self.frozen_norm, self.dropout, self.head = nn.BatchNorm1d(16), nn.Dropout(0.3), nn.Linear(16, 30)
        self.frozen_norm.eval()
        self.register_buffer("calls", torch.zeros(()))
        self.seen: list[int] = []
        self.cache: dict[str, Tensor] = {"first": torch.zeros(2)}
        self.fails = False

    def forward(self, ids: Tensor) -> Any:
        self.calls += 1
        self.seen.append(len(self.seen))
        self.cache["last"] = torch.rand(2)
        self.cache["first"] = self.cache["last"]
        self.added = random.random() + float(np.random.rand())  # noqa: NPY002 - the global state is what it is about
        if self.fails and not self.training:
            raise RuntimeError("no evaluation today")
        hidden = self.embedding(ids) + torch.rand(())
        both = self.norm(hidden.mT) + self.frozen_norm(hidden.mT)
        return self.head(self.dropout(both.mT)) * (1 + 1e-3 * self.added)


def trained(probe: Any = None, at: str = "before", model: Model | None = None) -> tuple[Model, Any]:
    """Train a few steps, with a look before the step, or between its forward and its backward."""
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 - as above
    model = Model() if model is None else model
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step, ids in enumerate(IDS):
        if probe is not None and at == "before":
            probe(model, step)
        loss = functional.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        if probe is not None and at == "between":
            probe(model, step)
        optimizer.zero_grad()
        loss.backward()
        if probe is not None and at == "after":
            gradients = [(one.grad, one.grad.clone()) for one in model.parameters() if one.grad is not None]
            probe(model, step)
            kept = [one.grad for one in model.parameters() if one.grad is not None]
            assert all(now is grad and torch.equal(now, was) for now, (grad, was) in zip(kept, gradients, strict=True))
        optimizer.step()
    return model, (torch.get_rng_state(), random.getstate(), np.random.get_state())  # noqa: NPY002


def assert_same(one: tuple[Model, Any], other: tuple[Model, Any]) -> None:
    for model in (one[0], other[0]):
        assert [name for name, part in model.named_modules() if not part.training] == ["frozen_norm"]
    a, b = one[0].state_dict(), other[0].state_dict()
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert (one[0].seen, one[0].cache.keys(), one[0].added) == (other[0].seen, other[0].cache.keys(), other[0].added)
    assert all(torch.equal(one[0].cache[name], other[0].cache[name]) for name in one[0].cache)
    assert torch.equal(one[1][0], other[1][0])
    assert one[1][1] == other[1][1]
    assert np.array_equal(one[1][2][1], other[1][2][1])


@pytest.mark.parametrize("at", ["before", "between", "after"])
def test_the_training_is_bitwise_the_same(tmp_path: Path, at: str) -> None:
    """Weights, buffers, modes, attributes, gradients and random states are those of a training without a probe."""
    with predlog.Recorder(tmp_path, every=1, console=False, strict=True) as recorder:

        def look(model: nn.Module, step: int) -> None:
            with predlog.probe(model, step=step, recorder=recorder):
                assert not torch.is_grad_enabled()
                assert not any(part.training for part in model.modules())
                recorder.compare(model(IDS[0]), IDS[0], step, shift=1, stream="probe", sample_ids=[7, 8, 9, 10])

        assert_same(trained(look, at), trained())
    found = [one for one in predlog.read(tmp_path) if isinstance(one, predlog.Comparison)]
    assert [(one.step, one.sample_id) for one in found] == [(step, str(7 + n)) for step in range(40) for n in (0, 1)]
    assert not [one for one in predlog.read(tmp_path) if isinstance(one, predlog.Finding)]


def test_a_look_without_the_helper_changes_the_training() -> None:
    """What the test above compares does change where nothing is put back, so it can fail."""

    def look(model: nn.Module, _step: int) -> None:
        with torch.no_grad():
            model.eval()(IDS[0])
            model.train()

    with pytest.raises(AssertionError):
        assert_same(trained(look), trained())


def test_an_error_is_reported_once_and_the_run_goes_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A forward that raises ends the look, not the training, and nothing of it remains."""
    model = Model()
    model.fails = True
    with predlog.Recorder(tmp_path, every=1, console=False) as recorder:

        def look(model: nn.Module, step: int) -> None:
            with predlog.probe(model, step=step, recorder=recorder):
                recorder.compare(model(IDS[0]), IDS[0], step, shift=1)

        assert_same(trained(look, model=model), trained())
    (line,) = told(capfd)
    assert "step 0: the probe is not recorded, because it raised RuntimeError: no evaluation today" in line
    assert "the training goes on" in line


def test_what_is_no_failure_of_the_look_passes(tmp_path: Path) -> None:
    """Ctrl-C, and what a strict recorder raises, pass; the model is put back all the same."""
    model = Model()
    with pytest.raises(KeyboardInterrupt), predlog.probe(model):
        raise KeyboardInterrupt
    assert model.dropout.training
    recorder = predlog.Recorder(tmp_path, every=1, console=False, strict=True)
    with pytest.raises(PredlogError, match="step"), predlog.probe(model, recorder=recorder):
        recorder.compare(model(IDS[0]), IDS[0], -1)
    recorder.close()
    assert model.dropout.training
    assert not model.frozen_norm.training


def test_the_probes_stream_is_an_evaluation(tmp_path: Path) -> None:
    """The same batch with the same weights for hundreds of steps is no finding in it, and one among trained pairs."""
    weights = torch.randn(30, 30, requires_grad=True)
    with predlog.Recorder(tmp_path, every=10, console=False, strict=True) as recorder:
        for step in range(0, 600, 10):
            recorder.compare(weights[IDS[0]], IDS[0], step, shift=1)
            recorder.compare(weights[IDS[0]], IDS[0], step, shift=1, stream="probe")
    codes = {(one.stream, one.code) for one in predlog.read(tmp_path) if isinstance(one, predlog.Finding)}
    assert ("text", "nothing-trained") in codes
    assert ("probe", "nothing-trained") not in codes
    recorder = predlog.Recorder(tmp_path / "b", every=10, console=False, strict=True)
    for step in range(0, 600, 10):
        with predlog.probe(nn.Linear(1, 1)):
            recorder.compare(weights[IDS[0]], IDS[0], step, shift=1, stream="probe")
    assert recorder.close()
    assert not [one for one in predlog.read(tmp_path / "b") if isinstance(one, predlog.Finding)]


@pytest.mark.parametrize("given", [(), (3,), (lambda ids: ids,)])
def test_what_is_no_module_is_refused(given: tuple[Any, ...]) -> None:
    """Without a module there is nothing to look at, and the message says what to pass."""
    with pytest.raises(SettingError, match="pass the torch modules"), predlog.probe(*given):
        pass


def test_several_models() -> None:
    """Each of several models is put back, and one that is passed twice once."""
    encoder, decoder = Model(), Model()
    with untouched(encoder, decoder, encoder):
        encoder.embedding.eval()
        decoder.calls += 5
        decoder.calls = torch.ones(3)
    assert encoder.embedding.training
    assert decoder.calls.shape == ()
    assert float(decoder.calls) == 0


def test_a_callbacks_batch() -> None:
    """It is due once at each multiple of its steps, is copied for each look, and leaves its ids where they are."""
    batch = {"ids": IDS[0], "more": (torch.ones(2), "text"), "id": ["a", "b", "c", "d"]}
    probe = Probe(batch, 3, "id")
    with predlog.Recorder(every=1, console=False) as recorder:
        due = [step for step in (0, 0, 1, 2, 3, 3, 4, 7, 8, 9) if probe.is_due(step, recorder)]
        assert due == [0, 3, 7, 9]
        assert not Probe(None, 3, None).is_due(0, recorder)
        assert not probe.is_due(12, None)
    with predlog.Recorder(every=1, console=False, streams=("train",)) as recorder:
        assert not Probe(batch, 3, None).is_due(0, recorder)
    first = probe.batch(torch.device("cpu"))
    first["ids"] += 1
    first["more"][0].zero_()
    again = pickle.loads(pickle.dumps(copy.deepcopy(probe))).batch(torch.device("cpu"))
    for made in (probe.batch(torch.device("cpu")), again):
        assert torch.equal(made["ids"], IDS[0])
        assert made["more"][0].tolist() == [1, 1]
        assert made["id"] == batch["id"]
    for every in (0, -1, 2.5, True, "3"):
        with pytest.raises(SettingError, match="probe_every"):
            Probe(batch, every, None)
