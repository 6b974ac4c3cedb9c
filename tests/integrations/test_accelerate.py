"""The program of docs/frameworks/accelerate.md: a real training in two processes, with gradient accumulation."""

import pytest

from tests.integrations.held import assert_held, same
from tests.integrations.launching import Edits, Training, launched
from tests.integrations.needed import needed

needed("accelerate")
needed("transformers")

# The seven trainings start two processes each: CI runs them with `-m slow`.
pytestmark = pytest.mark.slow
COMPARE = "        predlog.compare(output.logits, batch, step, shift=1, inputs=batch, reported_loss=output.loss)\n"
WITHOUT: Edits = [(COMPARE, ""), ("predlog.configure(", "(lambda *_, **__: None)(")]
MODEL = "output = model(input_ids=batch, labels=batch)"
ACCUMULATED = 2


def with_labels(made: str) -> Edits:
    """Make the labels otherwise than the documentation does."""
    return [
        (MODEL, f"labels = {made}\n        {MODEL.replace('labels=batch', 'labels=labels')}"),
        ("output.logits, batch", "output.logits, labels"),
    ]


HALF = ("gradient_accumulation_steps=2", 'gradient_accumulation_steps=2, mixed_precision="bf16"')
VARIANTS: dict[str, Edits] = {
    "plain": [],
    "without": WITHOUT,
    "all ranks": [("every=5", 'every=5, ranks="all"')],
    "half": [HALF],
    "half, without": [HALF, *WITHOUT],
    "shifted": with_labels("batch.roll(-1, 1)"),
    "masked": with_labels("batch.new_full(batch.shape, -100)"),
}


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Training]:
    return launched(tmp_path_factory, "accelerate_text", VARIANTS)


@pytest.mark.parametrize("variant", ["plain", "all ranks", "half"])
def test_the_first_micro_batch_of_each_step_that_is_due(trainings: dict[str, Training], variant: str) -> None:
    """Records equal what the prepared model gave for the first of the step's micro-batches, in bfloat16 too."""
    training = trainings[variant]
    assert training.ranks == ({0, 1} if variant == "all ranks" else {0})
    for rank in training.ranks:
        pairs = training.pairs(rank)
        assert len(pairs) == 10 * ACCUMULATED
        assert_held(training.comparisons(rank), {step: pairs[step * ACCUMULATED] for step in (0, 5)})
    assert training.findings == set()


@pytest.mark.parametrize(
    ("variant", "other"), [("plain", "without"), ("all ranks", "without"), ("half", "half, without")]
)
def test_the_training_is_the_same_without(trainings: dict[str, Training], variant: str, other: str) -> None:
    """Recording on one rank or on all changes no bit of the weights and makes no collective."""
    for seen, without in zip(trainings[variant].seen, trainings[other].seen, strict=True):
        assert same(seen["weights"], without["weights"])
        assert seen["collectives"] == without["collectives"] > 10
    assert not trainings[other].records
    assert not same(trainings["half"].seen[0]["weights"], trainings["without"].seen[0]["weights"])


@pytest.mark.parametrize(("variant", "code"), [("shifted", "labels-shifted-twice"), ("masked", "nothing-supervised")])
def test_faults_are_named(trainings: dict[str, Training], variant: str, code: str) -> None:
    """Labels that the user has shifted before the model does, and labels that are all masked, are named."""
    assert trainings[variant].findings == {code}
