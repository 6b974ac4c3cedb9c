"""What a framework's user imports of predlog leaves a seeded training as it is."""

from pathlib import Path

import pytest

from tests import fresh
from tests.entry_points import AUDIT, AUDITED, COMPILE, FRAMEWORKS, GIVEN, STATES
from tests.integrations.needed import needed

_TRAINING = (
    """
import sys, torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
folder = sys.argv[1]
model = LlamaForCausalLM(LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                                     num_attention_heads=2, num_key_value_heads=2))
ids = torch.arange(8)
data = [{"input_ids": ids, "labels": ids}] * 4
"""
    + AUDIT
    + """
from predlog.integrations.transformers import PredictionCallback
arguments = TrainingArguments(folder, max_steps=2, per_device_train_batch_size=2, report_to=[], use_cpu=True,
                              save_strategy="no", disable_tqdm=True)
Trainer(model, arguments, train_dataset=data, callbacks=[PredictionCallback(folder, every=1)]).train()
"""
    + AUDITED
)


@pytest.mark.slow
def test_a_trainer_imports_nothing_where_torch_is_not_itself(tmp_path: Path) -> None:
    """Nor does its callback, from the first step to the last; then the caller can compile."""
    needed("accelerate")  # which a Trainer needs
    done = fresh.run(_TRAINING + COMPILE.replace("logits", "model.lm_head.weight"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "predictions.jsonl").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_random_states_stay_as_they_are(tmp_path: Path, name: str) -> None:
    """A callback or a tracker's sink, imported and made after the seed was set, moves no random state."""
    own, program = FRAMEWORKS[name]
    needed(name)
    done = fresh.run(GIVEN + own + STATES % program, tmp_path, "3")
    assert done.returncode == 0, done.stderr
