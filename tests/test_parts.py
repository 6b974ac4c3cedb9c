"""The small parts: hand-off, losses, notices, context, imports."""

import ast
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import predlog
from predlog import records
from predlog.context import plain_context
from predlog.handoff import HandOff
from predlog.losses import Loss, Losses
from predlog.notices import Notices
from tests import events

PACKAGE = Path(__file__).parent.parent / "predlog"


def nothing() -> None:
    pass


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Let threads take turns as often as they can, so that races happen."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


class TestHandOff:
    def test_everything_is_done_in_order_in_one_thread(self) -> None:
        """Items come out in the order in which they went in, all in the worker."""
        done: list[tuple[int, str]] = []
        handoff: HandOff[int] = HandOff(
            lambda item: done.append((item, threading.current_thread().name)),
            nothing,
            nothing,
            bound=500,
            name="worker",
        )
        assert all(handoff.submit(item) for item in range(500))
        assert handoff.close(10)
        assert done == [(item, "worker") for item in range(500)]

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_an_interrupt_while_the_worker_starts(self, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
        """A signal's handler that raises in the middle of it costs that item at most: the next is worked on, once."""
        start = threading.Thread.start

        def interrupted(thread: threading.Thread) -> None:
            if when == "after":
                start(thread)
            raise KeyboardInterrupt

        done: list[int] = []
        handoff: HandOff[int] = HandOff(done.append, nothing, nothing, bound=10, name="interrupted")
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", interrupted)
            with pytest.raises(KeyboardInterrupt):
                handoff.submit(1)
        assert handoff.submit(2)
        assert handoff.flush(10)
        assert done == [2]
        assert [thread.name for thread in threading.enumerate()].count("interrupted") == 1
        assert handoff.close(10)

    def test_closing_right_behind_the_first_item_loses_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever closes before the worker has come to itself waits for it all the same."""
        wakes, run = threading.Event(), HandOff._run

        def drowsy(handoff: HandOff[int]) -> None:
            assert wakes.wait(10)
            run(handoff)

        monkeypatch.setattr(HandOff, "_run", drowsy)
        done: list[int] = []
        handoff: HandOff[int] = HandOff(done.append, nothing, nothing, bound=10, name="worker")
        timer = threading.Timer(0.05, wakes.set)
        timer.start()
        assert handoff.submit(1)
        assert handoff.close(10)
        assert done == [1]

    def test_of_threads_that_start_it_one_is_the_worker(self, hasty_threads: None) -> None:
        """However many callers find no worker, there is one afterwards, and each item is worked on once, in order."""
        for _ in range(30):
            done: list[int] = []
            handoff: HandOff[int] = HandOff(done.append, nothing, nothing, bound=100, name="one of several")
            together = threading.Barrier(4)

            def work(handoff: HandOff[int] = handoff, together: threading.Barrier = together) -> None:
                together.wait()
                for item in range(10):
                    assert handoff.submit(item)

            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert handoff.flush(10)
            assert sorted(done) == sorted([*range(10)] * 4)
            others = [
                one for one in threading.enumerate() if one.name == "one of several" and one is not handoff._thread
            ]
            for other in others:  # it came second, and is about to end
                other.join(10)
            assert not any(other.is_alive() for other in others)
            assert handoff._thread is not None
            assert handoff._thread.is_alive()
            assert handoff.close(10)

    def test_the_bound_counts_the_item_at_work(self) -> None:
        """At most `bound` items are in flight; the next is refused at once; each that is done makes room."""
        release, entered = threading.Semaphore(0), threading.Semaphore(0)

        def work(_item: int) -> None:
            entered.release()
            release.acquire()

        handoff: HandOff[int] = HandOff(work, nothing, nothing, bound=3, name="worker")
        assert [handoff.submit(item) for item in range(5)] == [True, True, True, False, False]
        assert handoff.pending == 3
        entered.acquire()
        assert not handoff.flush(0.0)
        release.release()
        entered.acquire()  # the second is at work, so the first has made room
        assert handoff.submit(5)
        for _ in range(3):
            release.release()
        assert handoff.close(10)

    def test_flush_waits_for_what_came_before(self) -> None:
        """When flush returns true, all that was submitted is done, and settled once."""
        done: list[int] = []
        settled: list[int] = []
        handoff: HandOff[int] = HandOff(
            done.append, lambda: settled.append(len(done)), nothing, bound=100, name="worker"
        )
        for round_ in range(1, 20):
            handoff.submit(round_)
            assert handoff.flush(10)
            assert done == list(range(1, round_ + 1))
        assert settled == list(range(1, 20))
        handoff.close(10)

    def test_close_finishes_last_and_once(self) -> None:
        """`finish` runs after every item, in the worker, once; afterwards nothing is accepted."""
        calls: list[Any] = []
        handoff: HandOff[int] = HandOff(calls.append, nothing, lambda: calls.append("finish"), bound=10, name="worker")
        handoff.submit(1)
        handoff.submit(2)
        assert handoff.close(10)
        assert handoff.close(10)
        assert calls == [1, 2, "finish"]
        assert not handoff.submit(3)

    def test_nothing_started_nothing_to_close(self) -> None:
        """Without an item there is no thread."""
        before = threading.active_count()
        handoff: HandOff[int] = HandOff(nothing, nothing, nothing, bound=1, name="worker")  # type: ignore[arg-type]
        assert handoff.flush(0)
        assert handoff.close(0)
        assert threading.active_count() == before

    def test_a_worker_that_hangs_is_left_behind_in_time(self) -> None:
        """Flush and close give up when their time has passed, and say so."""
        release = threading.Event()
        handoff: HandOff[int] = HandOff(lambda _item: release.wait(30), nothing, nothing, bound=10, name="worker")  # type: ignore[arg-type]
        handoff.submit(1)
        assert not handoff.flush(0.01)
        assert not handoff.close(0.01)
        release.set()

    @pytest.mark.usefixtures("hasty_threads")
    @pytest.mark.parametrize("_round", range(100))
    def test_there_is_never_a_second_worker(self, _round: int) -> None:
        """However many threads submit first, at once, one worker is started, and close ends it."""
        workers: set[int] = set()
        handoff: HandOff[int] = HandOff(
            lambda _item: workers.add(threading.get_ident()), nothing, nothing, bound=20, name="worker"
        )
        barrier = threading.Barrier(6)
        threads = [threading.Thread(target=lambda: (barrier.wait(), handoff.submit(1))) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert handoff.close(10)
        assert len(workers) == 1

    @pytest.mark.usefixtures("hasty_threads")
    @pytest.mark.parametrize("_round", range(200))
    def test_what_is_accepted_while_closing_is_done(self, _round: int) -> None:
        """A submission that races with close is refused or done, never left behind."""
        done: list[int] = []
        finished = threading.Event()
        handoff: HandOff[int] = HandOff(done.append, nothing, finished.set, bound=1000, name="worker")
        accepted = [0] if handoff.submit(0) else []
        thread = threading.Thread(target=lambda: accepted.extend(n for n in range(1, 200) if handoff.submit(n)))
        thread.start()
        handoff.close(10)
        thread.join()
        assert finished.wait(10)
        assert sorted(done) == accepted
        assert handoff.pending == 0

    @pytest.mark.parametrize("timeout", [float("inf"), 1e10, float("nan"), -1.0, 0.0])
    def test_any_timeout_will_do(self, timeout: float) -> None:
        """Infinite, huge, negative and senseless timeouts are times like any other."""
        handoff: HandOff[int] = HandOff(lambda _item: None, nothing, nothing, bound=10, name="worker")
        handoff.submit(1)
        assert handoff.flush(10)
        handoff.flush(timeout)
        handoff.close(timeout)
        assert handoff.close(10)

    def test_a_thread_that_cannot_start_leaves_no_trace(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error is raised to whoever submitted; the next submission tries again."""
        done: list[int] = []
        handoff: HandOff[int] = HandOff(done.append, nothing, nothing, bound=1, name="worker")
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", lambda _self: (_ for _ in ()).throw(RuntimeError("no thread")))
            with pytest.raises(RuntimeError, match="no thread"):
                handoff.submit(1)
        assert handoff.pending == 0
        assert handoff.submit(2)
        assert handoff.close(10)
        assert done == [2]

    def test_many_threads_lose_and_repeat_nothing(self) -> None:
        """Whatever is accepted is done once, from however many threads it comes."""
        done: list[int] = []
        handoff: HandOff[int] = HandOff(done.append, nothing, nothing, bound=50, name="worker")
        accepted: list[int] = []

        def submit(start: int) -> None:
            accepted.extend(item for item in range(start, start + 1000) if handoff.submit(item))

        threads = [threading.Thread(target=submit, args=(1000 * n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert handoff.close(10)
        assert sorted(done) == sorted(accepted)
        assert handoff.pending == 0


class TestLosses:
    @given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from(["a", "b"])) | st.none(), max_size=40))
    def test_what_is_taken_adds_up(self, happens: list[tuple[int, str] | None]) -> None:
        """Each loss is reported once, with the steps that it spans."""
        losses, taken = Losses(), []
        for step, one in enumerate([*happens, None]):
            if one is None:
                taken += losses.take()
            else:
                losses.add(one[0], one[1], step, step)
        for reason in ("a", "b"):
            expected = [(at, one[0]) for at, one in enumerate(happens) if one is not None and one[1] == reason]
            mine = [loss for loss in taken if loss.reason == reason]
            assert sum(loss.count for loss in mine) == sum(count for _, count in expected)
            if expected:
                assert (mine[0].first_step, mine[-1].last_step) == (expected[0][0], expected[-1][0])
        assert losses.take() == []

    def test_one_entry_a_reason(self) -> None:
        """However many are lost, a reason is one entry."""
        losses = Losses()
        for step in range(1000):
            losses.add(2, "queue full", step, step)
        assert losses.take() == [Loss(2000, "queue full", 0, 999)]


class TestNotices:
    def test_once_a_minute_a_kind(self, capfd: pytest.CaptureFixture[str]) -> None:
        """The first of a kind is said, the others are counted until a minute has passed."""
        now = [0.0]
        notices = Notices(clock=lambda: now[0])
        for second in range(0, 121, 10):
            now[0] = float(second)
            notices.say("a", f"a at {second}")
        notices.say("b", "b")
        assert capfd.readouterr().err.splitlines() == [
            "predlog: a at 0",
            "predlog: a at 60 (5 more like this since the last line)",
            "predlog: a at 120 (5 more like this since the last line)",
            "predlog: b",
        ]
        for _ in range(3):
            notices.say("a", "a")
        notices.say("b", "b")
        notices.say_how_many_were_held_back()
        notices.say_how_many_were_held_back()
        assert capfd.readouterr().err == "predlog: 4 more lines were held back\n"

    def test_kept_for_those_who_raise(self, capfd: pytest.CaptureFixture[str]) -> None:
        """With `keep` nothing is written, and the first message can be taken, once."""
        notices = Notices(keep=True)
        notices.say("a", "first")
        notices.say("b", "second")
        assert (notices.take(), notices.take()) == ("first", None)
        assert capfd.readouterr().err == ""

    def test_one_plain_line_whatever_the_message(self, capfd: pytest.CaptureFixture[str]) -> None:
        """A message with newlines and odd characters is still one line of ASCII."""
        Notices().say("a", "two\nlines \ud800 \x1b[31m 表")
        assert capfd.readouterr().err == "predlog: two lines \\ud800 \\x1b[31m \\u8868\n"

    @pytest.mark.parametrize("stream", [None, "closed"])
    def test_without_a_stderr_nothing_happens(
        self, monkeypatch: pytest.MonkeyPatch, stream: Any, tmp_path: Path
    ) -> None:
        """A missing or closed stderr loses the line, not the run."""
        if stream == "closed":
            stream = (tmp_path / "stderr").open("w")
            stream.close()
        monkeypatch.setattr(sys, "stderr", stream)
        Notices().say("a", "lost")


@given(
    st.dictionaries(
        st.text(max_size=3),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=3) | st.integers() | st.just(object()),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        ),
    )
)
def test_context_is_always_plain(context: dict[str, Any]) -> None:
    """Whatever is given, what is kept is JSON, and what is not kept is named."""
    values, problems = plain_context(context)
    assert values.keys() == context.keys()
    assert records.from_line(records.to_line(events.comparison(context=values))).context == values
    assert all(any(problem.startswith(f"{name}=") for name in context) for problem in problems)


# --- the house ---------------------------------------------------------------------------------------------------

# Each module may import those that stand above it. sinks/ is a floor of its own.
ORDER = [
    "errors", "writable", "notices", "forking", "resting", "ranks", "escaping", "shares", "hypertext", "records",
    "context", "specials", "facts", "findings", "settings", "layout", "window", "rows", "sources",
    "counting", "captured", "recipe",
    "ring",
    "surroundings", "capture", "unpacking", "handoff", "losses", "judging", "redaction", "processors",
    "sinks.visible", "sinks.wording", "sinks.table", "sinks.codebooks", "sinks.jsonl", "sinks.console", "sinks",
    "guards", "outlets", "lanes", "accounts", "submission", "pipeline", "arguments", "leaving", "recorder", "default",
    "integrations", "integrations.models", "integrations.texts", "integrations.heads", "integrations.shifts",
    "integrations.forwards", "integrations.transformers",
    "integrations.steps", "integrations.lightning",
    "history", "heard", "compiled", "numbering", "watching",
    "places", "inflating", "lines", "attempts", "damage", "ending", "merging", "reading", "selecting", "following",
    "exporting",
    "points", "steps", "sinks.tensorboard", "sinks.wandb", "sinks.mlflow", "sinks.trackio",
    "curves", "starts", "standing", "summary", "learning", "troubles", "aligning", "contrasting", "scoring",
    "comparing", "differing",
    "phrases", "pictures", "pictures.sparkline", "pictures.figures", "pictures.paper", "pictures.curves",
    "pictures.troubles", "pictures.objects", "pictures.difference", "pictures.differences", "shades", "inlining",
    "strip", "captions", "plots", "sections", "dossier", "report", "mistakes", "demo", "options",
    "commands", "commands.saying", "commands.waiting", "commands.targets", "commands.looking", "commands.check",
    "commands.completion", "commands.demo", "commands.diff", "commands.explain", "commands.export", "commands.report",
    "commands.summary", "commands.tail", "cli",
]  # fmt: skip
HOMES = {
    "torch": {
        "layout", "window", "rows", "sources", "counting", "captured", "recipe", "ring", "surroundings", "capture",
        "recorder", "default", "history", "heard", "compiled", "numbering", "watching", "integrations.models",
        "integrations.heads", "integrations.forwards", "integrations.transformers", "mistakes", "demo",
        "sinks.tensorboard",
    },
    "transformers": {"integrations.transformers"},
    "einops": {"layout"},
    "structlog": {"processors", "guards", "outlets", "pipeline", "arguments", "recorder"},
    "msgspec": {"records"},
    "orjson": {"records"},
    "duckdb": {"exporting"},
    "pyarrow": {"exporting"},
    "tensorboard": set(),  # through torch
    "wandb": {"sinks.wandb"},
    "mlflow": {"sinks.mlflow"},
    "trackio": {"sinks.trackio"},
    "opentelemetry": set(),  # its own processor is a sink
    "jinja2": {"report"},
    "bokeh": {"plots", "report"},
    "lightning": {"integrations.lightning"},
    "rich": {
        "sinks.visible", "sinks.wording", "sinks.table", "sinks.codebooks", "sinks.console", "pictures.paper",
        "pictures.curves", "pictures.difference", "demo", "commands.explain", "commands.tail", "commands.waiting",
    },
}  # fmt: skip


def modules() -> dict[str, ast.Module]:
    files = {file: file.relative_to(PACKAGE).with_suffix("") for file in PACKAGE.rglob("*.py")}
    return {".".join(name.parts).removesuffix(".__init__"): ast.parse(file.read_text()) for file, name in files.items()}


def imported(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own(name: str) -> str | None:
    """Give the module of predlog's that an imported name comes from."""
    parts = name.split(".")
    if parts[0] != "predlog":
        return None
    for end in (3, 2):
        if ".".join(parts[1:end]) in ORDER:
            return ".".join(parts[1:end])
    return None


@pytest.mark.parametrize("module", ORDER)
def test_imports_point_up(module: str) -> None:
    """A module imports only what stands above it in the list of the house."""
    above = ORDER[: ORDER.index(module)] + ([*ORDER] if module == "demo" else [])
    below = {own(name) for name in imported(modules()[module])} - {None, *above}
    assert not below


def test_the_list_has_every_module() -> None:
    """No module stands outside the house."""
    assert set(modules()) - {"__init__"} == set(ORDER)


@pytest.mark.parametrize("library", HOMES)
def test_each_heavy_dependency_has_its_home(library: str) -> None:
    """Only the modules of the table import a heavy dependency."""
    users = {name for name, tree in modules().items() if any(one.split(".")[0] == library for one in imported(tree))}
    assert users == HOMES[library]


def loaded_by(code: str) -> set[str]:
    program = f"import sys; {code}; print(*sys.modules)"
    return set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )


@pytest.mark.parametrize(
    ("code", "without"),
    [
        ("import predlog", {"torch", "structlog", "rich", "msgspec", "orjson", "einops", "numpy"}),
        ("import predlog; predlog.read", {"torch", "structlog", "rich", "einops", "numpy"}),
        (
            "import predlog.cli, predlog.options; predlog.options.parser()",
            {"torch", "structlog", "rich", "einops", "numpy"},
        ),
    ],
)
def test_importing_is_light(code: str, without: set[str]) -> None:
    """Importing predlog, reading files and starting the command line load none of what they don't need."""
    assert not loaded_by(code) & without


def test_a_recorder_loads_no_more_than_it_needs() -> None:
    """Beyond torch, a recorder loads no progress bar, tokenizer, notebook or NumPy, though they are installed."""
    more = loaded_by("import torch, predlog; predlog.Recorder()") - loaded_by("import torch")
    assert not {name.split(".")[0] for name in more} & {"tqdm", "transformers", "tokenizers", "IPython", "numpy"}


def test_that_test_can_fail() -> None:
    """Using the recorder does load torch and structlog, and the test above would see it."""
    assert {"torch", "structlog"} <= loaded_by("import predlog; predlog.Recorder")


def test_public_names_are_there() -> None:
    """Every public name resolves, and an unknown one is an AttributeError."""
    assert all(getattr(predlog, name) is not None for name in predlog.__all__)
    assert set(dir(predlog)) == set(predlog.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = predlog.nothing
