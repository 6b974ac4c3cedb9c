"""A real training step: a causal transformer in bfloat16 autocast, with a comparison between forward and backward."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from predlog import Recorder


class Size(NamedTuple):
    """The size of a model and of its batches."""

    vocabulary: int = 32000
    width: int = 768
    depth: int = 12
    heads: int = 12
    samples: int = 16
    length: int = 1024


class Transformer(nn.Module):
    """A causal language model made of torch's own layers."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.tokens = nn.Embedding(size.vocabulary, size.width)
        self.places = nn.Embedding(size.length, size.width)
        layer = nn.TransformerEncoderLayer(
            size.width, size.heads, 4 * size.width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, size.depth, nn.LayerNorm(size.width), enable_nested_tensor=False)
        self.head = nn.Linear(size.width, size.vocabulary, bias=False)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(size.length), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits [b, t, v] for what follows each of the inputs [b, t]."""
        places = torch.arange(inputs.shape[-1], device=inputs.device)
        hidden = self.layers(self.tokens(inputs) + self.places(places), mask=self.mask, is_causal=True)
        logits: Tensor = self.head(hidden)
        return logits


class Training:
    """A model, its optimizer, and batches of random ids that no step sees twice."""

    def __init__(self, device: torch.device, size: Size) -> None:
        self._device = device
        self._size = size
        self.model = Transformer(size).to(device)
        self._optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=device.type == "cuda")

    def step(self, number: int, recorder: Recorder | None) -> Tensor:
        """Train one step, compare where there is a recorder, and give the loss without waiting for it."""
        size = self._size
        ids = torch.randint(size.vocabulary, (size.samples, size.length + 1), device=self._device)
        inputs, labels = ids[:, :-1], ids[:, 1:]
        self._optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self._device.type, torch.bfloat16):
            logits = self.model(inputs)
            if recorder is not None:
                recorder.compare(logits, labels, number, inputs=inputs)
            loss = cross_entropy(logits.flatten(0, 1), labels.flatten())
        loss.backward()
        self._optimizer.step()
        return loss.detach()
