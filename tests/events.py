"""Events and pairs that tests share."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from predlog.findings.evidence import Evidence
from predlog.findings.facts import Facts, Shown, Text
from predlog.findings.special_tokens import SpecialTokens
from predlog.records.schema import Token
from tests import fresh

# Keys that comparisons have gained, as they are without a value.
LATER: dict[str, Any] = {
    "sample_id": None, "reported_loss": None, "loss": None, "entropy": None, "worst": [], "all_tokens": None,
    "window": None,
}  # fmt: skip


def token(position: int, label: int | None = 3, prediction: int | None = 3, **fields: Any) -> dict[str, Any]:
    return {
        "slot": "first",
        "position": position,
        "label": label,
        "prediction": prediction,
        "match": label == prediction,
        "label_logprob": -0.25,
        "prediction_logprob": -0.25,
        "label_rank": 1,
        "input": None,
        "input_text": None,
        "label_text": None,
        "prediction_text": None,
        **fields,
    }


def comparison(**fields: Any) -> dict[str, Any]:
    return {
        "event": "predlog.comparison",
        "level": "info",
        "timestamp": "2026-01-02T03:04:05.678901Z",
        "schema": 1,
        "run": "exp1",
        "attempt": 1,
        "rank": 0,
        "seq": 1,
        "step": 120,
        "stream": "text",
        "codebook": None,
        "sample": 0,
        "length": 512,
        "vocabulary": 32000,
        "shift": 1,
        "supervised": 388,
        "matched": 160,
        **(LATER if fields.get("recorder") else {}),  # lines that name their recorder have them
        "nonfinite": 0,
        "context": {"epoch": 3},
        "tokens": [token(63), token(64, 4, 9, label_logprob=-2.5, label_rank=17)],
        **fields,
    }


def run(**fields: Any) -> dict[str, Any]:
    head = {key: comparison()[key] for key in ("level", "timestamp", "schema", "run", "attempt", "rank")}
    return {
        "event": "predlog.run",
        **head,
        "seq": 0,
        "host": "node7",
        "pid": 4242,
        "world_size": 8,
        "versions": {"predlog": "0.1.0", "python": "3.11.7", "torch": "2.13.0"},
        "settings": {"directory": "runs/exp1", "every": 10},
        "stats": None,
        "context": {},
        **fields,
    }


def finding(**fields: Any) -> dict[str, Any]:
    head = {key: comparison()[key] for key in ("timestamp", "schema", "run", "attempt", "rank")}
    return {
        "event": "predlog.finding",
        "level": "error",
        **head,
        "seq": 2,
        "step": 120,
        "stream": "text",
        "codebook": None,
        "sample": None,
        "code": "labels-are-inputs",
        "message": "labels equal the inputs at the same position (1187 of 1187 supervised tokens)",
        "evidence": {"equal": 1187, "supervised": 1187},
        "help": None,
        "context": {},
        **fields,
    }


def gap(**fields: Any) -> dict[str, Any]:
    head = {key: comparison()[key] for key in ("timestamp", "schema", "run", "attempt", "rank")}
    return {
        "event": "predlog.gap",
        "level": "warning",
        **head,
        "seq": 3,
        "count": 12,
        "reason": "queue full",
        "first_step": 130,
        "last_step": 180,
        "context": {},
        **fields,
    }


def now(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event with the keys that the schema has gained, as it is written now."""
    later = {**event, "recorder": "0a1b2c3d"}
    if event["event"] == "predlog.comparison":
        first, second = event["tokens"]
        best = {"alternatives": [{"prediction": 3, "logprob": -0.25, "text": None}]}
        tokens = [{**first, "document": 2, "document_position": 5, **best}, {**second, **_NO_DOCUMENT}]
        worst = token(70, 7, 9, slot=None, label_logprob=-8.5, label_rank=30, **_NO_DOCUMENT)
        later |= {
            "sample_id": "doc-17",
            "reported_loss": 2.75,
            "loss": 2.3,
            "entropy": 1.9,
            "tokens": [_ordered(one) for one in tokens],
            "worst": [_ordered(worst)],
            "all_tokens": {
                "positions": [63, 64],
                "labels": [3, 4],
                "predictions": [3, None],
                "label_logprobs": [-0.25, None],
                "label_ranks": [1, None],
            },
            "window": [
                {"left_out": 40, "read": " is one?\n", "asked": "A list"},
                {"left_out": 300, "read": "", "asked": " is mutable.</s>"},
            ],
        }
    return later


_NO_DOCUMENT: dict[str, Any] = {"document": None, "document_position": None, "alternatives": []}


def _ordered(token: dict[str, Any]) -> dict[str, Any]:
    return {key: token[key] for key in Token.__struct_fields__ if key in token}


def said(captured: pytest.CaptureFixture[str]) -> str:
    """Return what is on stderr, without the lines that few tests are about."""
    lines = captured.readouterr().err.splitlines(keepends=True)
    return "".join(line for line in lines if not fresh.ORDINARY.search(line))


def told(captured: pytest.CaptureFixture[str]) -> list[str]:
    """Return the lines of `said`."""
    return said(captured).splitlines()


def counts(stats: Any) -> dict[str, int]:
    """Return what became of all comparisons, without the sinks one by one."""
    return {name: number for name, number in stats.items() if name not in {"refused", "sinks"}}


def pair(seed: int = 0, samples: int = 3, length: int = 20, vocabulary: int = 50) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(samples, length, vocabulary, generator=generator)
    labels = torch.randint(vocabulary, (samples, length), generator=generator)
    labels[:, :4] = -100
    return logits, labels


def shown(label: int = 3, prediction: int | None = 3, **fields: Any) -> Shown:
    """Return a token shown, of a model that gives its prediction half of the probability."""
    known: dict[str, Any] = {
        "position": 9,
        "label": label,
        "prediction": prediction,
        "read": None,
        "label_logprob": -0.7 if label == prediction else -5.0,
        "prediction_logprob": -0.7,
        "around": (None, None, None),
    }
    return Shown(**{**known, **fields})


def text(**fields: Any) -> Text:
    """Return a healthy text: a prompt and an answer, which its end token ends before the row ends."""
    known: dict[str, Any] = {
        "begin": 0, "end": 120, "first": 20, "last": 119, "opening": 1, "head": 40, "inner": 0, "ended": -1,
        "after": (-1, -1), "documents": -1, "tail": (50, 51, 2),
    }  # fmt: skip
    return Text(**{**known, **fields})


def facts(tokens: Sequence[Shown] = (), **fields: Any) -> Facts:
    """Return the facts of a healthy sample: 100 supervised tokens of next-token training."""
    known: dict[str, Any] = {
        "sample": 0, "codebook": None, "length": 128, "vocabulary": 512, "shift": 1, "ignore_index": -100,
        "specials": SpecialTokens(pad=(0,), eos=(2,), bos=(1,), every=frozenset({0, 1, 2})), "supervised": 100,
        "nonfinite": 0, "broken": 0, "out_of_range": 0, "lowest": 0, "highest": 500, "fingerprint": (7, 8),
        "copied": 1, "equal": (2, 100, 1), "compared": (100, 100, 99), "start": (1, 40, 41), "follower": None,
        "pad": 0, "eos": 1, "bos": 0, "tokens": tuple(tokens), "text": text(),
    }  # fmt: skip
    return Facts(**{**known, **fields})


def evidence(*samples: Facts, step: int = 0, **fields: Any) -> Evidence:
    """Return what was captured at one step."""
    fields.setdefault("widest", max((one.supervised for one in samples), default=0))
    return Evidence(step, tuple(replace(one, sample=number) for number, one in enumerate(samples)), **fields)
