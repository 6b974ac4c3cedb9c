"""Callbacks and `watch` where ranks share the logits: the ranks of one copy record their parts, and nothing is sent."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import predlog
from predlog import Comparison
from tests.installed import release
from tests.integrations.launching import run_once
from tests.integrations.needed import needed

needed("transformers")
needed("lightning")
if release("torch") < (2, 8) or release("transformers") < (5, 18):
    pytest.skip("written for torch 2.8 and transformers 5.18, and later", allow_module_level=True)

from tests.integrations import callbacks_on_mesh as mesh  # noqa: E402 - what is needed is asked for first

# Four processes: CI runs them with `-m slow`.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_once(tmp_path_factory, "callbacks_on_mesh")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Comparison]:
    """Train the same model on the batches of the first replica, in one process."""
    folder = tmp_path_factory.mktemp("whole")
    model = mesh.Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with predlog.Recorder(folder, every=1, console=False) as recorder:
        for step, batch in enumerate(mesh.batches(0)):
            output = model(**batch)
            recorder.compare(output["logits"], batch["labels"], step, inputs=batch["input_ids"])
            output["loss"].backward()
            optimizer.step()
            optimizer.zero_grad()
    return comparisons(folder)


def comparisons(folder: Path) -> list[Comparison]:
    return [one for one in predlog.read(folder) if isinstance(one, Comparison)]


@pytest.mark.parametrize("way", mesh.WAYS)
def test_the_ranks_of_the_first_copy_record(folder: Path, whole: list[Comparison], way: str) -> None:
    """Of two replicas, each sharded over two ranks, ranks 0 and 1 record, and their parts join to the whole records."""
    files = sorted(one.name for one in (folder / way).glob("*.jsonl"))
    assert files == ["predictions-rank1.jsonl", "predictions.jsonl"]
    found = comparisons(folder / way)
    assert [(one.step, one.sample) for one in found] == [(step, one) for step in range(mesh.STEPS) for one in (0, 1)]
    for one, other in zip(found, whole, strict=True):
        assert (one.missing_ids, one.supervised, one.length) == (0, other.supervised, other.length)
        assert one.loss == pytest.approx(other.loss, abs=1e-4)
        ours, theirs = ([(two.position, two.label, two.prediction) for two in rec.tokens] for rec in (one, other))
        assert ours == theirs


@pytest.mark.parametrize("way", mesh.WAYS)
def test_the_training_is_the_same_without(folder: Path, way: str) -> None:
    """On each rank the weights are those without predlog, bit by bit, after as many collectives."""
    for rank in range(4):
        seen: dict[str, Any] = json.loads((folder / f"seen{rank}.json").read_text())
        (with_predlog, without), are_equal = seen[way]
        assert with_predlog == without > 0
        assert are_equal


def test_other_ranks_say_nothing(folder: Path) -> None:
    """The only report is that `watch` has no inputs, once: nothing comes from the ranks that do not record."""
    lines = [one for one in (folder / "output").read_text().splitlines() if one.startswith("predlog:")]
    assert len(lines) == 1
    assert "the inputs are not known" in lines[0]
