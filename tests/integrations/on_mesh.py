"""What `test_jax` does with JAX, in a process of its own: on four devices of the host.

Not in pytest's own process, because JAX starts threads there, and then complains about each fork of the other tests.
"""

import functools
import json
import re
import runpy
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax.sharding import NamedSharding, PartitionSpec
from torch import Tensor

from predlog import Projection, Recorder, Rows
from tests import ROOT

EXAMPLE = ROOT / "docs" / "examples" / "jax_rows.py"
VOCABULARY, BATCH, LENGTH = 512, 8, 32
draw = np.random.default_rng(0)
LOGITS = draw.normal(size=(BATCH, LENGTH, VOCABULARY)).astype("float32")
LABELS = draw.integers(VOCABULARY, size=(BATCH, LENGTH)).astype("int32")
LABELS[:, :3] = -100


def example() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLE))


def sharded(value: Any, *axes: str | None) -> Any:
    mesh = jax.sharding.Mesh(np.array(jax.devices()).reshape(2, 2), ("data", "model"))
    return jax.device_put(value, NamedSharding(mesh, PartitionSpec(*axes)))  # type: ignore[no-untyped-call]


def replicated(value: Any) -> Any:
    return sharded(value)


def recorded(logits: object, labels: object, **how: Any) -> list[dict[str, Any]]:
    """Return the fields of each record that the pair alone decides."""
    with Recorder(every=1, console=False, strict=True) as recorder:
        future = recorder.compare(logits, labels, 0, **how)
        assert future is not None
        names = ("length", "vocabulary", "supervised", "matched", "nonfinite", "shift")
        return [
            {name: getattr(one, name) for name in names}
            | {"tokens": [{name: getattr(token, name) for name in token.__struct_fields__} for token in one.tokens]}
            for one in future.result(30)
        ]


def refusal(logits: object, labels: object, **how: Any) -> str:
    with Recorder(every=1, console=False) as recorder:
        assert recorder.compare(logits, labels, 0, **how) is None
        recorder.flush()
        (found,) = recorder.findings
    assert found.code == "unreadable-pair"
    return found.message


def arrays() -> dict[str, Any]:
    """Record unsharded arrays of each type, and the same as torch tensors."""
    found = {}
    for name in ("float32", "bfloat16", "float16"):
        logits, labels = jnp.asarray(LOGITS, name), jnp.asarray(LABELS)
        exact = torch.from_numpy(np.array(logits.astype("float32"))).to(getattr(torch, name))
        ids = torch.from_numpy(LABELS).long()
        found[name] = [
            recorded(logits, labels, inputs=jnp.flip(labels, -1), shift=1),
            recorded(exact, ids, inputs=ids.flip(-1), shift=1),
        ]
    assert jnp.asarray(LABELS.astype("int64")).dtype == "int32"  # x64 is off
    return found


def fetched() -> dict[str, Any]:
    """Record NumPy arrays that `jax.device_get` returns, of types that are JAX's own, and the arrays on the device."""
    found, labels = {}, jnp.asarray(LABELS)
    for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        logits = jnp.asarray(LOGITS, name)
        found[name] = [recorded(jax.device_get(logits), jax.device_get(labels)), recorded(logits, labels)]
    rows = reduced(jnp.asarray(LOGITS, "bfloat16"), labels)
    arrays = jax.device_get(rows)
    assert arrays["label_logprob"].dtype.name == "bfloat16"
    found["rows"] = [
        recorded(Rows(**arrays, vocabulary=np.int64(VOCABULARY)), LABELS),
        recorded(Rows(**rows, vocabulary=VOCABULARY), labels),
    ]
    return found


@jax.jit
def reduced(logits: Any, labels: Any) -> dict[str, Any]:
    logprobs, label = jax.nn.log_softmax(logits), jnp.maximum(labels, 0)[..., None]
    return {
        "prediction": logits.argmax(-1),
        "prediction_logprob": logprobs.max(-1),
        "label_logprob": jnp.take_along_axis(logprobs, label, -1)[..., 0],
        "label_rank": 1 + (logits > jnp.take_along_axis(logits, label, -1)).sum(-1),
    }


def rounded_apart() -> bool:
    """Record rows of which XLA takes the argmax of other logits than the log-softmax; return whether it did."""

    @jax.jit
    def rows(hidden: Any, weight: Any, labels: Any) -> dict[str, Any]:
        logits = hidden @ weight
        logprobs, label = jax.nn.log_softmax(logits.astype("float32")), labels[:, None]
        return {
            "prediction": logits.argmax(-1),
            "prediction_logprob": logprobs.max(-1),
            "label_logprob": jnp.take_along_axis(logprobs, label, -1)[:, 0],
            "label_rank": 1 + (logits > jnp.take_along_axis(logits, label, -1)).sum(-1),
        }

    hidden, weight = (jnp.asarray(draw.normal(size=size), "bfloat16") for size in ((1000, 64), (64, 500)))
    labels = rows(hidden, weight, jnp.zeros(1000, "int32"))["prediction"]
    found = rows(hidden, weight, labels)
    with Recorder(every=1, console=False, strict=True, first=500, last=500) as recorder:
        future = recorder.compare(Rows(**found, vocabulary=500), labels, 0)
        assert future is not None
        assert future.result(30)[0].matched == 1000
    return bool((found["prediction_logprob"] - found["label_logprob"]).max() > 1e-3)


def refusals() -> dict[str, str]:
    """Pass what has no values here, or has them on several devices, in each place of a pair."""
    logits, labels = jnp.asarray(LOGITS), jnp.asarray(LABELS)
    row = jnp.zeros(LABELS.shape)
    deleted = jnp.asarray(LOGITS) + 1
    deleted.delete()
    donated = jnp.asarray(LOGITS) + 1
    jax.jit(lambda one: one + 1, donate_argnums=0)(donated).block_until_ready()
    found = {
        "sharded logits": refusal(sharded(LOGITS, "data", None, "model"), labels),
        "replicated logits": refusal(replicated(LOGITS), labels),
        "sharded labels": refusal(logits, sharded(LABELS, "data")),
        "replicated labels": refusal(logits, replicated(LABELS)),
        "sharded inputs": refusal(logits, labels, inputs=sharded(LABELS, "data")),
        "replicated inputs": refusal(logits, labels, inputs=replicated(LABELS)),
        "sharded rows": refusal(Rows(sharded(LABELS, "data"), row, row), labels),
        "sharded log-probabilities": refusal(Rows(labels, sharded(row, "data"), row), labels),
        "sharded label log-probabilities": refusal(Rows(labels, row, sharded(row, "data")), labels),
        "sharded ranks": refusal(Rows(labels, row, row, sharded(LABELS, "data")), labels),
        "small labels": refusal(logits, labels.astype("int4")),
        "replicated rows": refusal(Rows(replicated(LABELS), row, row), labels),
        "sharded chunks": refusal([sharded(LOGITS, "data"), sharded(LOGITS, "data")], labels),
        "sharded hidden states": refusal(Projection(sharded(LOGITS, "data"), torch.zeros(9, VOCABULARY)), labels),
        "sharded weight": refusal(Projection(logits, sharded(LOGITS[0].T, "data")), labels),
        "sharded bias": refusal(
            Projection(logits, torch.zeros(VOCABULARY, VOCABULARY), sharded(LOGITS[0, 0], "data")), labels
        ),
        "deleted logits": refusal(deleted, labels),
        "donated logits": refusal(donated, labels),
    }
    traced: list[str] = []

    def compare(one: Any) -> Any:
        traced.append(refusal(one, labels))
        return one.sum()

    outcomes = [jax.jit(compare)(logits), jax.grad(compare)(logits).sum(), jax.vmap(compare)(logits[None]).sum()]
    assert np.isfinite(np.array(outcomes)).all()
    return found | dict(zip(("jit", "grad", "vmap"), traced, strict=True))


def _pairs() -> dict[str, tuple[Any, Any]]:
    """Return logits and labels on which each step of a reduction matters."""
    tied, broken, outside, masked = LOGITS.round(), LOGITS.copy(), LABELS.copy(), LOGITS.copy()
    broken[:, 5, 300] = np.nan
    outside[:, 6] = VOCABULARY + 5
    masked[:, :, : VOCABULARY // 2] = -np.inf  # all that one device has
    labels = np.where(LABELS >= 0, LABELS % (VOCABULARY // 2) + VOCABULARY // 2, LABELS)
    return {
        "plain": (LOGITS, LABELS), "large": (LOGITS * 300, LABELS), "tied": (tied, LABELS),
        "correct": (LOGITS, LOGITS.argmax(-1).astype("int32")), "not finite": (broken, LABELS),
        "out of range": (LOGITS, outside), "half is masked": (masked, labels),
    }  # fmt: skip


def recipe() -> dict[str, Any]:
    """Record the rows of the recipe, of logits sharded over the batch and the vocabulary, and whole logits."""
    rows: Callable[..., Any] = example()["rows"]
    found = {}
    for name, (logits, labels) in _pairs().items():
        for dtype in ("float32", "bfloat16"):
            on_mesh = sharded(jnp.asarray(logits, dtype), "data", None, "model")
            reduced = {key: one.addressable_data(0) for key, one in rows(on_mesh, sharded(labels, "data")).items()}
            whole: Tensor = torch.from_numpy(np.array(jnp.asarray(logits, dtype).astype("float32")))
            found[f"{name}, {dtype}"] = [
                recorded(Rows(**reduced, vocabulary=VOCABULARY), labels),
                recorded(whole.to(getattr(torch, dtype)), labels),
            ]
    return found


def collectives(edit: str = "", by: str = "") -> list[str]:
    """Return the collectives in the compiled recipe, each with the shapes of its results; the recipe may be edited."""
    source = EXAMPLE.read_text()
    assert edit in source
    names: dict[str, Any] = {"__name__": "edited"}
    exec(compile(source.replace(edit, by), str(EXAMPLE), "exec"), names)
    logits, labels = sharded(LOGITS, "data", None, "model"), sharded(LABELS, "data")
    text = names["rows"].lower(logits, labels).compile().as_text()
    kinds = "all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute|collective-broadcast"
    listed = []
    for shapes, kind in re.findall(rf"= (\([^)]*\)|\S+) ({kinds})(?:-start)?\(", text):
        listed += [f"{kind} {shape}" for shape in re.findall(r"\w+\[[\d,]*\]", shapes)]
    return sorted(listed)


if __name__ == "__main__":
    assert len(jax.devices()) == 4
    what: dict[str, Callable[..., Any]] = {
        one.__name__: one for one in (arrays, fetched, rounded_apart, refusals, recipe, collectives)
    }
    print(json.dumps(functools.partial(what[sys.argv[1]], *sys.argv[2:])()))
