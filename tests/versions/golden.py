"""Stored pairs, and the records that they give: the same with every version of torch, NumPy and Python.

`python -m tests.versions.golden` makes both anew. Look at what has changed in the records before you commit them.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from predlog import Recorder

PAIRS = Path(__file__).with_name("golden.npz")
RECORDS = Path(__file__).with_name("golden.json")
# What is written into a record by the clock and by the recorder, and not by the pair.
_NOT_THE_PAIRS = ("timestamp", "run", "recorder", "attempt", "rank", "seq")

# The arguments of each pair beside logits and labels; "inputs" is stored with them.
HOW: dict[str, dict[str, Any]] = {
    "float32": {"shift": 1},
    "bfloat16": {"shift": 1},
    "float16": {"shift": 1},
    "float64": {},
    "not finite": {"shift": 1},
    "codebooks": {"layout": "(b k) t v, b t k", "stream": "audio"},
    "transposed": {"layout": "b v t, b t", "ignore_index": -1},
    "large": {"shift": 1},
}
_HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def made() -> dict[str, np.ndarray[Any, Any]]:
    """Make the pairs: [2, 24, 97] logits with ties, masked labels, infinities; and one vocabulary of 32,000."""
    random = np.random.Generator(np.random.PCG64(20261128))
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for name, how in HOW.items():
        b, t, v, k = (1, 14, 32_000, 1) if name == "large" else (2, 24, 97, 4 if name == "codebooks" else 1)
        logits = random.standard_normal((b * k, t, v)).astype(np.float32) * 3
        labels = random.integers(0, v, (b, t, k) if k > 1 else (b, t))
        labels[:, : t // 4] = how.get("ignore_index", -100)
        logits[:, t // 2] = np.round(logits[:, t // 2])  # ties
        if name == "not finite":
            logits[0, t - 3, 5], logits[1, t - 4, 7], logits[1, t - 2] = np.nan, np.inf, -np.inf
            logits[1, t - 2, 3] = 1
        arrays[f"{name}/logits"] = logits.transpose(0, 2, 1) if name == "transposed" else logits
        arrays[f"{name}/labels"] = labels
        arrays[f"{name}/inputs"] = random.integers(0, v, labels.shape)
    return arrays


def recorded(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Record every stored pair, and return the events by the name of the pair."""
    stored = np.load(PAIRS)
    found: dict[str, list[dict[str, Any]]] = {}
    for name, how in HOW.items():
        logits, labels, inputs = (torch.from_numpy(stored[f"{name}/{part}"]) for part in ("logits", "labels", "inputs"))
        kept: list[dict[str, Any]] = []
        with Recorder(folder / name, every=1, console=False, sinks=[partial(_keep, kept)]) as recorder:
            recorder.compare(_as(name, logits), labels, 0, inputs=inputs, **how)
        found[name] = [
            {key: value for key, value in event.items() if key not in _NOT_THE_PAIRS}
            for event in kept
            if event["event"] != "predlog.run"
        ]
    as_read: dict[str, list[dict[str, Any]]] = json.loads(json.dumps(found))
    return as_read


def _keep(kept: list[dict[str, Any]], _logger: Any, _method: str, event: Any) -> Any:
    kept.append(event)
    return event


def _as(name: str, logits: Tensor) -> Tensor:
    return logits.double() if name == "float64" else logits.to(_HALF.get(name, logits.dtype))


if __name__ == "__main__":
    import tempfile

    np.savez_compressed(PAIRS, **made())  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as scratch:
        RECORDS.write_text(json.dumps(recorded(Path(scratch)), indent=1) + "\n")
