"""Real text for tiny models: the Python language reference, byte by byte."""

from pydoc_data.topics import topics

import torch
from torch import Tensor

VOCABULARY = 256


def rows(count: int, length: int) -> Tensor:
    """Return ids [count, length]: pieces of text, one after the other."""
    text = "".join(topics[name] for name in sorted(topics)).encode()
    return torch.tensor(list(text[: count * length])).view(count, length)
