"""Other ways to learn what a model predicts against predlog's whole logging step, which also writes and draws it."""

from collections.abc import Iterator

from tests.benchmarks.baselines import naive_way, torchmetrics_accuracy, transformers_copy
from tests.benchmarks.harness import Contender, Row, duration, interleaved, ratio
from tests.benchmarks.material import SMALL, pairs
from tests.benchmarks.options import Options
from tests.benchmarks.whole import WholeStep

_STEPS = 20


def instead(options: Options) -> Iterator[Row]:
    """Measure the naive way to the same content, torchmetrics' accuracy, and the copy that transformers makes."""
    turns = pairs(SMALL, options.device)
    accuracy = torchmetrics_accuracy(SMALL.vocabulary)
    with WholeStep.of(turns, score=False) as without, WholeStep.of(turns, score=True) as with_score:
        times = interleaved(
            {
                "naive way": Contender(lambda: naive_way(*next(turns))),
                "step": without.in_a_loop(_STEPS),
                "torchmetrics": Contender(lambda: accuracy(*next(turns))),
                "transformers copy": Contender(lambda: transformers_copy(*next(turns))),
                "step with score": with_score.in_a_loop(_STEPS),
            },
            rounds=11,
        )
    for other, ours, target in (
        ("naive way", "step", options.stated(100)),
        ("naive way", "step with score", None),
        ("torchmetrics", "step with score", None),
        ("transformers copy", "step with score", None),
    ):
        yield ratio(
            times, other, ours, name=f"{other} {ours.removeprefix('step').strip()}".strip().replace(" ", "-"),
            title=f"{other} / predlog's whole {ours}, {SMALL}, in a loop",
            at_least=target, note=f"{duration(times[other].median)} / {duration(times[ours].median)}",
        )  # fmt: skip
