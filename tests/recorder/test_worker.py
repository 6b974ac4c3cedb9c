"""The hand-off: one thread behind a bounded queue."""

import queue
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from predlog.recorder.worker import Worker


def nothing() -> None:
    pass


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Let threads take turns as often as they can, so that races happen."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


class TestWorker:
    def test_everything_is_done_in_order_in_one_thread(self) -> None:
        """Items come out in the order in which they went in, all in the worker."""
        done: list[tuple[int, str]] = []
        worker: Worker[int] = Worker(
            lambda item: done.append((item, threading.current_thread().name)),
            nothing,
            nothing,
            bound=500,
            name="worker",
        )
        assert all(worker.submit(item) for item in range(500))
        assert worker.close(10)
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
        worker: Worker[int] = Worker(done.append, nothing, nothing, bound=10, name="interrupted")
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", interrupted)
            with pytest.raises(KeyboardInterrupt):
                worker.submit(1)
        assert worker.submit(2)
        assert worker.flush(10)
        assert done == [2]
        assert [thread.name for thread in threading.enumerate()].count("interrupted") == 1
        assert worker.close(10)

    def test_closing_right_behind_the_first_item_loses_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever closes before the worker has come to itself waits for it all the same."""
        wakes, run = threading.Event(), Worker._run

        def drowsy(worker: Worker[int]) -> None:
            assert wakes.wait(10)
            run(worker)

        monkeypatch.setattr(Worker, "_run", drowsy)
        done: list[int] = []
        worker: Worker[int] = Worker(done.append, nothing, nothing, bound=10, name="worker")
        timer = threading.Timer(0.05, wakes.set)
        timer.start()
        assert worker.submit(1)
        assert worker.close(10)
        assert done == [1]

    def test_of_threads_that_start_it_one_is_the_worker(self, hasty_threads: None) -> None:
        """However many callers find no worker, there is one afterwards, and each item is worked on once, in order."""
        for _ in range(30):
            done: list[int] = []
            worker: Worker[int] = Worker(done.append, nothing, nothing, bound=100, name="one of several")
            together = threading.Barrier(4)

            def work(worker: Worker[int] = worker, together: threading.Barrier = together) -> None:
                together.wait()
                for item in range(10):
                    assert worker.submit(item)

            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert worker.flush(10)
            assert sorted(done) == sorted([*range(10)] * 4)
            others = [
                one for one in threading.enumerate() if one.name == "one of several" and one is not worker._thread
            ]
            for other in others:  # it came second, and is about to end
                other.join(10)
            assert not any(other.is_alive() for other in others)
            assert worker._thread is not None
            assert worker._thread.is_alive()
            assert worker.close(10)

    def test_the_bound_counts_the_item_at_work(self) -> None:
        """At most `bound` items are in flight; the next is refused at once; each that is done makes room."""
        release, entered = threading.Semaphore(0), threading.Semaphore(0)

        def work(_item: int) -> None:
            entered.release()
            release.acquire()

        worker: Worker[int] = Worker(work, nothing, nothing, bound=3, name="worker")
        assert [worker.submit(item) for item in range(5)] == [True, True, True, False, False]
        assert worker.pending == 3
        entered.acquire()
        assert not worker.flush(0.0)
        release.release()
        entered.acquire()  # the second is at work, so the first has made room
        assert worker.submit(5)
        for _ in range(3):
            release.release()
        assert worker.close(10)

    def test_flush_waits_for_what_came_before(self) -> None:
        """When flush returns true, all that was submitted is done, and settled once."""
        done: list[int] = []
        settled: list[int] = []
        worker: Worker[int] = Worker(done.append, lambda: settled.append(len(done)), nothing, bound=100, name="worker")
        for round_ in range(1, 20):
            worker.submit(round_)
            assert worker.flush(10)
            assert done == list(range(1, round_ + 1))
        assert settled == list(range(1, 20))
        worker.close(10)

    def test_close_finishes_last_and_once(self) -> None:
        """`finish` runs after every item, in the worker, once; afterwards nothing is accepted."""
        calls: list[Any] = []
        worker: Worker[int] = Worker(calls.append, nothing, lambda: calls.append("finish"), bound=10, name="worker")
        worker.submit(1)
        worker.submit(2)
        assert worker.close(10)
        assert worker.close(10)
        assert calls == [1, 2, "finish"]
        assert not worker.submit(3)

    def test_nothing_started_nothing_to_close(self) -> None:
        """Without an item there is no thread."""
        before = threading.active_count()
        worker: Worker[int] = Worker(nothing, nothing, nothing, bound=1, name="worker")  # type: ignore[arg-type]
        assert worker.flush(0)
        assert worker.close(0)
        assert threading.active_count() == before

    def test_a_worker_that_hangs_is_left_behind_in_time(self) -> None:
        """Flush and close give up when their time has passed, and say so."""
        release = threading.Event()
        worker: Worker[int] = Worker(lambda _item: release.wait(30), nothing, nothing, bound=10, name="worker")  # type: ignore[arg-type]
        worker.submit(1)
        assert not worker.flush(0.01)
        assert not worker.close(0.01)
        release.set()

    @pytest.mark.usefixtures("hasty_threads")
    @pytest.mark.parametrize("_round", range(100))
    def test_there_is_never_a_second_worker(self, _round: int) -> None:
        """However many threads submit first, at once, one worker is started, and close ends it."""
        workers: set[int] = set()
        worker: Worker[int] = Worker(
            lambda _item: workers.add(threading.get_ident()), nothing, nothing, bound=20, name="worker"
        )
        barrier = threading.Barrier(6)
        threads = [threading.Thread(target=lambda: (barrier.wait(), worker.submit(1))) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert worker.close(10)
        assert len(workers) == 1

    @pytest.mark.usefixtures("hasty_threads")
    @pytest.mark.parametrize("_round", range(200))
    def test_what_is_accepted_while_closing_is_done(self, _round: int) -> None:
        """A submission that races with close is refused or done, never left behind."""
        done: list[int] = []
        finished = threading.Event()
        worker: Worker[int] = Worker(done.append, nothing, finished.set, bound=1000, name="worker")
        accepted = [0] if worker.submit(0) else []
        thread = threading.Thread(target=lambda: accepted.extend(n for n in range(1, 200) if worker.submit(n)))
        thread.start()
        worker.close(10)
        thread.join()
        assert finished.wait(10)
        assert sorted(done) == accepted
        assert worker.pending == 0

    @pytest.mark.parametrize("timeout", [float("inf"), 1e10, float("nan"), -1.0, 0.0])
    def test_any_timeout_will_do(self, timeout: float) -> None:
        """Infinite, huge, negative and senseless timeouts are times like any other."""
        worker: Worker[int] = Worker(lambda _item: None, nothing, nothing, bound=10, name="worker")
        worker.submit(1)
        assert worker.flush(10)
        worker.flush(timeout)
        worker.close(timeout)
        assert worker.close(10)

    def test_a_thread_that_cannot_start_leaves_no_trace(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error is raised to whoever submitted; the next submission tries again."""
        done: list[int] = []
        worker: Worker[int] = Worker(done.append, nothing, nothing, bound=1, name="worker")
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", lambda _self: (_ for _ in ()).throw(RuntimeError("no thread")))
            with pytest.raises(RuntimeError, match="no thread"):
                worker.submit(1)
        assert worker.pending == 0
        assert worker.submit(2)
        assert worker.close(10)
        assert done == [2]

    def test_many_threads_lose_and_repeat_nothing(self) -> None:
        """Whatever is accepted is done once, from however many threads it comes."""
        done: list[int] = []
        worker: Worker[int] = Worker(done.append, nothing, nothing, bound=50, name="worker")
        accepted: list[int] = []

        def submit(start: int) -> None:
            accepted.extend(item for item in range(start, start + 1000) if worker.submit(item))

        threads = [threading.Thread(target=submit, args=(1000 * n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert worker.close(10)
        assert sorted(done) == sorted(accepted)
        assert worker.pending == 0


def test_a_worker_settles_when_nothing_comes_for_a_while() -> None:
    """With `settle_after`, what an item has left to do is done without a flush, once for each time that it is idle."""
    settled: queue.SimpleQueue[int] = queue.SimpleQueue()
    done: list[int] = []
    worker: Worker[int] = Worker(
        done.append, lambda: settled.put(len(done)), nothing, bound=100, name="worker", settle_after=0.01
    )
    for number in (1, 2):
        assert worker.submit(number)
        while settled.get(timeout=10) < number:
            pass
    assert worker.close(10)
    assert settled.empty()
