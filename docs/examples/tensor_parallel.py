"""Train a small causal model with a sharded vocabulary: torchrun --nproc-per-node 2 tensor_parallel.py."""

from pydoc_data.topics import topics

import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, loss_parallel, parallelize_module
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

import predlog

SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
ids = torch.tensor(list("".join(topics.values()).encode()[: 64 * 40])).view(10, 4, 64)
distributed.init_process_group()
mesh = init_device_mesh("cpu", (distributed.get_world_size(),), mesh_dim_names=("tp",))
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(vocab_size=257, **SIZES))
plan = {f"model.layers.*.mlp.{name}_proj": ColwiseParallel() for name in ("gate", "up")}
plan |= {"model.layers.*.mlp.down_proj": RowwiseParallel()}
plan |= {"lm_head": ColwiseParallel(output_layouts=Shard(-1), use_local_output=False)}
parallelize_module(model, mesh, plan)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
predlog.configure("runs/tp", every=5, decode=chr)
for step, batch in enumerate(ids):
    inputs, labels = batch[:, :-1], batch[:, 1:]
    logits = model(input_ids=inputs).logits
    predlog.compare(logits, labels, step, inputs=inputs)
    with loss_parallel():
        cross_entropy(logits.flatten(0, 1), labels.flatten()).backward()
    optimizer.step()
    optimizer.zero_grad()
distributed.destroy_process_group()
