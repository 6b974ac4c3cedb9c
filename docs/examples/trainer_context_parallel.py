"""Split the rows of samples with the Trainer: torchrun --nproc-per-node 2 trainer_context_parallel.py, on GPUs."""

from pydoc_data.topics import topics

import torch
from accelerate import ParallelismConfig
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from predlog.integrations.transformers import PredictionCallback

SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
ids = torch.tensor(list("".join(topics.values()).encode()[: 64 * 40])).view(40, 64)
split = {
    "parallelism_config": ParallelismConfig(cp_size=2),
    "fsdp": True,
    "fsdp_config": {"version": 2, "transformer_layer_cls_to_wrap": "LlamaDecoderLayer"},
}
small = {"max_steps": 10, "per_device_train_batch_size": 4, "learning_rate": 1e-2}
arguments = TrainingArguments("runs/trainer-cp", save_strategy="no", report_to=[], **small, **split)
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(vocab_size=257, **SIZES))
trainer = Trainer(
    model=model,
    args=arguments,
    train_dataset=[{"input_ids": one, "labels": one} for one in ids],
    callbacks=[PredictionCallback(every=5, decode=chr)],
)
trainer.train()
