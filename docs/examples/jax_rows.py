"""Trains on a mesh in JAX, with logits sharded over the batch and over the vocabulary, and shows what is predicted."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import predlog

VOCABULARY, WIDTH, BATCH, LENGTH = 512, 64, 8, 32
mesh = Mesh(np.array(jax.devices()).reshape(2, -1), ("data", "model"))


def sharding(*axes):
    return NamedSharding(mesh, PartitionSpec(*axes))


def reduce_shard(logits, labels):
    """Reduce the logits [b, t, v] of one device to rows [b, t] of the whole vocabulary."""
    size = logits.shape[-1]
    start = jax.lax.axis_index("model") * size  # the first id of this shard
    logits = logits.astype(jnp.float32)
    local_peak = logits.max(-1)
    peak = jax.lax.pmax(local_peak, "model")
    candidate = jnp.where(local_peak == peak, start + logits.argmax(-1), VOCABULARY)
    prediction = jax.lax.pmin(candidate, "model")
    place = labels - start
    is_here = (place >= 0) & (place < size)
    logit = jnp.take_along_axis(logits, jnp.clip(place, 0, size - 1)[..., None], -1)[..., 0]
    label_logit = jax.lax.psum(jnp.where(is_here, logit, 0.0), "model")
    above = jax.lax.psum((logits > label_logit[..., None]).sum(-1), "model")
    log_sum = jnp.log(jax.lax.psum(jnp.exp(logits - peak[..., None]).sum(-1), "model"))
    is_label = (labels >= 0) & (labels < VOCABULARY)  # of -100, nothing is known
    return {
        "prediction": prediction,
        "prediction_logprob": -log_sum,
        "label_logprob": jnp.where(is_label, label_logit - peak - log_sum, jnp.nan),
        "label_rank": above + 1,
    }


# Only the rows are gathered, so that each device has them all.
@partial(jax.jit, out_shardings=sharding())
def rows(logits, labels):
    specs = PartitionSpec("data", None, "model"), PartitionSpec("data")
    return jax.shard_map(reduce_shard, mesh=mesh, in_specs=specs, out_specs=PartitionSpec("data"))(logits, labels)


def forward(weights, ids):
    return weights["embedding"][ids] @ weights["head"]


@jax.jit
def train(weights, ids, labels):
    def loss_of(weights):
        logits = forward(weights, ids)
        losses = -jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.maximum(labels, 0)[..., None], -1)[..., 0]
        return jnp.mean(losses, where=labels >= 0), logits

    (loss, logits), slopes = jax.value_and_grad(loss_of, has_aux=True)(weights)
    return jax.tree.map(lambda weight, slope: weight - 10.0 * slope, weights, slopes), loss, logits


def main(steps=41):
    draw = np.random.default_rng(0)
    weights = {
        "embedding": jax.device_put(draw.normal(size=(VOCABULARY, WIDTH)).astype("float32"), sharding()),
        "head": jax.device_put(0.1 * draw.normal(size=(WIDTH, VOCABULARY)).astype("float32"), sharding(None, "model")),
    }
    predlog.configure("runs/jax", every=10)
    for step in range(steps):
        ids = (draw.integers(VOCABULARY, size=(BATCH, 1)) + np.arange(LENGTH + 1)) % VOCABULARY  # each counts on
        inputs, labels = ids[:, :-1].astype("int32"), ids[:, 1:].astype("int32")
        labels[:, :4] = -100  # a prompt
        on_mesh = [jax.device_put(one, sharding("data")) for one in (inputs, labels)]
        weights, loss, logits = train(weights, *on_mesh)
        if step % 10 == 0:
            found = {name: one.addressable_data(0) for name, one in rows(logits, on_mesh[1]).items()}
            predlog.compare(predlog.Rows(**found, vocabulary=VOCABULARY), labels, step, inputs=inputs)
            print(f"step {step}: loss {loss:.3f}")
    predlog.close()


if __name__ == "__main__":
    main()
