"""Split the rows of each sample over processes, head and tail: torchrun --nproc-per-node 2 context_parallel.py."""

from pydoc_data.topics import topics

import torch
from torch import distributed
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from torch.nn.parallel import DistributedDataParallel
from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM

import predlog

SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
ids = torch.tensor(list("".join(topics.values()).encode()[: 65 * 40])).view(10, 4, 65)
distributed.init_process_group()
rank, ranks = distributed.get_rank(), distributed.get_world_size()


def split(whole, rank=rank):
    """Return the rows [b, t] of one process: a piece from the front of the samples, and one from the back."""
    pieces = whole.chunk(2 * ranks, 1)
    return torch.cat([pieces[rank], pieces[-1 - rank]], 1)


class Gathered(torch.autograd.Function):
    """The rows of all processes, from [b, heads, t, width]; their gradients are summed."""

    @staticmethod
    def forward(_, own):
        whole = [torch.empty_like(own) for _ in range(ranks)]
        distributed.all_gather(whole, own.contiguous())
        return torch.cat(whole, 2)

    @staticmethod
    def backward(_, gradient):
        distributed.all_reduce(whole := gradient.contiguous())
        return whole.chunk(ranks, 2)[rank]


def attention(_, query, key, value, __, scaling, **___):
    """Attend to the keys of all processes that are not after a row in the whole sample."""
    before = torch.cat([split(torch.arange(64)[None], one)[0] for one in range(ranks)])[None] <= rows[:, None]
    keys, values = Gathered.apply(key), Gathered.apply(value)
    return scaled_dot_product_attention(query, keys, values, before, scale=scaling).transpose(1, 2), None


AttentionInterface.register("gathered", attention)
torch.manual_seed(0)
config = LlamaConfig(vocab_size=257, attn_implementation="gathered", **SIZES)
model = DistributedDataParallel(LlamaForCausalLM(config))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
rows = split(torch.arange(64)[None])[0]
predlog.configure("runs/cp", every=5, decode=chr)
for step, batch in enumerate(ids):
    inputs, labels = split(batch[:, :-1]), split(batch[:, 1:])
    logits = model(input_ids=inputs, position_ids=rows[None]).logits
    where = {"row_index": rows, "row_count": 64, "group": distributed.group.WORLD}
    predlog.compare(logits, labels, step, inputs=inputs, **where)
    cross_entropy(logits.flatten(0, 1), labels.flatten()).backward()
    optimizer.step()
    optimizer.zero_grad()
distributed.destroy_process_group()
