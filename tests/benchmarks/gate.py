"""A step that is not due against an empty function with the same signature, and what it asks of torch."""

from collections.abc import Callable, Iterator
from functools import partial

import predlog
from predlog import Recorder
from tests import events
from tests.benchmarks.harness import Contender, Row, Spread, duration, interleaved, ratio
from tests.benchmarks.options import Options
from tests.benchmarks.profiling import operations

_NOT_DUE, _DUE = 7, 1000
_CALLS = 1000


def _empty(
    logits: object, labels: object, step: int, *, stream: str = "text", layout: str | None = None, shift: int = 0,
    inputs: object = None, ignore_index: int = -100, **context: object,
) -> None:  # fmt: skip
    return None


def gate(options: Options) -> Iterator[Row]:
    """Measure both `compare`s, and count the operations of a step that is not due."""
    logits, labels = (tensor.to(options.device) for tensor in events.pair())
    recorder = Recorder(every=1000, console=False)
    predlog.configure(every=1000, console=False)
    ours = {"Recorder.compare": recorder.compare, "predlog.compare": predlog.compare}
    contenders = {name: _calls(compare, logits, labels) for name, compare in {"empty": _empty, **ours}.items()}
    times = interleaved(contenders, rounds=200)
    for name, compare in ours.items():
        yield ratio(
            times, name, "empty", name=f"gate-{name}", title=f"{name}, a step that is not due / an empty function",
            at_most=1.5, note=duration(times[name].median),
        )  # fmt: skip
        not_due, due = (operations(partial(compare, logits, labels, step, shift=1)) for step in (_NOT_DUE, _DUE))
        yield Row(
            name=f"gate-{name}-operations", title=f"{name}, torch operations on a step that is not due",
            measured=Spread.exact(not_due), at_most=0, note=f"{due} on one that is",
        )  # fmt: skip
        assert due, "the count is blind"
    recorder.close()
    predlog.close()


def _calls(compare: Callable[..., object], logits: object, labels: object) -> Contender:
    def run() -> None:
        # Called here and not through another function, whose time would make any two alike.
        for _ in range(_CALLS):
            compare(logits, labels, _NOT_DUE, shift=1)

    return Contender(run, _CALLS)
