"""Train a small causal model on text with Accelerate: accelerate launch accelerate_text.py."""

from pydoc_data.topics import topics

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM

import predlog

SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
ids = torch.tensor(list("".join(topics.values()).encode()[: 64 * 160])).view(-1, 64)
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(vocab_size=256, **SIZES))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
accelerator = Accelerator(gradient_accumulation_steps=2)
model, optimizer, loader = accelerator.prepare(model, optimizer, DataLoader(ids, batch_size=4, shuffle=True))
predlog.configure("runs/accelerate", every=5, decode=chr)
step = 0  # of the optimizer
for batch in loader:
    with accelerator.accumulate(model):
        output = model(input_ids=batch, labels=batch)
        predlog.compare(output.logits, batch, step, shift=1, inputs=batch, reported_loss=output.loss)
        accelerator.backward(output.loss)
        optimizer.step()
        optimizer.zero_grad()
    step += accelerator.sync_gradients
accelerator.end_training()
