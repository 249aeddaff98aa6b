"""Saddle points that are given by formulas: what they know of themselves, and who solves them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fedsparse import rng
from fedsparse.compress import TopK
from fedsparse.data import load
from fedsparse.data.saddle import Saddle
from fedsparse.errors import ConfigError
from fedsparse.protocol import Strategy
from fedsparse.simulation import simulate
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.strategies.masha import Masha
from tests.reference.toys import b0_toy, b_toy

GDA = FedAvg(lr=0.2, steps=1)


def parts(mu: float, common: float, coupling: float, seed: int) -> Saddle:
    """The saddle point of the reference's toys, from the same draws: A, a, b of one client after the other."""
    draw = np.random.default_rng(seed)
    A, a, b = np.empty((10, 20, 20)), np.empty((10, 20)), np.empty((10, 20))
    for m in range(10):
        A[m] = common * np.eye(20) + coupling * draw.standard_normal((20, 20)) / np.sqrt(20)
        a[m], b[m] = 3 * draw.standard_normal(20), 3 * draw.standard_normal(20)
    return Saddle(torch.from_numpy(A), torch.from_numpy(a), torch.from_numpy(b), mu)


def test_its_operator_is_the_references() -> None:
    for toy, ours in ((b_toy(), parts(0.2, 0, 1, seed=5)), (b0_toy(), parts(0.0, 1, 0.5, seed=6))):
        np.testing.assert_allclose(ours.H, toy.H, rtol=0, atol=1e-15)
        np.testing.assert_allclose(ours.b, toy.b, rtol=0, atol=1e-15)
        np.testing.assert_allclose(ours.solution, toy.x_star, rtol=1e-10)


def test_its_operator_is_the_gradient_in_x_and_minus_that_in_y() -> None:
    problem = load("saddle", clients=3, size=4, mu=0.3)
    z = torch.randn(8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    A, a, b = problem.H[:, :4, 4:], -problem.b[:, :4], problem.b[:, 4:]
    x, y = z[:4].clone().requires_grad_(), z[4:].clone().requires_grad_()
    value = x @ A[1] @ y + a[1] @ x + b[1] @ y + 0.15 * x @ x - 0.15 * y @ y
    in_x, in_y = torch.autograd.grad(value, (x, y))
    found = problem.full_gradient(torch.tensor([1]), z[None])[0]
    torch.testing.assert_close(found, torch.cat([in_x, -in_y]))


def test_it_knows_its_constants() -> None:
    # Computed with an independent NumPy transcription.
    found = parts(0.2, 0, 1, seed=5).constants
    assert (found.mu, found.L, found.L_rms) == pytest.approx((0.2, 0.6506917982, 1.8779105324), rel=1e-9)
    assert found.L_max == pytest.approx(b_toy().L_clients.max())


def test_a_bilinear_problem_is_monotone_and_not_strongly() -> None:
    constants = load("bilinear").constants
    assert constants.mu == 0
    assert 0.5 < constants.L < 2


def test_the_gap_is_the_difference_of_the_best_answers() -> None:
    """max_y g(x, .) = a'x + mu |x|²/2 + |A'x + b|²/(2 mu), and likewise the minimum in x."""
    problem = parts(0.2, 0, 1, seed=5)
    z = torch.from_numpy(np.random.default_rng(0).standard_normal(40))
    x, y = z[:20], z[20:]
    H, offset = problem.H.mean(0), problem.b.mean(0)
    A, a, b = H[:20, 20:], -offset[:20], offset[20:]
    best = a @ x + 0.1 * x @ x + (A.T @ x + b).square().sum() / 0.4
    worst = b @ y - 0.1 * y @ y - (A @ y + a).square().sum() / 0.4
    assert problem.gap(z) == pytest.approx(float(best - worst))
    assert problem.gap(problem.solution) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ["saddle", "bilinear"])
def test_metrics_are_one_at_the_start_and_zero_at_the_solution(name: str) -> None:
    problem = load(name)
    assert set(problem.evaluate(problem.start).values()) == {1.0}
    assert max(problem.evaluate(problem.solution).values()) < 1e-12
    assert ("gap" in problem.evaluate(problem.start)) == (name == "saddle")


@pytest.mark.parametrize("name", ["saddle", "bilinear"])
def test_a_client_depends_on_the_seed_and_its_number_only(name: str) -> None:
    few, many, other = load(name, clients=3), load(name, clients=5), load(name, seed=1, clients=3)
    assert torch.equal(few.H, many.H[:3])
    assert torch.equal(few.b, many.b[:3])
    assert not torch.equal(few.b, other.b)


def test_blocks_are_named() -> None:
    assert load("saddle", size=7).shapes == {"x": (7,), "y": (7,)}


def test_noise_is_that_of_the_streams() -> None:
    problem = load("saddle", clients=2, noise=0.5)
    ids, z = torch.arange(2), torch.zeros(2, 40, dtype=torch.float64)
    found = problem.gradient(ids, z, rng.Streams(0, "batches:0", 0, [0, 1]))
    draws = rng.Streams(0, "batches:0", 0, [0, 1]).normal(40, torch.float64)
    torch.testing.assert_close(found, problem.full_gradient(ids, z) + 0.5 * draws)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("saddle", {"mu": 0.0}, "mu=0.0: must be a finite number, above 0"),
        ("saddle", {"size": 0}, "size=0"),
        ("bilinear", {"spread": -1.0}, "spread=-1"),
        ("bilinear", {"noise": math.nan}, "noise=nan"),
    ],
)
def test_absurd_options_are_refused(name: str, options: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(name, **options)


def distance(strategy: Strategy, name: str, rounds: int) -> float:
    """The relative distance to the solution after some rounds of ten clients."""
    found = simulate(strategy, load(name), rounds=rounds, block=10, evaluate_every=rounds)
    return found.history[-1].metrics["distance"]


def test_on_the_bilinear_problem_descent_ascent_diverges_and_masha_converges() -> None:
    assert distance(GDA, "bilinear", 150) > 10
    assert distance(Masha(lr=0.1, sync=0.1, oracle="full", uplink=TopK(0.1)), "bilinear", 500) < 0.1
