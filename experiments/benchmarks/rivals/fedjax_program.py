"""FedJAX: its federated averaging, on both cores where that is faster.

As devices of their own (XLA_FLAGS) two cores train two clients at a time, one step for both in one call. For the
convolutional network FedJAX's other backend, client after client, is faster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import fedjax
import jax
import jax.numpy as jnp
import numpy as np
from fedjax.algorithms import fed_avg

from experiments.benchmarks.rivals.work import Work, arguments, mark, save

Params = dict[str, jax.Array]
_FROM_TORCH, _TO_TORCH = (2, 3, 1, 0), (3, 2, 0, 1)
"""Axes of a convolution's weights: torch has them as OIHW; XLA's convolutions on CPUs are made for HWIO."""


def _linear(p: Params, name: str, x: jax.Array) -> jax.Array:
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def _conv(p: Params, name: str, x: jax.Array, padding: int) -> jax.Array:
    pads = [(padding, padding)] * 2
    numbers = ("NHWC", "HWIO", "NHWC")
    out = jax.lax.conv_general_dilated(x, p[f"{name}.weight"], (1, 1), pads, dimension_numbers=numbers)
    return out + p[f"{name}.bias"]


def _pool(x: jax.Array) -> jax.Array:
    images, rows, columns, channels = x.shape
    return x.reshape(images, rows // 2, 2, columns // 2, 2, channels).max((2, 4))


def _flat(x: jax.Array) -> jax.Array:
    return x.transpose(0, 3, 1, 2).reshape(len(x), -1)


def _mlp(p: Params, x: jax.Array) -> jax.Array:
    x = jax.nn.relu(_linear(p, "fc1", x))
    return _linear(p, "head", jax.nn.relu(_linear(p, "fc2", x)))


def _cnn(p: Params, x: jax.Array) -> jax.Array:
    x = jax.nn.relu(_pool(_conv(p, "conv1", x, 2)))
    x = jax.nn.relu(_pool(_conv(p, "conv2", x, 2)))
    return _linear(p, "head", jax.nn.relu(_linear(p, "fc1", _flat(x))))


def _lenet5(p: Params, x: jax.Array) -> jax.Array:
    x = jax.nn.relu(_pool(_conv(p, "conv1", x, 2)))
    x = jax.nn.relu(_pool(_conv(p, "conv2", x, 0)))
    x = jax.nn.relu(_linear(p, "fc1", _flat(x)))
    return _linear(p, "head", jax.nn.relu(_linear(p, "fc2", x)))


_OUTPUTS: dict[str, Callable[[Params, jax.Array], jax.Array]] = {"mlp": _mlp, "cnn": _cnn, "lenet5": _lenet5}


def gradient(model: str) -> Callable[[Params, Mapping[str, jax.Array], jax.Array], Params]:
    """The gradient of the mean cross entropy of a minibatch."""

    def loss(p: Params, batch: Mapping[str, jax.Array], rng: jax.Array) -> jax.Array:  # noqa: ARG001 - FedJAX's signature
        logits = jax.nn.log_softmax(_OUTPUTS[model](p, batch["x"]))
        return -jnp.take_along_axis(logits, batch["y"][:, None], 1).mean()

    return jax.grad(loss)


def main() -> None:
    """Runs the program."""
    given = arguments()
    work = Work.load(given.work)
    fedjax.set_for_each_client_backend("jit" if work.model == "cnn" else "pmap")
    x = work.inputs()
    x = x.reshape(len(x), -1) if work.model == "mlp" else x.transpose(0, 2, 3, 1)
    y = work.y.astype(np.int32)
    algorithm = fed_avg.federated_averaging(
        gradient(work.model),
        fedjax.optimizers.sgd(work.lr),
        fedjax.optimizers.sgd(1.0),
        fedjax.ShuffleRepeatBatchHParams(batch_size=work.batches.shape[-1], num_epochs=1, skip_shuffle=True),
    )
    weights = {k: v.transpose(_FROM_TORCH) if v.ndim == 4 else v for k, v in work.start.items()}
    state = algorithm.init({name: jnp.asarray(value) for name, value in weights.items()})
    key = jax.random.PRNGKey(0)
    mark("start")
    for ids, order in zip(work.cohorts[: given.rounds], work.order, strict=False):
        clients = [
            (int(i), fedjax.ClientDataset({"x": x[at], "y": y[at]}), key)
            for i, at in zip(ids, order, strict=True)
        ]
        state, _ = algorithm.apply(state, clients)
        jax.block_until_ready(state.params)
        mark("round")
    final = {name: np.asarray(value) for name, value in state.params.items()}
    save(given.final, [final[k].transpose(_TO_TORCH) if final[k].ndim == 4 else final[k] for k in work.start])


if __name__ == "__main__":
    main()
