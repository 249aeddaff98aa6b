"""Generated sets."""

from __future__ import annotations

import numpy as np
import pytest

from fedsparse.data import load, options
from fedsparse.errors import ConfigError

SETS = ["synthetic", "logistic"]


@pytest.mark.parametrize("name", SETS)
def test_the_seed_decides_everything(name: str) -> None:
    a, b, c = load(name, seed=1), load(name, seed=1), load(name, seed=2)
    assert np.array_equal(a.x, b.x)
    assert np.array_equal(a.y, b.y)
    assert a.x.shape != c.x.shape or not np.array_equal(a.x, c.x)


@pytest.mark.parametrize("name", SETS)
def test_a_client_does_not_depend_on_how_many_there_are(name: str) -> None:
    few, many = load(name, clients=3), load(name, clients=5)
    assert np.array_equal(few.x[few.groups == 2], many.x[many.groups == 2])


@pytest.mark.parametrize("name", SETS)
def test_every_client_is_there(name: str) -> None:
    assert np.unique(load(name, clients=7).groups).tolist() == list(range(7))


def _disagreement(name: str, **options: float) -> float:
    data = load(name, clients=20, features=10, **options)
    means = np.stack([data.x[data.groups == k].mean(axis=0) for k in range(20)])
    return float(means.var(axis=0).mean())


def test_inputs_of_clients_differ_more_for_larger_beta() -> None:
    assert _disagreement("synthetic", beta=0.0) + 1 < _disagreement("synthetic", beta=9.0)


def test_heterogeneity_zero_makes_clients_alike() -> None:
    assert _disagreement("logistic", heterogeneity=0.0, examples=400) < 0.01
    assert _disagreement("logistic", heterogeneity=5.0, examples=400) > 1


def test_sizes_of_synthetic_clients_stay_in_their_bounds() -> None:
    data = load("synthetic", clients=40, minimum=10, maximum=60, test_fraction=0.1)
    sizes = np.bincount(data.groups)
    assert sizes.min() >= 9
    assert sizes.max() <= 54


def test_synthetic_labels_follow_the_client_model() -> None:
    # With one class fewer than two there is nothing to choose; with ten, several are used.
    assert len(np.unique(load("synthetic").y)) > 3
    assert np.unique(load("synthetic", classes=1).y).tolist() == [0]


def test_margin_zero_is_a_fair_coin() -> None:
    assert abs(load("logistic", margin=0.0, examples=500).y.mean() - 0.5) < 0.02


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("synthetic", {"alpha": -1.0}),
        ("synthetic", {"beta": float("nan")}),
        ("synthetic", {"clients": -1}),
        ("synthetic", {"maximum": 10}),
        ("logistic", {"features": 0}),
        ("logistic", {"examples": 1.5}),
        ("logistic", {"margin": float("inf")}),
    ],
)
def test_absurd_values_are_refused_by_name(name: str, bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        load(name, **bad)


def test_options_carry_types_and_defaults() -> None:
    found = options("synthetic")
    assert found["alpha"].annotation is float
    assert found["clients"].default == 0
    assert "seed" not in found
