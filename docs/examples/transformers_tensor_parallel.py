"""Train with transformers' own tensor parallelism: torchrun --nproc-per-node 2 transformers_tensor_parallel.py."""

from pydoc_data.topics import topics

import torch
from torch import distributed
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.distributed import DistributedConfig

import predlog

SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
ids = torch.tensor(list("".join(topics.values()).encode()[: 64 * 40])).view(10, 4, 64)
distributed.init_process_group()
torch.manual_seed(0)
if distributed.get_rank() == 0:
    LlamaForCausalLM(LlamaConfig(vocab_size=257, **SIZES)).save_pretrained("checkpoint")
distributed.barrier()
model = AutoModelForCausalLM.from_pretrained("checkpoint", distributed_config=DistributedConfig(tp_plan="auto"))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
predlog.configure("runs/hf-tp", every=5, decode=chr)
for step, batch in enumerate(ids):
    output = model(input_ids=batch, labels=batch)  # each process has all logits
    predlog.compare(output.logits, batch, step, shift=1, inputs=batch)
    output.loss.backward()
    optimizer.step()
    optimizer.zero_grad()
distributed.destroy_process_group()
