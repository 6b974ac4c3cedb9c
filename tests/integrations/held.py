"""Records held against what the model gave, worked out in plain Python."""

from collections.abc import Sequence

import msgspec
import pytest
import torch
from torch import Tensor

import predlog
from tests import reference

Pair = tuple[Tensor, Tensor, Tensor]


def assert_held(comparisons: Sequence[predlog.Comparison], pairs: dict[int, Pair], *, shift: int = 1) -> None:
    """Hold the records of the first two samples against the pairs [logits, labels, inputs] of the steps expected.

    Ids, ranks and counts are equal; log-probabilities to 1e-5 and the six decimals of the file.
    """
    assert [(one.step, one.sample) for one in comparisons] == [(step, sample) for step in pairs for sample in (0, 1)]
    for one in comparisons:
        logits, labels, inputs = (tensor[one.sample] for tensor in pairs[one.step])
        expected = reference.comparison(
            logits.to(torch.float64).tolist(), labels.tolist(), shift=shift, ignore_index=-100, inputs=inputs.tolist()
        )
        tokens = expected.pop("tokens")
        del expected["losses"]
        for name in ("loss", "entropy"):
            value = expected.pop(name)
            assert getattr(one, name) == (None if value is None else pytest.approx(value, rel=1e-5, abs=2e-5)), name
        assert {name: getattr(one, name) for name in expected} == expected
        assert len(one.tokens) == len(tokens)
        for found, token in zip(map(msgspec.structs.asdict, one.tokens), tokens, strict=True):
            for name, value in token.items():
                assert found[name] == (pytest.approx(value, abs=2e-5) if name.endswith("logprob") else value), name
        assert one.shift == shift


def same(weights: dict[str, Tensor], others: dict[str, Tensor]) -> bool:
    """Return whether two models have the same weights, bit for bit."""
    return weights.keys() == others.keys() and all(
        weight.dtype == others[name].dtype
        and torch.equal(*(one.reshape(-1).view(torch.uint8) for one in (weight, others[name])))
        for name, weight in weights.items()
    )
