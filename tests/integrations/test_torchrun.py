"""The programs of docs/frameworks/torchrun.md: real trainings in two processes, with DDP and with FSDP2."""

import pytest

from predlog import Comparison
from tests.installed import release
from tests.integrations.held import assert_held, same
from tests.integrations.launching import Edits, Training, launched
from tests.integrations.needed import needed

needed("transformers")

PROGRAMS = ["torchrun_ddp", "torchrun_fsdp2"]
# Each starts ten processes: CI runs them with `-m slow`.
pytestmark = pytest.mark.slow
COMPARE = "    predlog.compare(output.logits, batch, step, shift=1, inputs=batch, reported_loss=output.loss)\n"
WITHOUT: Edits = [(COMPARE, ""), ("predlog.configure(", "(lambda *_, **__: None)(")]
MODEL = "output = model(input_ids=batch, labels=batch)"


def with_labels(made: str) -> Edits:
    """Make the labels otherwise than the documentation does."""
    return [
        (MODEL, f"labels = {made}\n    {MODEL.replace('labels=batch', 'labels=labels')}"),
        ("output.logits, batch", "output.logits, labels"),
    ]


VARIANTS: dict[str, Edits] = {
    "plain": [],
    "without": WITHOUT,
    "one rank": [(', ranks="all"', "")],
    "shifted": with_labels("batch.roll(-1, 1)"),
    "masked": with_labels("batch.new_full(batch.shape, -100)"),
}


@pytest.fixture(scope="module", params=PROGRAMS)
def trainings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Training]:
    if request.param == "torchrun_fsdp2" and release("torch") < (2, 8):
        pytest.skip("torch 2.4 has no public fully_shard, and that of 2.6 does not run on a CPU")
    return launched(tmp_path_factory, request.param, VARIANTS)


def test_each_rank_records_what_its_model_saw(trainings: dict[str, Training]) -> None:
    """With ranks="all" every process writes its own batches, reading merges them, and nothing is found wrong."""
    plain = trainings["plain"]
    assert plain.ranks == {0, 1}
    for rank in (0, 1):
        pairs = plain.pairs(rank)
        assert len(pairs) == 10
        assert_held(plain.comparisons(rank), {step: pairs[step] for step in (0, 5)})
    assert [one.step for one in plain.records if isinstance(one, Comparison)] == [0] * 4 + [5] * 4
    assert plain.findings == set()


def test_global_rank_0_alone(trainings: dict[str, Training]) -> None:
    """Without a word about ranks, global rank 0 records and the others write no file."""
    alone = trainings["one rank"]
    assert alone.ranks == {0}
    assert_held(alone.comparisons(), {step: alone.pairs()[step] for step in (0, 5)})


@pytest.mark.parametrize("variant", ["plain", "one rank"])
def test_the_training_is_the_same_without(trainings: dict[str, Training], variant: str) -> None:
    """Recording on all ranks or on one changes no bit of the weights and makes no collective."""
    for seen, without in zip(trainings[variant].seen, trainings["without"].seen, strict=True):
        assert same(seen["weights"], without["weights"])
        assert seen["collectives"] == without["collectives"] > 10
    assert not trainings["without"].records
    assert not same(trainings["shifted"].seen[0]["weights"], trainings["without"].seen[0]["weights"])


@pytest.mark.parametrize(("variant", "code"), [("shifted", "labels-shifted-twice"), ("masked", "nothing-supervised")])
def test_faults_are_named(trainings: dict[str, Training], variant: str, code: str) -> None:
    """Labels that the user has shifted before the model does, and labels that are all masked, are named."""
    assert trainings[variant].findings == {code}
