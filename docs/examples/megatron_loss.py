"""Train with Megatron-core's head and vocabulary-parallel loss: torchrun --nproc-per-node 2 megatron_loss.py."""

from pydoc_data.topics import topics

import torch
from megatron.core import ModelParallelConfig, parallel_state
from megatron.core.tensor_parallel import ColumnParallelLinear, vocab_parallel_cross_entropy
from torch import distributed, nn
from transformers import LlamaConfig, LlamaModel

import predlog

SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
VOCABULARY, PADDED = 257, 512  # Megatron pads to a multiple of 128 for each of the processes
ids = torch.tensor(list("".join(topics.values()).encode()[: 64 * 40])).view(10, 4, 64)
distributed.init_process_group()
ranks = distributed.get_world_size()
parallel_state.initialize_model_parallel(tensor_model_parallel_size=ranks)
tp = parallel_state.get_tensor_model_parallel_group()
config = ModelParallelConfig(tensor_model_parallel_size=ranks, use_cpu_initialization=True)
torch.manual_seed(0)
model = LlamaModel(LlamaConfig(vocab_size=VOCABULARY, **SIZES))
model.head = ColumnParallelLinear(64, PADDED, config=config, init_method=nn.init.xavier_uniform_, bias=False)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
predlog.configure("runs/megatron", every=5, decode=chr)
for step, batch in enumerate(ids):
    inputs, labels = batch[:, :-1], batch[:, 1:]
    hidden = model(input_ids=inputs).last_hidden_state.transpose(0, 1).contiguous()
    logits, _ = model.head(hidden)  # [t, b, ids of this process]
    shard = predlog.Shard(tp.rank() * logits.shape[-1], of=VOCABULARY)
    # Before the loss, which overwrites the logits.
    predlog.compare(logits, labels, step, layout="t b v, b t", inputs=inputs, shard=shard, group=tp)
    vocab_parallel_cross_entropy(logits, labels.t().contiguous()).mean().backward()
    optimizer.step()
    optimizer.zero_grad()
parallel_state.destroy_model_parallel()
distributed.destroy_process_group()
