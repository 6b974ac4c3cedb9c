"""The recorder: what is due, what is first, what the futures say, and what the settings refuse."""

import itertools
import logging
import os
import signal
import subprocess
import sys
import threading
import warnings
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rich
import structlog
import torch
from structlog.typing import EventDict

import predlog
from predlog import Comparison, Finding, PredlogError, Recorder, read
from predlog._runtime import exit as at_exit
from predlog.errors import SettingError
from predlog.numbers.snapshot import Sizes
from predlog.numbers.unpack import unpack
from predlog.recorder.worker import Worker
from predlog.records.schema import Gap, Run
from tests import events, fresh
from tests.events import told


@pytest.fixture
def recorder(tmp_path: Path) -> Any:
    with Recorder(tmp_path, every=10, console=False, strict=True) as recorder:
        yield recorder


def test_only_due_steps_are_recorded(recorder: Recorder) -> None:
    """Steps that `every` divides give a future of records, the others None."""
    due = [step for step in range(31) if recorder.compare(*events.pair(), step)]
    assert due == [0, 10, 20, 30]


def test_the_future_holds_the_records_as_written(recorder: Recorder) -> None:
    """A future resolves to one typed record a sample, equal to what the file holds."""
    future = recorder.compare(*events.pair(), 10, shift=1, epoch=2, lr=3e-4)
    assert future is not None
    shown = future.result(5)
    recorder.flush()
    assert recorder.directory is not None
    assert tuple(one for one in read(recorder.directory) if isinstance(one, Comparison)) == shown
    assert [one.sample for one in shown] == [0, 1]
    assert shown[0].context == {"epoch": 2, "lr": 3e-4}
    assert (shown[0].step, shown[0].stream, shown[0].shift, shown[0].run) == (10, "text", 1, recorder.directory.name)


def test_the_first_pair_of_each_stream_and_step(recorder: Recorder) -> None:
    """Micro-batches after the first are passed over; another stream has a first of its own."""
    assert recorder.compare(*events.pair(0), 10)
    assert recorder.compare(*events.pair(1), 10) is None
    assert recorder.compare(*events.pair(2), 10, stream="eval/text")
    assert recorder.compare(*events.pair(3), 10, stream="eval/text") is None
    assert recorder.compare(*events.pair(4), 20)


@pytest.mark.parametrize("step", [np.int64(20), np.uint8(20)])
def test_steps_of_numpy(recorder: Recorder, step: Any) -> None:
    """NumPy's integers are steps too; they cost nothing to read."""
    future = recorder.compare(*events.pair(), step)
    assert future is not None
    assert type(future.result(5)[0].step) is int
    assert recorder.compare(*events.pair(), step + 1) is None


@pytest.mark.parametrize("step", [torch.tensor(10), None, "10", 10.0, True, -10, 2**63 * 10])
def test_what_is_no_step_is_refused(recorder: Recorder, step: Any) -> None:
    """A tensor as step is refused without being read, and so is all that is no count."""
    with pytest.raises(PredlogError, match="step"):
        recorder.compare(*events.pair(), step)


def test_streams_can_be_chosen(tmp_path: Path) -> None:
    """Only the streams named are recorded."""
    with Recorder(tmp_path, every=1, streams=["audio"], console=False) as recorder:
        assert recorder.compare(*events.pair(), 0) is None
        assert recorder.compare(*events.pair(), 0, stream="audio")


def test_codebooks_are_records_of_their_own(tmp_path: Path) -> None:
    """Each codebook of a sample is one record with its index; a pair without codebooks has null there."""
    logits, labels = torch.randn(2, 9, 4, 30), torch.randint(30, (2, 9, 4))
    with Recorder(tmp_path, every=1, console=False, strict=True) as recorder:
        future = recorder.compare(logits, labels, 0, stream="audio", layout="b t k v, b t k")
        assert future is not None
        assert [(one.sample, one.codebook) for one in future.result(5)] == [(s, k) for s in range(2) for k in range(4)]
        assert future.result()[5].tokens[0].label == labels[1, 0, 1]


def test_a_pair_by_position_of_the_label(tmp_path: Path) -> None:
    """With shift=1 the label at p is shown with the row of logits, and the input, at p - 1."""
    logits, labels = torch.full((1, 6, 9), -9.0), torch.tensor([[-100, 5, 6, 7, 8, 0]])
    for position in range(1, 6):
        logits[0, position - 1, labels[0, position]] = 9.0
    with Recorder(tmp_path, every=1, console=False, strict=True) as recorder:
        future = recorder.compare(logits, labels, 0, shift=1, inputs=torch.arange(10, 16)[None])
        assert future is not None
        (shown,) = future.result(5)
    assert [(one.position, one.input, one.label, one.match) for one in shown.tokens] == [
        (1, 10, 5, True), (2, 11, 6, True), (3, 12, 7, True), (4, 13, 8, True), (5, 14, 0, True)
    ]  # fmt: skip
    assert (shown.supervised, shown.matched) == (5, 5)


def test_context_that_is_no_plain_value(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A tensor that holds several numbers, or is on a device, is recorded as null, and stderr says so."""
    with Recorder(tmp_path, every=1, console=False) as recorder:
        future = recorder.compare(
            *events.pair(), 0, rows=torch.ones(2), meta=torch.ones((), device="meta"), loss=torch.tensor(2.0),
            lr=np.float32(0.5), nan=float("nan"), many=(1, {"a": None}), at=Path("a/b"),
        )  # fmt: skip
        assert future is not None
        assert future.result(5)[0].context == {
            "rows": None, "meta": None, "loss": 2.0, "lr": 0.5, "nan": None, "many": [1, {"a": None}], "at": "a/b"
        }  # fmt: skip
    assert "rows=<Tensor>" in events.said(capfd)


def test_what_a_processor_adds_costs_no_other_event(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Scalars of NumPy and tensors are recorded as numbers, anything else as null: no record is lost of any stream."""

    def add(_logger: Any, _name: str, event: EventDict) -> EventDict:
        if event.get("stream") != "audio":
            return event
        return {**event, "step": np.int64(event["step"]), "snr": np.float32(1.5), "speed": torch.tensor(2.0), "o": {1}}

    logits, labels = events.pair(samples=6)
    with Recorder(tmp_path, every=1, samples=6, console=False, processors=[add]) as recorder:
        for step in range(20):
            recorder.compare(logits, labels, step, stream="audio")
            recorder.compare(logits, labels, step, stream="text")
    stats = recorder.stats()
    assert stats["written"] == stats["submitted"]
    records = [one for one in read(tmp_path) if isinstance(one, Comparison)]
    assert {one.stream: one.context for one in records} == {"audio": {"snr": 1.5, "speed": 2.0, "o": None}, "text": {}}
    lines = told(capfd)
    assert "context.o=<set> is no plain value and is recorded as null" in lines[0]


@pytest.mark.parametrize("drops", [False, True])
def test_a_processor_that_always_fails_leaves_a_first_line_and_a_gap(tmp_path: Path, drops: bool) -> None:
    """The file says which attempt it was, and how many comparisons are missing; a dropped first line stays dropped."""

    def fails(_logger: Any, _name: str, event: EventDict) -> EventDict:
        if drops and event["event"] == "predlog.run":
            raise structlog.DropEvent
        raise ValueError

    with Recorder(tmp_path, every=1, samples=1, console=False, processors=[fails]) as recorder:
        for step in range(3):
            recorder.compare(*events.pair(), step)
    records = [*read(tmp_path)]
    ends = [(one.settings, one.host, one.stats is None) for one in records if isinstance(one, Run)]
    assert ends == ([] if drops else [({}, "", True), ({}, "", False)])
    gaps = [one for one in records if isinstance(one, Gap)]
    assert sum(one.count for one in gaps) == recorder.stats()["failed"] == 3
    assert {one.reason for one in gaps} == {"processor fails failed"}


def test_a_finding_that_cannot_be_written_as_it_is_costs_no_record(tmp_path: Path) -> None:
    """A number too large for JSON in what a finding found is null, and every later record is written."""
    logits, labels = events.pair()
    with Recorder(tmp_path, every=1, samples=1, console=False) as recorder:
        for step in range(40):
            recorder.compare(logits, labels, step, shift=10**30, stream="wrong")
            recorder.compare(logits, labels, step)
            recorder.flush()
    assert recorder.stats()["written"] == 40
    (found,) = (one for one in read(tmp_path) if isinstance(one, Finding))
    assert found.evidence["shift"] is None


def test_context_is_copied_at_once(tmp_path: Path) -> None:
    """A list that the caller goes on filling is recorded as it was."""
    growing = [1]
    with Recorder(tmp_path, every=1, console=False) as recorder:
        future = recorder.compare(*events.pair(), 0, seen=growing)
        growing.append(2)
        assert future is not None
        assert future.result(5)[0].context == {"seen": [1]}


def test_a_second_start_is_the_next_attempt(tmp_path: Path) -> None:
    """A recorder on the same folder goes on in the same file, with a first and last line and a count of its own."""
    for _ in range(3):
        with Recorder(tmp_path, every=1, samples=1, console=False) as recorder:
            recorder.compare(*events.pair(), 0)
    found = [(one.event, one.attempt, one.seq) for one in read(tmp_path, attempt="all")]
    assert found == [
        (event, attempt, seq)
        for attempt in (1, 2, 3)
        for seq, event in enumerate(["predlog.run", "predlog.comparison", "predlog.run"])
    ]


def test_the_first_line_tells_the_run(tmp_path: Path) -> None:
    """An attempt begins with host, process, versions and settings."""
    with Recorder(tmp_path, every=7, console=False, streams=["text"]) as recorder:
        recorder.compare(*events.pair(), 0)
    first = next(iter(read(tmp_path)))
    assert isinstance(first, predlog.records.Run)
    assert (first.pid, first.world_size) == (os.getpid(), 1)
    assert first.settings["every"] == 7
    assert first.settings["streams"] == ["text"]
    assert first.versions["torch"] == torch.__version__


def test_nothing_is_made_where_nothing_is_recorded(tmp_path: Path) -> None:
    """A recorder that saw no due step leaves no file and no thread."""
    before = threading.active_count()
    with Recorder(tmp_path / "run", every=10) as recorder:
        recorder.compare(*events.pair(), 3)
        assert threading.active_count() == before
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("ranks", "environment", "recorded"),
    [
        (0, {}, True),
        (0, {"RANK": "0", "LOCAL_RANK": "0"}, True),
        (0, {"RANK": "8", "LOCAL_RANK": "0"}, False),
        ("local", {"RANK": "8", "LOCAL_RANK": "0"}, True),
        ("local", {"RANK": "9", "LOCAL_RANK": "1"}, False),
        ("all", {"RANK": "9", "LOCAL_RANK": "1"}, True),
        (0, {"SLURM_PROCID": "3"}, False),
        ("auto", {"RANK": "0", "LOCAL_RANK": "0"}, True),
        ("auto", {"RANK": "8", "LOCAL_RANK": "0"}, False),
        ((7, 8), {"RANK": "8", "LOCAL_RANK": "0"}, True),
        ((7, 8), {"RANK": "0", "LOCAL_RANK": "0"}, False),
    ],
)
def test_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranks: Any, environment: dict[str, str], recorded: bool
) -> None:
    """Rank 0, the first of a node, all, or those named: read when the step is due, each with a file of its own."""
    recorder = Recorder(tmp_path, every=1, ranks=ranks, console=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (recorder.compare(*events.pair(), 0) is not None) == recorded
    recorder.close()
    rank = int(environment.get("RANK", 0))
    expected = {"predictions.jsonl" if not rank else f"predictions-rank{rank}.jsonl"} if recorded else set()
    assert {file.name for file in tmp_path.iterdir()} == expected
    assert {one.rank for one in (read(tmp_path) if recorded else ())} <= {rank}


def test_the_process_group_has_the_last_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a process group is initialised, its rank counts, whatever the environment says."""
    monkeypatch.setenv("RANK", "5")
    store = torch.distributed.HashStore()  # type: ignore[attr-defined]
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        with Recorder(tmp_path, every=1, console=False) as recorder:
            assert recorder.compare(*events.pair(), 0) is not None
    finally:
        torch.distributed.destroy_process_group()
    assert {one.rank for one in read(tmp_path)} == {0}


@pytest.mark.parametrize(
    "settings",
    [
        {"every": 0}, {"every": 2.5}, {"every": None}, {"samples": 0}, {"first": -1}, {"first": 0, "last": 0},
        {"queue": 0}, {"sinks": 3}, {"sinks": [3]}, {"processors": print}, {"ranks": 1}, {"ranks": "one"},
        {"ranks": ()}, {"ranks": (0, -1)}, {"ranks": [True]},
        {"streams": "text"}, {"streams": [1]}, {"streams": 5}, {"streams": ()}, {"decode": 7}, {"directory": 7},
        {"durable_every": -1}, {"durable_every": float("nan")}, {"durable_every": "x"}, {"directory": ""},
        {"text": "no"}, {"mode": 0o400}, {"mode": "600"}, {"mode": 0o7600}, {"mode": -1}, {"mode": True},
        {"console": "wide"}, {"console": 1}, {"console": None}, {"console": ["full"]},
    ],
)  # fmt: skip
def test_senseless_settings_are_refused(settings: dict[str, Any]) -> None:
    """A recorder that could not work is not made; the message has the name and the value."""
    with pytest.raises(SettingError) as raised:
        Recorder(**settings)
    assert next(iter(settings)) in str(raised.value)
    if "console" in settings:
        assert "must be True, False, 'compact' or 'full'" in str(raised.value)


def test_a_full_queue_drops_the_newest(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What does not fit is dropped, counted, said on stderr, and named to the reader of the file."""
    release, entered = threading.Event(), threading.Event()

    def slow(_logger: Any, _name: str, event: EventDict) -> EventDict:
        entered.set()
        release.wait(10)
        return event

    with Recorder(tmp_path, every=1, samples=1, queue=2, console=False, processors=[slow]) as recorder:
        futures = [recorder.compare(*events.pair(), 0)]
        assert entered.wait(10)
        futures += [recorder.compare(*events.pair(), step) for step in range(1, 6)]
        assert [future is not None for future in futures] == [True, True, False, False, False, False]
        assert recorder.stats()["dropped"] == 4
        assert recorder.stats()["pending"] == 2
        release.set()
    assert events.counts(recorder.stats()) == {
        "submitted": 6,
        "written": 2,
        "filtered": 0,
        "dropped": 4,
        "failed": 0,
        "pending": 0,
    }
    (gap,) = (one for one in read(tmp_path) if isinstance(one, predlog.records.Gap))
    assert (gap.count, gap.reason, gap.first_step, gap.last_step) == (4, "queue full", 2, 5)
    assert events.said(capfd).count("queue of 2 pairs is full") == 1


def test_strict_raises_the_first_failure_later(tmp_path: Path) -> None:
    """What failed in the worker is raised at the next flush or compare, once."""

    def broken(_logger: Any, _name: str, event: EventDict) -> EventDict:
        if event["event"] == "predlog.comparison":
            raise ValueError("no such thing")
        return event

    recorder = Recorder(tmp_path, every=1, strict=True, console=False, processors=[broken])
    recorder.compare(*events.pair(), 0)
    with pytest.raises(PredlogError, match=r"step 0, stream 'text'.*broken raised ValueError: no such thing"):
        recorder.flush()
    assert recorder.close()


def test_closed_is_closed(tmp_path: Path) -> None:
    """After close nothing is recorded and nothing is raised; closing again is fine."""
    recorder = Recorder(tmp_path, every=1, console=False)
    recorder.compare(*events.pair(), 0)
    assert recorder.close()
    assert recorder.close()
    assert recorder.compare(*events.pair(), 1) is None
    assert recorder.flush()
    assert recorder.stats()["submitted"] == 2


def test_a_forked_child_records_nothing(tmp_path: Path) -> None:
    """The child of a fork has no worker: its calls return None, its exit waits for nothing, its parent goes on."""
    with Recorder(tmp_path, every=1, samples=1, console=False) as recorder:
        recorder.compare(*events.pair(), 0)
        recorder.flush()
        child = os.fork()
        if not child:
            silent = recorder.compare(*events.pair(), 1) is None and recorder.flush() and recorder.close()
            os._exit(0 if silent else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert recorder.compare(*events.pair(), 2) is not None
    assert [one.step for one in read(tmp_path) if isinstance(one, Comparison)] == [0, 2]


def test_a_forked_child_says_nothing(tmp_path: Path) -> None:
    """What was held back, or is waiting, is reported by the process that it happened in, and once."""
    code = (
        f"import os\npredlog.configure({str(tmp_path)!r}, every=1, console=False)\n"
        "for step in range(5): predlog.compare(pair[0], None, step)\n"
        "child = os.fork()\n"
        "if child: os.waitpid(child, 0)\n"
    )
    refused, summary = program(tmp_path, code).stderr.splitlines()
    assert refused.startswith("predlog: step 0, stream 'text': not recorded: labels are a NoneType")
    assert "; 1 open finding: unreadable-pair (text, since step 0); pairs refused: 5; next: " in summary


def test_a_worker_that_cannot_start_is_accounted_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be had, the pair is refused and not left pending; the next one is recorded."""
    with Recorder(tmp_path, every=1, samples=1, console=False) as recorder:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", lambda _self: (_ for _ in ()).throw(RuntimeError("no thread")))
            assert recorder.compare(*events.pair(), 0) is None
        assert set(events.counts(recorder.stats()).values()) == {0}
        assert recorder.compare(*events.pair(), 1) is not None
    assert recorder.stats()["written"] == 1


def test_a_worker_that_fails_midway_is_accounted_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stops the worker between two records, each comparison is counted once, and the file is reported."""

    def half(capture: Any) -> Any:
        yield next(unpack(capture))
        raise MemoryError

    with Recorder(tmp_path, every=1, console=False) as recorder:
        with monkeypatch.context() as patched:
            patched.setattr("predlog.recorder.parted.unpack", half)
            recorder.compare(*events.pair(), 0)
            recorder.flush()
        recorder.compare(*events.pair(), 1)
    assert events.counts(recorder.stats()) == {
        "submitted": 4,
        "written": 3,
        "filtered": 0,
        "dropped": 0,
        "failed": 1,
        "pending": 0,
    }
    assert [one.count for one in read(tmp_path) if isinstance(one, predlog.records.Gap)] == [1]


def program(tmp_path: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    head = "import predlog, sys\nfrom tests import events\npair = events.pair()\n"
    return fresh.run(head + code, environment={**os.environ, **environment})


@pytest.mark.parametrize("ending", ["", "sys.exit(3)", "raise RuntimeError('boom')"])
def test_the_end_of_the_program_loses_nothing(tmp_path: Path, ending: str) -> None:
    """What was compared is written when the program ends, however it ends."""
    code = f"predlog.configure({str(tmp_path)!r}, every=1, samples=1, console=False)\n"
    program(tmp_path, code + f"for step in range(50): predlog.compare(*pair, step)\n{ending}")
    assert [one.step for one in read(tmp_path) if isinstance(one, Comparison)] == list(range(50))


def test_the_environment_configures_the_default(tmp_path: Path) -> None:
    """Without `configure`, PREDLOG_DIR, PREDLOG_EVERY and PREDLOG_CONSOLE say what is recorded and where."""
    done = program(
        tmp_path, "for step in range(7): predlog.compare(*pair, step, inputs=pair[1].roll(3, 1))",
        PREDLOG_DIR=str(tmp_path / "run"), PREDLOG_EVERY="3", PREDLOG_CONSOLE="0",
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("", "")
    assert {one.step for one in read(tmp_path / "run") if isinstance(one, Comparison)} == {0, 3, 6}


def test_predlog_can_be_switched_off(tmp_path: Path) -> None:
    """PREDLOG_DISABLE=1 leaves no trace of any recorder."""
    code = f"predlog.configure({str(tmp_path / 'run')!r}, every=1)\nprint(predlog.compare(*pair, 0), predlog.close())"
    done = program(tmp_path, code, PREDLOG_DISABLE="1")
    assert (done.stdout, done.stderr, (tmp_path / "run").exists()) == ("None True\n", "", False)


def test_configure_replaces_the_default(tmp_path: Path) -> None:
    """A second `configure` closes the first recorder and takes its place; close and flush mean the newest."""
    first = predlog.configure(tmp_path / "a", every=1, console=False)
    predlog.compare(*events.pair(), 0)
    second = predlog.configure(tmp_path / "b", every=1, console=False)
    predlog.compare(*events.pair(), 0)
    assert predlog.flush()
    assert first.compare(*events.pair(), 1) is None
    assert predlog.close()
    assert len(list(read(tmp_path / "a"))) == len(list(read(tmp_path / "b"))) == 4
    assert second.stats()["written"] == 2


def test_under_compile_the_caller_keeps_one_graph(tmp_path: Path) -> None:
    """While torch.compile traces, compare returns at once, and the caller compiles as a whole graph."""
    with Recorder(tmp_path, every=1, console=False) as recorder:

        def step(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            recorder.compare(logits, labels, 0)
            return logits.sum()

        compiled = torch.compile(step, fullgraph=True, backend="eager")
        logits, labels = events.pair()
        assert torch.equal(compiled(logits, labels), logits.sum())
        assert recorder.stats()["submitted"] == 0


def test_a_trace_keeps_nothing_of_it(tmp_path: Path) -> None:
    """Under torch.jit.trace, compare returns at once, and the trace is what it would be without it."""
    with Recorder(tmp_path, every=1, console=False) as recorder:

        class Model(torch.nn.Module):
            def forward(self, logits: torch.Tensor) -> torch.Tensor:
                recorder.compare(logits, torch.zeros(logits.shape[:2]).long(), 0)
                return logits * 2

        logits = torch.randn(2, 5, 9)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says that tracing is deprecated
            traced = torch.jit.trace(Model(), logits, check_trace=False)
        assert torch.equal(traced(logits), logits * 2)
        assert recorder.stats()["submitted"] == 0


def test_unconfigured_under_compile(tmp_path: Path) -> None:
    """`predlog.compare` in a compiled function makes no recorder while it is traced, and breaks no graph."""
    code = (
        "import torch\n"
        "@torch.compile(backend='eager', fullgraph=True)\n"
        "def step(logits): predlog.compare(logits, logits[..., 0].long(), 0); return logits + 1\n"
        "print(step(torch.zeros(1, 2, 3)).sum().item())\n"
    )
    done = program(tmp_path, code)
    assert (done.returncode, done.stdout, fresh.said(done.stderr)) == (0, "6.0\n", [])


def test_more_tokens_than_positions_cost_no_more(tmp_path: Path) -> None:
    """Asking for all tokens of a short sample shows it whole, and looks at no row twice."""
    with Recorder(tmp_path, every=1, first=10**6, last=10**6, console=False, strict=True) as recorder:
        future = recorder.compare(*events.pair(length=20), 0, shift=1)
        assert future is not None
        assert [token.position for token in future.result(5)[0].tokens] == list(range(4, 20))


@pytest.mark.parametrize("name", ["shfit", "inpts", "ignore_indx", "layouts"])
def test_a_misspelled_argument_is_asked_about(tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    """A keyword that looks like an argument is kept as context, and stderr asks whether it was one."""
    with Recorder(tmp_path, every=1, console=False) as recorder:
        for step in range(3):
            recorder.compare(*events.pair(), step, **{"epoch": 3, name: 1})  # type: ignore[arg-type]
    (line,) = told(capfd)
    assert f"{name}= is kept as context; was " in line


def test_a_refused_pair_does_not_use_up_its_step(tmp_path: Path) -> None:
    """Whoever mends the call gets the record, at the same step."""
    logits, labels = events.pair()
    with Recorder(tmp_path, every=1, console=False) as recorder:
        assert recorder.compare(logits, labels[:, :3], 0) is None
        assert recorder.compare(logits, labels, 0) is not None


def test_each_cause_of_a_refusal_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One wrong stream does not hide what is wrong with another; each is a finding, written once."""
    logits, labels = events.pair()
    with Recorder(tmp_path, every=1, console=False) as recorder:
        for step in range(5):
            recorder.compare(logits, labels[:, :3], step, stream="text")
            recorder.compare(logits, labels.bool(), step, stream="audio")
    found = [record for record in predlog.read(tmp_path) if isinstance(record, predlog.Finding)]
    assert [(one.stream, one.code, one.step) for one in found] == [
        ("text", "length-mismatch", 0),
        ("audio", "unreadable-pair", 0),
    ]
    first, second, summary = told(capfd)
    assert first.startswith("predlog: step 0, stream 'text': not recorded: logits [")
    assert second.startswith("predlog: step 0, stream 'audio': not recorded: labels [")
    assert (
        "; 2 open findings: length-mismatch (text, since step 0), unreadable-pair (audio, since step 0); "
        "pairs refused: 10; next: "
    ) in summary


def test_errors_that_cannot_be_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An exception whose own text raises is reported by its name."""

    class UnspeakableError(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    class Broken:
        def __dlpack_device__(self) -> Any:
            raise UnspeakableError

        def __dlpack__(self, **_how: Any) -> Any:
            raise UnspeakableError

    def broken(_logger: Any, _name: str, event: EventDict) -> EventDict:
        raise UnspeakableError

    with Recorder(tmp_path, every=1, console=False, processors=[broken]) as recorder:
        assert recorder.compare(Broken(), Broken(), 0) is None
        assert recorder.compare(*events.pair(), 0) is not None
    assert recorder.stats()["failed"] == 2
    assert events.said(capfd).count("UnspeakableError") == 4


def test_a_callback_that_exits_does_not_end_the_worker(tmp_path: Path) -> None:
    """A future's callback may raise what it likes; the next pair is recorded."""

    def leave(_future: Any) -> None:
        raise SystemExit(3)

    release = threading.Event()
    with Recorder(tmp_path, every=1, console=False, processors=[lambda *a: (release.wait(10), a[2])[1]]) as recorder:
        first = recorder.compare(*events.pair(), 0)
        assert first is not None
        first.add_done_callback(leave)
        release.set()
        second = recorder.compare(*events.pair(), 1)
        assert second is not None
        assert len(second.result(10)) == 2


def test_compare_after_close_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Records that are asked for after the end are missed, and stderr says why."""
    recorder = Recorder(tmp_path, every=1, console=False)
    recorder.close()
    assert recorder.compare(*events.pair(), 0) is None
    assert "compare was called after close" in events.said(capfd)


def test_children_of_multiprocessing_lose_nothing(tmp_path: Path) -> None:
    """A forked child that makes a recorder of its own writes all of it, though it leaves without `atexit`."""
    code = (
        "import multiprocessing\n"
        "def work():\n"
        f"    predlog.configure({str(tmp_path)!r}, every=1, samples=1, console=False)\n"
        "    for step in range(50): predlog.compare(*pair, step)\n"
        "child = multiprocessing.get_context('fork').Process(target=work)\n"
        "child.start(); child.join(); print(child.exitcode)\n"
    )
    assert program(tmp_path, code).stdout == "0\n"
    assert [one.step for one in read(tmp_path) if isinstance(one, Comparison)] == list(range(50))


def test_standard_logging_is_left_alone(tmp_path: Path) -> None:
    """No handler, no level and no logger is added to the host's logging."""
    before = (list(logging.root.handlers), logging.root.level, set(logging.root.manager.loggerDict))
    with Recorder(tmp_path, every=1, console=False) as recorder:
        recorder.compare(*events.pair(), 0)
    assert (list(logging.root.handlers), logging.root.level, set(logging.root.manager.loggerDict)) == before


def test_of_threads_with_the_same_step_one_records(tmp_path: Path) -> None:
    """Replicas that compare the same stream and step at once leave one pair of each step."""
    start = threading.Barrier(4)

    def work(recorder: Recorder) -> None:
        for step in range(100):
            start.wait()
            recorder.compare(*events.pair(), step)

    with Recorder(tmp_path, every=1, samples=1, console=False, queue=1000) as recorder:
        threads = [threading.Thread(target=work, args=(recorder,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [one.step for one in read(tmp_path) if isinstance(one, Comparison)] == list(range(100))
    assert recorder.stats()["submitted"] == recorder.stats()["written"] == 100


def test_what_was_lost_is_said_where_closing_takes_too_long(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A sink that hangs is named at the end, with what did not reach it; what the file has is no loss."""
    release = threading.Event()

    def hanging(_logger: Any, _name: str, event: EventDict) -> EventDict:
        release.wait(30)
        return event

    recorder = Recorder(tmp_path, every=1, console=False, sinks=[hanging])
    for step in range(5):
        recorder.compare(*events.pair(), step)
    assert not recorder.close(0.5)
    (line,) = told(capfd)
    assert line == "predlog: closing took over 0.5 s: of 10 comparisons 10 did not reach hanging"
    release.set()
    assert recorder.close(30)
    assert recorder.stats()["sinks"]["hanging"]["written"] == 10


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_the_file_has_the_mode_asked_for(tmp_path: Path, mode: int) -> None:
    """`mode` is the most that the run's file permits."""
    with Recorder(tmp_path / "run", every=1, console=False, mode=mode) as recorder:
        recorder.compare(*events.pair(), 0)
    assert (tmp_path / "run" / "predictions.jsonl").stat().st_mode & 0o777 == mode


def test_what_is_the_hosts_stays_the_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No signal handler, hook or filter is another after a run, and the host's rich console is as it was."""
    signals = [one for one in signal.Signals if one not in {signal.SIGKILL, signal.SIGSTOP}]

    def state() -> list[Any]:
        console = rich.get_console()
        return [
            [signal.getsignal(one) for one in signals], sys.excepthook, sys.unraisablehook, threading.excepthook,
            list(warnings.filters), logging.root.handlers, sys.stdout, sys.stderr, dict(vars(console)),
            structlog.get_config(), signal.getitimer(signal.ITIMER_REAL), sys.gettrace(), sys.getswitchinterval(),
        ]  # fmt: skip

    before = state()
    with Recorder(tmp_path, every=1) as recorder:
        recorder.compare(*events.pair(), 0)
        recorder.flush()
        assert state() == before
    assert state() == before


def test_what_is_redirected_is_printed_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Whoever redirects stdout gets what is printed meanwhile, and nothing is printed past them."""
    code = (
        "import contextlib, io, sys\n"
        "with contextlib.redirect_stdout(io.StringIO()) as caught:\n"
        "    predlog.configure(every=1, samples=1)\n"
        "    predlog.compare(*pair, 0)\n"
        "    predlog.flush()\n"
        "print(len(caught.getvalue()) > 100)\n"
    )
    assert program(tmp_path, code).stdout == "True\n"


def test_a_call_in_the_middle_of_a_call_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever calls `compare` while a call is counting, as a signal's handler may, no count is lost."""
    steps = itertools.count(100)
    depth = [0]
    with Recorder(tmp_path, every=1, samples=1, console=False) as own:

        def interrupted(sizes: Sizes) -> int:
            # Wherever the recorder itself asks, another call comes in between.
            if not depth[0] and sys._getframe(1).f_globals["__name__"] == "predlog.recorder.submission":
                depth[0] += 1
                own.compare(*events.pair(), next(steps))
                depth[0] -= 1
            return sizes.samples * sizes.codebooks

        with monkeypatch.context() as patched:
            patched.setattr(Sizes, "count", property(interrupted))
            own.compare(*events.pair(), 0)
    stats = own.stats()
    written = [one.step for one in read(tmp_path) if isinstance(one, Comparison)]
    assert stats["submitted"] == stats["written"] == len(written) == next(steps) - 99 > 1


def test_two_ways_out_have_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where multiprocessing's finalizers and atexit both close what is open, the second has what time is left."""
    now = [100.0]
    given: list[float] = []

    class Hanging:
        def close(self, timeout: float) -> bool:
            given.append(timeout)
            now[0] += timeout
            return False

    one, other = Hanging(), Hanging()
    monkeypatch.setattr("predlog._runtime.exit.time.monotonic", lambda: now[0])
    monkeypatch.setattr(at_exit, "_open", weakref.WeakSet([one, other]))
    monkeypatch.setattr(at_exit, "_deadlines", {})
    at_exit._close_all()
    at_exit._close_all()
    assert given == [at_exit.DEADLINE, 0.0, 0.0, 0.0]


def test_who_does_not_want_to_wait_for_the_end_need_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """An interrupt while closing ends the waiting, for all that is open, and says what is lost by it."""
    release = threading.Event()

    def hanging(_logger: Any, _name: str, event: EventDict) -> EventDict:
        release.wait(30)
        return event

    recorder = Recorder(tmp_path, every=1, samples=1, console=False, processors=[hanging])
    recorder.compare(*events.pair(), 0)

    def interrupted(_worker: Any, _timeout: float) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(at_exit, "_open", weakref.WeakSet([recorder]))
    monkeypatch.setattr(at_exit, "_deadlines", {})
    with monkeypatch.context() as patched:
        patched.setattr(Worker, "close", interrupted)
        at_exit._close_all()
    assert "closing was interrupted: of 1 comparison 1 did not reach" in events.said(capfd)
    release.set()
    assert recorder.close(30)
