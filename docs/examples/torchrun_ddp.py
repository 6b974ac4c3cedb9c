"""Train a small causal model on text in several processes: torchrun --nproc-per-node 2 torchrun_ddp.py."""

from pydoc_data.topics import topics

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler
from transformers import LlamaConfig, LlamaForCausalLM

import predlog

SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
ids = torch.tensor(list("".join(topics.values()).encode()[: 64 * 80])).view(-1, 64)
distributed.init_process_group()
torch.manual_seed(0)
model = DistributedDataParallel(LlamaForCausalLM(LlamaConfig(vocab_size=256, **SIZES)))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
loader = DataLoader(ids, batch_size=4, sampler=DistributedSampler(ids))
predlog.configure("runs/ddp", every=5, ranks="all", decode=chr)
for step, batch in enumerate(loader):
    output = model(input_ids=batch, labels=batch)
    predlog.compare(output.logits, batch, step, shift=1, inputs=batch, reported_loss=output.loss)
    output.loss.backward()
    optimizer.step()
    optimizer.zero_grad()
distributed.destroy_process_group()
