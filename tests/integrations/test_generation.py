"""At which tokens a model's generation stops, as the callback for the Trainer learns it."""

from pathlib import Path
from typing import Any

import pytest

from tests.integrations.needed import needed

transformers = needed("transformers")

from predlog import Recorder  # noqa: E402
from predlog.integrations._hf.generation import name_stop  # noqa: E402
from predlog.integrations.transformers import PredictionCallback  # noqa: E402
from tests.integrations import tiny  # noqa: E402
from tests.integrations.test_trainer import trained  # noqa: E402
from tests.integrations.witness import codes  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")
TURN, END, PAD = range(3)  # the begin token stands for one that ends turns: it is special, too


def stop_of(model: Any, special: Any) -> tuple[int, ...] | None:
    with Recorder(console=False, special_tokens=special) as recorder:
        name_stop(recorder, model)
        known = recorder._intake.specials.of("train", has_codebooks=False)
    return None if known is None else known.stop


@pytest.mark.parametrize(("eos", "stop"), [(7, (7,)), ([7, 8], (7, 8)), (None, ()), ("</s>", ()), ([7, None], ())])
def test_the_ids_of_the_generation_config_are_taken(eos: Any, stop: tuple[int, ...]) -> None:
    """One id or several; anything else is not known."""
    model = tiny.llama()
    model.generation_config.eos_token_id = eos
    assert stop_of(model, {"eos": END}) == stop


def test_what_nobody_has_chosen_or_asked_for_is_not_taken() -> None:
    """The default of a configuration, a model without generation, special tokens that are not known or have a stop."""
    assert stop_of(transformers.LlamaForCausalLM(small()), {"eos": END}) == ()
    assert stop_of(object(), {"eos": END}) == ()
    assert stop_of(tiny.llama(), None) is None
    assert stop_of(tiny.llama(), {"eos": END, "stop": 9}) == (9,)
    name_stop(None, tiny.llama())


def small() -> Any:
    return transformers.LlamaConfig(
        vocab_size=500, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )


@pytest.mark.parametrize("ends", [False, True])
def test_texts_that_end_where_generation_does_not_stop_are_named(tmp_path: Path, ends: bool) -> None:
    """The callback knows where the model's generation stops, and what the labels end with."""
    end = END if ends else TURN

    def ended(sample: dict[str, list[int]], length: int) -> dict[str, list[int]]:
        padding = tiny.LENGTH - length - 1
        return {
            "input_ids": [*sample["input_ids"][:length], end, *[PAD] * padding],
            "attention_mask": [1] * (length + 1) + [0] * padding,
            "labels": [*sample["labels"][:length], end, *[-100] * padding],
        }

    full = [one for one in tiny.samples() if PAD not in one["input_ids"]]
    samples = [ended(one, 36 - number % 3) for number, one in enumerate(full)]
    callback = PredictionCallback(tmp_path, every=1, console=False)
    trained(tmp_path, [callback], samples=samples, max_steps=12)
    found = {code for _, _, code in codes(tmp_path)}
    assert found == (set() if ends else {"end-missing"})
