"""Noise of the gradients: which methods average it out over clients and time."""

from functools import cache

import numpy as np
import pytest
import torch

from fedsparse.compress import Identity, TopK
from fedsparse.data.quadratic import Quadratics
from fedsparse.protocol import Strategy
from fedsparse.simulation import simulate
from fedsparse.strategies.econtrol import EControl
from fedsparse.strategies.ef21 import EF21
from fedsparse.strategies.ef21_sgdm import EF21SGDM
from tests.reference.oracle import Q

NOISY = Quadratics(torch.from_numpy(Q.H), torch.from_numpy(Q.b), noise=5.0)

METHODS: dict[str, type[EF21]] = {
    "sgd": EControl,
    "econtrol": EControl,
    "ef21": EF21,
    "ef21_sgdm": EF21SGDM,
}


def floor(strategy: Strategy, problem: Quadratics, rounds: int, after: int) -> float:
    """Mean of ||x - x*||^2 over the rounds after ``after``."""
    result = simulate(
        strategy, problem, rounds=rounds, block=problem.clients, evaluate_every=rounds, keep_models=True
    )
    return float((torch.stack(result.models[after:]) - problem.optimum).square().sum(1).mean())


@cache
def stated_floor(name: str, lr: float) -> float:
    uplink = Identity() if name == "sgd" else TopK(0.1)
    return floor(METHODS[name](lr=lr, uplink=uplink), NOISY, 3000, 1500)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lr", "name", "stated"),
    [
        (0.03, "sgd", 1.06),
        (0.03, "econtrol", 3.85),
        (0.03, "ef21", 6.91),
        (0.03, "ef21_sgdm", 1.15),
        (0.01, "sgd", 0.345),
        (0.01, "econtrol", 0.851),
        (0.01, "ef21", 2.47),
        (0.01, "ef21_sgdm", 0.371),
    ],
)
def test_the_floor_is_the_stated_one(lr: float, name: str, stated: float):
    """Noise of 5 on each coordinate; stated by an independent NumPy transcription, with other random numbers."""
    assert stated_floor(name, lr) == pytest.approx(stated, rel=0.1)


@pytest.mark.slow
def test_econtrol_comes_nearer_to_sgd_as_the_step_shrinks():
    far, near = (stated_floor("econtrol", lr) / stated_floor("sgd", lr) for lr in (0.03, 0.01))
    assert 1 < near < far


def least_squares(clients: int, size: int = 100, spread: float = 10.0) -> Quadratics:
    """f_i(x) = ||A_i x - b_i||^2 / 2, A_i = (i / sqrt(n)) I, b_i ~ N(0, (spread / i)^2 I), noise of deviation 1.

    The generator of the experiments of EControl's paper. A run begins at the optimum, which the floor does not tell.
    """
    i = torch.arange(1, clients + 1, dtype=torch.float64)
    a, draws = i / clients**0.5, np.random.default_rng(0).standard_normal((clients, size))
    b = torch.from_numpy(draws) * spread / i[:, None]
    H = torch.diag_embed((a**2)[:, None].expand(-1, size)).contiguous()
    problem = Quadratics(H, a[:, None] * b, noise=1.0)
    problem.start = problem.optimum
    return problem


@pytest.mark.slow
@pytest.mark.parametrize("uplink", [TopK(0.1), Identity()], ids=["topk", "sgd"])
def test_the_floor_of_econtrol_falls_as_one_over_the_clients(uplink: TopK | Identity):
    """Of f - f*: SGD with small steps γ has γ σ² d / (4 n), whatever the curvature c, hence a slope of -1.

    A run has six times 1 / (γ c) rounds, in which a distance falls to 1/e, and counts from the second on.
    """
    counts, lr, floors = (4, 16, 64), 5e-4, []
    for clients in counts:
        problem = least_squares(clients)
        curvature = float(problem.H.mean(0)[0, 0])
        once = round(1 / (lr * curvature))
        distance = floor(EControl(lr=lr, uplink=uplink), problem, 6 * once, 2 * once)
        floors.append(curvature * distance / 2)
    slope = np.polyfit(np.log(counts), np.log(floors), 1)[0]
    assert -1.3 < slope < -0.7
    assert floors[0] == pytest.approx(lr * 100 / 16, rel=0.3)
