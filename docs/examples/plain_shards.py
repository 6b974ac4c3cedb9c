"""Shard the vocabulary by hand, as torchtitan and nanotron do: torchrun --nproc-per-node 2 plain_shards.py."""

from pydoc_data.topics import topics

import torch
from torch import distributed
from torch.nn.functional import linear
from transformers import LlamaConfig, LlamaModel

import predlog

SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
VOCABULARY = 257
ids = torch.tensor(list("".join(topics.values()).encode()[: 64 * 40])).view(10, 4, 64)
distributed.init_process_group()
rank, ranks = distributed.get_rank(), distributed.get_world_size()


class SummedGradient(torch.autograd.Function):
    forward = staticmethod(lambda _, one: one.view_as(one))
    backward = staticmethod(lambda _, gradient: distributed.all_reduce(whole := gradient.contiguous()) or whole)


class Summed(torch.autograd.Function):
    forward = staticmethod(lambda _, one: distributed.all_reduce(whole := one.clone()) or whole)
    backward = staticmethod(lambda _, gradient: gradient)


def loss_of(logits, labels):
    """Return the mean loss from logits [b, t, ids of this process], with three all-reduces."""
    distributed.all_reduce(peak := logits.detach().amax(-1), distributed.ReduceOp.MAX)
    total = Summed.apply((logits - peak[..., None]).exp().sum(-1))
    own = (start <= labels) & (labels < start + logits.shape[-1])
    label_logit = logits.gather(-1, torch.where(own, labels - start, 0)[..., None])[..., 0]
    return (total.log() + peak - Summed.apply(label_logit * own)).mean()


torch.manual_seed(0)
model = LlamaModel(LlamaConfig(vocab_size=VOCABULARY, **SIZES))
width = -(-VOCABULARY // ranks)  # the last shard is smaller
start = rank * width
head = torch.randn(VOCABULARY, 64).mul(0.02)[start : start + width].clone().requires_grad_()
model.lm_head = torch.nn.Parameter(head)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
predlog.configure("runs/shards", every=5, decode=chr)
for step, batch in enumerate(ids):
    inputs, labels = batch[:, :-1], batch[:, 1:]
    hidden = model(input_ids=inputs).last_hidden_state
    logits = linear(SummedGradient.apply(hidden), model.lm_head)
    shard = predlog.Shard(start, of=VOCABULARY)
    predlog.compare(logits, labels, step, inputs=inputs, shard=shard, group=distributed.group.WORLD)
    loss_of(logits, labels).backward()
    optimizer.step()
    optimizer.zero_grad()
distributed.destroy_process_group()
