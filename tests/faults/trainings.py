"""Trainings that the Trainer's callback can't record, and those that raise: they go on, or end, as they would without.

The rule: one line per cause and training, whatever its length; no finding where nothing is wrong; the weights are the
same; and of trainings that raise neither a thread nor a descriptor is left, though their trainers are.
"""

from collections.abc import Iterator
from importlib.util import find_spec

from tests.faults.children import started
from tests.faults.experiment import Figure, Size, at_most, equals, told

# What nothing can be recorded of, and what is healthy. The first of each are those of a reduced run.
_HOPELESS = (
    "no logits", "floats", "no labels, with the mixin", "no labels", "probabilities", "logits are a text",
    "logits are missing",
)  # fmt: skip
_HEALTHY = ("classes", "a tokenizer that is smaller", "a tokenizer that can't be copied")


def run(size: Size) -> Iterator[Figure]:
    """Train in a process of its own, which imports transformers."""
    if any(find_spec(package) is None for package in ("transformers", "accelerate")):
        yield told("not done", 1, note="transformers or accelerate is not installed")
        return
    steps, many = size.of(300, 4), size.of(200, 2)
    kinds = size.of(_HOPELESS + _HEALTHY, _HOPELESS[:2] + _HEALTHY[:2])
    with started("trainings", kinds=kinds, steps=steps, many=many) as child:
        done = child.told("done", size.of(3000, 200))
        if done is None:
            yield equals("hangs or died", 1, 0, f"{child.stuck()} {child.stderr()[-300:]}")
            return
    for one in done["trained"]:
        kind = one["kind"]
        recorded = steps if kind in _HEALTHY else 0
        most = 0 if kind == "classes" else 1
        yield at_most(
            f"{kind}, {steps} steps: lines on stderr", len(one["lines"]), most, note=" | ".join(one["lines"])[:160]
        )
        yield equals(f"{kind}: steps recorded", one["steps"], recorded)
        yield equals(f"{kind}: findings, and weights that differ", one["findings"] + one["weights"], 0)
    for what, count in done["left"]:
        yield equals(f"{many} trainings that raised: {what}", count, 0)
