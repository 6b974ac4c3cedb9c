"""Whatever is handed to `compare`, the training loop goes on: nothing is raised, changed or kept."""

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor

from predlog import PredlogError, Recorder
from tests import events, fresh, nonsense
from tests.events import told
from tests.sizes import sizes


class _CountsItsCalls:
    calls = 0


@pytest.mark.parametrize("calls", sizes(core=1_000, slow=4_000, full=10_000))
def test_thousands_of_calls_of_nonsense(tmp_path: Path, capfd: pytest.CaptureFixture[str], calls: int) -> None:
    """Calls with anything, a decoder, a processor and a sink that raise: nothing raised, changed or kept."""
    counter = _CountsItsCalls()
    recorder = Recorder(
        tmp_path, every=1, decode=nonsense.exploding_decoder, processors=[nonsense.exploding_processor], queue=10**5,
        sinks=[nonsense.exploding_sink], console=False,
    )  # fmt: skip

    @settings(max_examples=calls, database=None, suppress_health_check=list(HealthCheck))
    @given(nonsense.calls)
    def call(given: dict[str, Any]) -> None:
        counter.calls += 1
        outcome = nonsense.make(recorder, given, counter.calls)
        assert (outcome.changed, outcome.kept) == (0, 0)

    call()
    assert counter.calls >= calls
    assert recorder.close(60)
    stats = recorder.stats()
    assert stats["pending"] == 0
    # Nonsense must not be all: pairs that can be captured meet the broken decoder, processor and sink.
    assert stats["sinks"]["exploding_sink"]["failed"] == stats["sinks"]["exploding_sink"]["submitted"] > calls / 20
    assert 0 < stats["failed"] < stats["submitted"] == stats["failed"] + stats["written"]
    lines = told(capfd)
    assert 3 <= len(lines) <= 40
    assert all(line.startswith("predlog: ") for line in lines)
    assert any("exploding_sink failed: OSError: sink" in line for line in lines)
    assert any("decode(" in line for line in lines)


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
        ((torch.zeros(2, 8, 9), torch.zeros(2, 8).bool()), "labels [2, 8] are torch.bool: token ids must be integers"),
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
    line, summary = told(capfd)
    assert ", step 0: text: " in line
    assert says in line
    assert "1 open finding: " in summary
    assert "(text, since step 0)" in summary


@pytest.mark.parametrize("console", [False, True])
@pytest.mark.parametrize("shift", [0, 3, 50])
def test_labels_that_are_floats_are_no_fault(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, shift: int, console: bool
) -> None:
    """A regression, or several classes at once, have nothing to compare: one line, no finding, whatever the shift."""
    with Recorder(tmp_path, every=1, console=console) as recorder:
        for step in range(5):
            assert recorder.compare(torch.zeros(2, 8, 9), torch.zeros(2, 8), step, shift=shift) is None
        assert recorder.flush()
        assert recorder.findings == ()
        assert recorder.stats()["refused"] == 5
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err == (
        "predlog: step 0, stream 'text': not recorded: labels are floats: nothing to compare (labels [2, 8] are"
        " torch.float32, and token ids must be integers)\n"
    )
    assert not (tmp_path / "predictions.jsonl").exists()


def test_a_refusal_that_no_console_shows_is_reported_when_it_happens(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With a file and no console, one line for each cause reports it at once, not when the recorder is closed."""
    with Recorder(tmp_path, every=1, console=False) as recorder:
        for step in range(5):
            recorder.compare(torch.zeros(2, 8, 9), torch.zeros(2, 7).long(), step)
        (line,) = told(capfd)
    assert line.startswith("predlog: step 0, stream 'text': not recorded: logits [2, 8, 9] and labels [2, 7]")


def test_labels_of_one_axis_are_said_to_be_one_sample(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A classifier's labels look the same: one line says how they are read, and how to have them read otherwise."""
    with Recorder(tmp_path, every=1, console=False) as recorder:
        for step in range(3):
            assert recorder.compare(torch.zeros(8, 9), torch.zeros(8).long(), step) is not None
    (line,) = told(capfd)[:1]
    assert "read as one sample of 8 tokens" in line
    assert "labels[:, None]" in line


def test_steps_of_which_none_is_due_are_reported_once(capfd: pytest.CaptureFixture[str]) -> None:
    """After a hundred calls of which none was due, one line names steps that would be; later ones cost nothing more."""
    pair = torch.zeros(2, 8, 9), torch.zeros(2, 8).long()
    with Recorder(every=10, console=False) as recorder:
        for step in range(3, 2003, 10):
            recorder.compare(*pair, step)
        (line,) = told(capfd)
        assert not recorder.gate.is_waiting
    assert "at steps 3 to 993" in line
    assert "every=10, as 1000, 1010, 1020 are" in line
    with Recorder(every=10, console=False) as recorder:
        for _ in range(150):
            recorder.compare(*pair, 7)
    assert "each time at step 7" in events.said(capfd)
    with Recorder(every=10, console=False) as recorder:
        for step in range(150):
            recorder.compare(*pair, step)
    assert "none is a multiple" not in events.said(capfd)


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
    done = fresh.run(code)
    assert (done.returncode, done.stdout) == (0, "2\n2\n")
    assert [line for line in done.stderr.splitlines() if "inputs are not known" not in line] == []


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
