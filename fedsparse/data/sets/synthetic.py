"""LEAF's synthetic(alpha, beta): multinomial logistic regression whose clients disagree by a chosen amount.

Client k has the model W_k, b_k with entries N(u_k, 1), u_k ~ N(0, alpha), and inputs N(v_k, diag(j^-1.2))
with v_k ~ N(B_k, 1), B_k ~ N(0, beta); its labels are argmax(W_k x + b_k). alpha is how much the models
differ, beta how much the inputs do; both are variances, as in the paper (its code takes them as deviations).

Source: T. Li et al., "Federated Optimization in Heterogeneous Networks", MLSys 2020, section 5.1; S. Caldas
et al., "LEAF", arXiv:1812.01097.
"""

from __future__ import annotations

from math import ceil, sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedsparse.data.checks import whole, within
from fedsparse.data.dataset import Dataset
from fedsparse.rng import stream

__all__ = ["load"]


def load(
    data_dir: Path | None,  # noqa: ARG001 - generated
    seed: int,
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    clients: int = 0,
    features: int = 60,
    classes: int = 10,
    minimum: int = 50,
    maximum: int = 5000,
    test_fraction: float = 0.2,
) -> Dataset:
    """Generate the set; client k's examples depend on the seed and k only.

    Args:
        data_dir: not used.
        seed: the key of all draws.
        alpha: variance of the models' means between clients.
        beta: variance of the inputs' means between clients.
        clients: natural clients; 0: as many as the run has clients (30 outside of a run).
        features: inputs.
        classes: labels.
        minimum: examples of a client, to which a log-normal(4, 2) number is added.
        maximum: a client has no more than this.
        test_fraction: share of each client's examples, rounded up, that is in the test part.
    """
    for option, value in (("alpha", alpha), ("beta", beta)):
        within(option, value, 0)
    whole("clients", clients, 0)
    clients = clients or 30
    for option, number in (("features", features), ("classes", classes)):
        whole(option, number, 1)
    whole("minimum", minimum, 2)
    whole("maximum", maximum, minimum)
    within("test_fraction", test_fraction, 0, 0.9, open_low=True)
    parts = [
        _client(
            stream(seed, "data:synthetic", client=k), (alpha, beta), (features, classes), (minimum, maximum)
        )
        for k in range(clients)
    ]
    held_out = [min(ceil(len(y) * test_fraction), len(y) - 1) for _, y in parts]
    return Dataset(
        name=f"synthetic({alpha:g},{beta:g})",
        x=np.concatenate([x[m:] for (x, _), m in zip(parts, held_out, strict=True)]),
        y=np.concatenate([y[m:] for (_, y), m in zip(parts, held_out, strict=True)]),
        x_test=np.concatenate([x[:m] for (x, _), m in zip(parts, held_out, strict=True)]),
        y_test=np.concatenate([y[:m] for (_, y), m in zip(parts, held_out, strict=True)]),
        classes=classes,
        groups=np.repeat(np.arange(clients), [len(y) - m for (_, y), m in zip(parts, held_out, strict=True)]),
    )


def _client(
    rng: np.random.Generator,
    variances: tuple[float, float],
    shape: tuple[int, int],
    sizes: tuple[int, int],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    features, classes = shape
    n = min(sizes[0] + int(rng.lognormal(4, 2)), sizes[1])
    u, center = (rng.normal(0, sqrt(variance)) for variance in variances)
    weight, bias = rng.normal(u, 1, shape), rng.normal(u, 1, classes)
    mean = rng.normal(center, 1, features)
    x = mean + rng.standard_normal((n, features)) * np.arange(1, features + 1) ** -0.6
    return x.astype(np.float32), np.argmax(x @ weight + bias, axis=1)
