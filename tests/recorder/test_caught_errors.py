"""What predlog catches is reported once, with the file and line that raised, and the run goes on."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from structlog.typing import EventDict
from torch import Tensor, nn
from torch.nn import functional

import predlog
from predlog import Comparison, Recorder, read
from predlog._runtime.notices import Notices
from predlog.integrations._watch import autograd_rows, loss_call
from predlog.processors import Decode
from predlog.recorder import default
from tests import events
from tests.events import told

V = 10


class Tokenizer:
    """A tokenizer that decodes, and can't name its special tokens."""

    @property
    def all_special_ids(self) -> list[int]:
        raise LookupError("no file of special tokens")

    def convert_ids_to_tokens(self, token: int) -> str:
        return f"token {token}"

    def decode(self, tokens: list[int], *, skip_special_tokens: bool) -> str:
        assert not skip_special_tokens
        return f"token {tokens[0]}"


class Model(nn.Module):
    """A small model that makes its own loss."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(V, 8), nn.Linear(8, V)

    def forward(self, ids: Tensor) -> Tensor:
        return functional.cross_entropy(self.head(self.embedding(ids)).flatten(0, 1), ids.flatten())


def ids() -> Tensor:
    return torch.arange(10).view(2, 5)


@pytest.fixture
def no_recorder_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the default recorder, and remove the working directory, so that none can be made."""
    monkeypatch.setattr(default, "_default", None)
    monkeypatch.setattr(default, "_every", 1)
    monkeypatch.setattr(default, "_notices", Notices())
    monkeypatch.delenv("PREDLOG_DIR", raising=False)
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()


@pytest.mark.parametrize("given", [None, {"pad": 0}])
def test_special_tokens_that_raise_are_reported_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], given: Any
) -> None:
    """The tokenizer still decodes; one line says what is lost, why, and where that was raised."""
    decode = Tokenizer()
    with Recorder(tmp_path, every=1, console=False, decode=decode, special_tokens=given) as recorder:
        for step in range(3):
            recorder.compare(*events.pair(), step)
    (line,) = (line for line in told(capfd) if "Tokenizer" in line)
    assert f"LookupError: no file of special tokens ({__file__}:" in line
    shown = [one for one in read(tmp_path) if isinstance(one, Comparison)]
    assert {one.step for one in shown} == {0, 1, 2}
    assert all(str(token.label_text).startswith("token ") for one in shown for token in one.tokens)


def test_decode_alone_reports_it_too(capfd: pytest.CaptureFixture[str]) -> None:
    """In a chain of the host's own, `Decode` reports what it could not ask its tokenizer."""
    event = Decode(Tokenizer())(None, "info", events.comparison())
    assert event["tokens"][0]["label_text"] == "token 3"
    (line,) = told(capfd)
    assert line.startswith("predlog: the number of ids of the Tokenizer can't be read")
    assert f"LookupError: no file of special tokens ({__file__}:" in line


@pytest.mark.usefixtures("no_recorder_can_be_made")
def test_compare_without_a_recorder_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    """Where the default recorder can't be made, `compare` returns None, and one line says why."""
    for step in range(3):
        assert predlog.compare(*events.pair(), step) is None
    (line,) = told(capfd)
    assert "nothing is recorded, because the default recorder can't be made: FileNotFoundError: " in line


@pytest.mark.usefixtures("no_recorder_can_be_made")
@pytest.mark.parametrize("calls", [0, 3])
def test_watch_without_a_recorder_goes_on(capfd: pytest.CaptureFixture[str], calls: int) -> None:
    """A model that is watched trains as before, called or not, and one line says why nothing is recorded."""
    model = Model()
    with predlog.watch(model):
        for _ in range(calls):
            model(ids()).backward()
    (line,) = told(capfd)
    assert "nothing is recorded, because the default recorder can't be made: FileNotFoundError: " in line


def test_a_graph_that_cannot_be_read_is_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The rows of the loss are recorded as they are, and one line says that samples are not known, and why."""

    def origin(_rows: Tensor) -> None:
        raise AttributeError("no _saved_self_sym_sizes")

    monkeypatch.setattr(autograd_rows, "origin", origin)
    monkeypatch.setattr(loss_call, "_notices", Notices())
    model = Model()
    with Recorder(tmp_path, every=1, console=False) as recorder, predlog.watch(model, recorder=recorder):
        for _ in range(3):
            model(ids()).backward()
    (line,) = (line for line in told(capfd) if "graph" in line)
    assert "recorded as one sample" in line
    assert f"AttributeError: no _saved_self_sym_sizes ({__file__}:" in line
    shown = [one for one in read(tmp_path) if isinstance(one, Comparison)]
    assert [(one.step, one.sample, one.length) for one in shown] == [(0, 0, 10), (1, 0, 10), (2, 0, 10)]


def test_parameters_that_cannot_be_read_are_reported_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A forward without a signature is recorded without inputs, and one line says so."""

    class Unsigned:
        __signature__ = "none"

        def __init__(self, forward: Callable[[Tensor], Tensor]) -> None:
            self._forward = forward

        def __call__(self, ids: Tensor) -> Tensor:
            return self._forward(ids)

    model = Model()
    model.forward = Unsigned(model.forward)  # type: ignore[method-assign]
    with Recorder(tmp_path, every=1, console=False) as recorder, predlog.watch(model, recorder=recorder, inputs="ids"):
        for _ in range(3):
            model(ids()).backward()
    (line,) = (line for line in told(capfd) if "can't be read" in line)
    assert "the names of the parameters of Model.forward can't be read" in line
    assert "TypeError: " in line
    assert [one.step for one in read(tmp_path) if isinstance(one, Comparison)] == [0, 0, 1, 1, 2, 2]


def test_a_pair_that_is_not_recorded_names_file_and_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An error that is nobody's message on purpose, such as an assertion, is found by its file and line."""

    def step() -> int:
        raise AssertionError("no step yet")

    model = Model()
    with (
        Recorder(tmp_path, every=1, console=False) as recorder,
        predlog.watch(model, recorder=recorder, step=step),
    ):
        model(ids()).backward()
    line = step.__code__.co_firstlineno + 1
    assert f"not recorded: AssertionError: no step yet ({__file__}:{line})" in events.said(capfd)


def test_a_context_that_raises_names_file_and_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A value of the context whose own code raises is null, and the line says where it did."""

    class Odd(dict[str, int]):
        def items(self) -> Any:
            raise ValueError("odd")

    with Recorder(tmp_path, every=1, samples=1, console=False) as recorder:
        recorder.compare(*events.pair(), 0, lr=Odd())
    assert f"lr=<Odd, which raised ValueError: odd ({__file__}:" in events.said(capfd)


# --- PREDLOG_TRACEBACK=1 ------------------------------------------------------------------------------------------
def fail(kind: type[BaseException]) -> None:
    """Raise an error that another one led to."""
    try:
        dict[str, None]().pop("the cause")
    except KeyError as error:
        raise kind("the effect") from error


def failing(kind: type[BaseException]) -> Callable[[Any, str, EventDict], EventDict]:
    """Return a processor or sink that fails on comparisons."""

    def call(_logger: Any, _name: str, event: EventDict) -> EventDict:
        if event["event"] == "predlog.comparison":
            fail(kind)
        return event

    return call


def record(**how: Any) -> None:
    with Recorder(every=1, samples=1, console=False, **{"sinks": [quiet], **how}) as recorder:
        recorder.compare(*events.pair(), 0)


def record_context() -> None:
    """Keep a value whose own code raises."""

    class Odd(dict[str, int]):
        def items(self) -> Any:
            fail(ValueError)

    with Recorder(every=1, samples=1, console=False, sinks=[quiet]) as recorder:
        recorder.compare(*events.pair(), 0, lr=Odd())


def quiet(_logger: Any, _name: str, event: EventDict) -> EventDict:
    return event


def failing_callback() -> None:
    """Let a callback of the future exit: of an Exception the standard library itself writes the traceback."""
    is_added = threading.Event()

    def waiting(_logger: Any, _name: str, event: EventDict) -> EventDict:
        assert is_added.wait(10)
        return event

    with Recorder(every=1, samples=1, console=False, sinks=[quiet], processors=[waiting]) as recorder:
        future = recorder.compare(*events.pair(), 0)
        assert future is not None
        future.add_done_callback(lambda _future: fail(SystemExit))
        is_added.set()


def failing_pair() -> None:
    """Refuse a pair because the code that makes it a tensor raises."""

    class Logits:
        def __dlpack__(self, **_how: Any) -> Any:
            raise AssertionError("asked for the device first")

        def __dlpack_device__(self) -> Any:
            fail(RuntimeError)

    with Recorder(every=1, console=False, sinks=[quiet]) as recorder:
        for step in range(3):
            recorder.compare(Logits(), torch.zeros(1, 3).long(), step)


def failing_step() -> None:
    """Record nothing because the code that gives the step raises."""
    model = Model()

    def step() -> int:
        fail(RuntimeError)
        return 0

    with (
        Recorder(every=1, console=False, sinks=[quiet]) as recorder,
        predlog.watch(model, recorder=recorder, step=step),
    ):
        model(ids()).backward()


CAUGHT: dict[str, Callable[[], None]] = {
    "processor": lambda: record(processors=[failing(ValueError)]),
    "processor that exits": lambda: record(processors=[failing(SystemExit)]),
    "sink": lambda: record(sinks=[failing(OSError)]),
    "decoder": lambda: record(decode=lambda _token: fail(ValueError)),
    "context": record_context,
    "callback": failing_callback,
    "pair": failing_pair,
    "step": failing_step,
}


@pytest.mark.parametrize("who", CAUGHT)
def test_tracebacks_are_written_if_asked_for(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], who: str
) -> None:
    """With PREDLOG_TRACEBACK=1 the error's whole traceback follows, after that of the error that led to it, once."""
    monkeypatch.setenv("PREDLOG_TRACEBACK", "1")
    CAUGHT[who]()
    lines = told(capfd)
    assert all(line.startswith("predlog: ") for line in lines)
    text = "\n".join(lines)
    assert text.count("KeyError: 'the cause'\n") == 1
    assert text.index("KeyError: 'the cause'\n") < text.rindex("the effect")
    assert text.count("Traceback (most recent call last):") >= 2
    assert text.count(", in fail\n") == 2


@pytest.mark.parametrize("who", CAUGHT)
def test_no_traceback_is_written_unasked(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], who: str
) -> None:
    """Without it there is one line, which names the file and line that raised."""
    monkeypatch.delenv("PREDLOG_TRACEBACK", raising=False)
    CAUGHT[who]()
    error = events.said(capfd)
    assert "Traceback" not in error
    if who == "pair":  # it is a finding, which the sinks have
        assert "the effect" not in error
    else:
        (line,) = (line for line in error.splitlines() if "the effect" in line)
        assert f"{__file__}:" in line
