"""Train a small recurrent model on text, byte by byte, and see what it predicts."""

from pydoc_data.topics import topics

import torch
from torch import nn

import predlog

text = torch.tensor(list("".join(topics.values()).encode()))
embedding, recurrent = nn.Embedding(256, 64), nn.GRU(64, 128, batch_first=True)
head = nn.Linear(128, 256)
model = nn.ModuleList([embedding, recurrent, head])
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
predlog.configure("runs/plain", every=20, decode=chr)

for step in range(100):
    starts = torch.randint(len(text) - 65, (8, 1))
    ids = text[starts + torch.arange(65)]
    logits = head(recurrent(embedding(ids[:, :-1]))[0])
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    predlog.compare(logits, ids, step, shift=1, inputs=ids, reported_loss=loss)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
