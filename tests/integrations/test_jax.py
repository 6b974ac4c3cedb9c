"""JAX: arrays of one device go in as they are, others are refused in words, and the recipe reduces what is sharded."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from predlog import Comparison, Finding, read
from tests import ROOT
from tests.integrations.needed import needed

needed("jax", is_loaded=False)

EXAMPLE = ROOT / "docs" / "examples" / "jax_rows.py"
ENVIRONMENT = os.environ | {
    "PYTHONPATH": str(ROOT), "XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu",
    "COLUMNS": "80",
}  # fmt: skip


def on_mesh(what: str, *arguments: str) -> Any:
    """Run a function of `on_mesh` on four devices of the host, and return what it found."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.integrations.on_mesh", what, *arguments],
        cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def agree(found: list[dict[str, Any]], wanted: list[dict[str, Any]], *, abs_: float = 1e-5) -> None:
    """Ids, ranks and counts are equal; log-probabilities nearly."""
    assert len(found) == len(wanted) == 2
    for one, other in zip(found, wanted, strict=True):
        tokens, expected = one.pop("tokens"), other.pop("tokens")
        assert one == other
        assert len(tokens) == len(expected) == 10
        for token, fields in zip(tokens, expected, strict=True):
            assert token == {
                name: pytest.approx(value, abs=abs_) if name.endswith("logprob") and value is not None else value
                for name, value in fields.items()
            }


def test_unsharded_arrays_go_in_as_they_are() -> None:
    """float32, bfloat16 and float16 logits, int32 labels and inputs give the records of the same torch tensors."""
    for found, wanted in on_mesh("arrays").values():
        agree(found, wanted)


def test_what_device_get_returns_goes_in() -> None:
    """Logits in any type that torch has, and rows in bfloat16, as NumPy arrays, give the records of JAX's arrays."""
    for found, wanted in on_mesh("fetched").values():
        agree(found, wanted)


def test_rows_of_logits_that_xla_rounds_for_one_use_alone_are_recorded() -> None:
    """In bfloat16, XLA takes the argmax of rounded logits, and the log-softmax of the same before."""
    assert on_mesh("rounded_apart")


def test_what_has_no_values_here_is_refused_in_words() -> None:
    """Arrays on several devices, deleted ones and tracers: each message says what it is, and what to pass instead."""
    told = on_mesh("refusals")
    for name, message in told.items():
        assert "docs/frameworks/jax.md" in message or name in {"deleted logits", "donated logits", "small labels"}
        assert "\n" not in message
    assert "logits [8, 32, 512] are a JAX array that is sharded into 4 parts on 4 devices by" in told["sharded logits"]
    assert "('data', None, 'model'): reading them would gather them" in told["sharded logits"]
    for name in ("sharded logits", "sharded chunks", "sharded hidden states"):
        assert "reduce them inside of jax.jit to replicated rows, and pass predlog.Rows" in told[name]
    for name in ("labels", "inputs"):
        assert (
            f"{name} [8, 32] are a JAX array that is sharded into 2 parts on 4 devices by " in told[f"sharded {name}"]
        )
        assert "pass the host's array that they were made of" in told[f"sharded {name}"]
    for name in ("logits", "labels", "inputs"):
        assert f"{name} [8, 32" in told[f"replicated {name}"]
        assert "replicated on 4 devices: pass its .addressable_data(0)" in told[f"replicated {name}"]
    assert "predictions of Rows [8, 32] are a JAX array that is sharded" in told["sharded rows"]
    for name in ("sharded rows", "sharded log-probabilities", "sharded label log-probabilities", "sharded ranks"):
        assert "have jax.jit return them replicated, by out_shardings, and pass their .addressable_d" in told[name]
    assert "predictions of Rows [8, 32] are a JAX array that is replicated" in told["replicated rows"]
    for name, shape in (("weight", [512, 32]), ("bias", [512])):
        assert f"the head's {name} {shape} is a JAX array that is sharded into 2 parts" in told[f"sharded {name}"]
        assert "reading it would gather it, so reduce the logits inside of jax.jit" in told[f"sharded {name}"]
    assert (
        'labels [8, 32] are a JAX array of int4, which torch can\'t read: pass .astype("int8")' in told["small labels"]
    )
    assert "are an ArrayImpl" not in "".join(told.values())
    for name in ("deleted", "donated"):
        assert "logits [8, 32, 512] are a JAX array that was deleted or donated" in told[f"{name} logits"]
    for name in ("jit", "grad", "vmap"):
        assert "Tracer: inside of jax.jit, grad or vmap there are no values. Return what" in told[name]


def test_the_recipe_gives_what_whole_logits_give() -> None:
    """The recipe's rows, of logits on four devices, give the records of the same logits in one place."""
    for name, (found, wanted) in on_mesh("recipe").items():
        # Log-probabilities of logits around 1000 are differences of float32 numbers with steps of 6e-5.
        agree(found, wanted, abs_=2e-4 if name.startswith("large") else 1e-5)


# Over the vocabulary: the peak, the prediction, the label's logit, the logits above it, and the sum of exponentials,
# each of the half of the batch that a device has. Over the batch: the four arrays of rows.
COLLECTIVES = [
    "all-gather f32[8,32]", "all-gather f32[8,32]", "all-gather s32[8,32]", "all-gather s32[8,32]",
    "all-reduce f32[4,32]", "all-reduce f32[4,32]", "all-reduce f32[4,32]", "all-reduce s32[4,32]",
    "all-reduce s32[4,32]",
]  # fmt: skip


def test_the_recipe_moves_rows_and_no_logits() -> None:
    """Compiled, it has nine collectives, none of which is larger than [b, t]."""
    assert on_mesh("collectives") == COLLECTIVES


def test_that_the_test_of_collectives_can_fail() -> None:
    """If the vocabulary is not sharded where rows are reduced, XLA gathers the logits, and they are in the list."""
    edit = 'PartitionSpec("data", None, "model"), PartitionSpec("data")'
    listed = on_mesh("collectives", edit, 'PartitionSpec("data"), PartitionSpec("data")')
    assert "all-gather f32[4,32,512]" in listed


def test_the_page_s_program_runs(tmp_path: Path) -> None:
    """It is on its page, trains on four devices, records its due steps, and nothing is found."""
    page = (ROOT / "docs" / "frameworks" / "jax.md").read_text()
    assert "{literalinclude} ../examples/jax_rows.py" in page
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE)], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    # JAX's rows are shown alone: nothing sums up the loss of a whole pair.
    unchecked = "no open findings; the loss was not checked (see predlog explain loss-differs-from-pair)"
    assert done.stderr == (
        f"predlog: 10 comparisons in runs/jax/predictions.jsonl; {unchecked}; next: predlog report runs/jax\n"
    )
    records = list(read(tmp_path / "runs" / "jax"))
    found = [one for one in records if isinstance(one, Comparison)]
    assert [(one.step, one.sample) for one in found] == [
        (step, sample) for step in range(0, 41, 10) for sample in (0, 1)
    ]
    assert not [one for one in records if isinstance(one, Finding)]
    assert {one.vocabulary for one in found} == {512}
    assert {one.matched for one in found[-2:]} == {28}
