"""Generated binary logistic regression: small, convex, with a known amount of disagreement between clients.

Inputs are N(m_k, I); the label is 1 with probability sigmoid(margin * x . w_k / |w_k|). Client k's w_k is w +
heterogeneity * N(0, I) and its mean m_k is heterogeneity * N(0, I / features), so that heterogeneity 0 is
iid.
"""

from __future__ import annotations

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
    clients: int = 20,
    examples: int = 100,
    features: int = 50,
    heterogeneity: float = 1.0,
    margin: float = 3.0,
    test_examples: int = 20,
) -> Dataset:
    """Generate the set; client k's examples depend on the seed and k only.

    Args:
        data_dir: not used.
        seed: the key of all draws.
        clients: natural clients.
        examples: training examples of each client.
        features: inputs.
        heterogeneity: how far the clients' models and inputs lie apart; 0 is not at all.
        margin: how clear the labels are; 0 is a coin.
        test_examples: examples of each client in the test part.
    """
    for option, number in (("clients", clients), ("examples", examples), ("features", features)):
        whole(option, number, 1)
    whole("test_examples", test_examples, 1)
    within("heterogeneity", heterogeneity, 0)
    within("margin", margin, 0)
    common = stream(seed, "data:logistic").standard_normal(features)
    n = examples + test_examples
    x = np.empty((clients, n, features), dtype=np.float32)
    y = np.empty((clients, n), dtype=np.int64)
    for k in range(clients):
        x[k], y[k] = _client(stream(seed, "data:logistic", client=k), common, n, heterogeneity, margin)
    return Dataset(
        name="logistic",
        x=x[:, :examples].reshape(-1, features),
        y=y[:, :examples].reshape(-1),
        x_test=x[:, examples:].reshape(-1, features),
        y_test=y[:, examples:].reshape(-1),
        classes=2,
        groups=np.repeat(np.arange(clients), examples),
    )


def _client(
    rng: np.random.Generator, common: NDArray[np.float64], n: int, heterogeneity: float, margin: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    features = len(common)
    weight = common + heterogeneity * rng.standard_normal(features)
    mean = heterogeneity * rng.standard_normal(features) / np.sqrt(features)
    x = mean + rng.standard_normal((n, features))
    score = margin * (x @ weight) / max(float(np.linalg.norm(weight)), 1e-12)
    return x, rng.random(n) < 1 / (1 + np.exp(-score))
