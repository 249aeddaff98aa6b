"""On clients that differ, methods with control variates reach the optimum where others stall."""

import pytest
import torch
from strategy_cases import EVERY

from fedsparse.compress import TopK
from fedsparse.data.quadratic import Quadratics
from fedsparse.protocol import Strategy
from fedsparse.simulation import simulate
from fedsparse.strategies.fed_ef import FedEF
from fedsparse.strategies.scafcom import Scafcom

SMALL = Quadratics.drawn(clients=10, size=40, spread=5.0, noise=0.0, seed=3)
WIDE = Quadratics.drawn(clients=15, size=60, spread=5.0, noise=0.0, seed=4)

on_both = pytest.mark.parametrize(
    "problem", [pytest.param(SMALL, id="small"), pytest.param(WIDE, id="wide", marks=pytest.mark.slow)]
)


def distance(strategy: Strategy, problem: Quadratics, rounds: int, cohort: int | None = None) -> float:
    """The final relative distance to the optimum."""
    result = simulate(
        strategy, problem, rounds=rounds, cohort=cohort, block=problem.clients, evaluate_every=rounds
    )
    return result.history[-1].metrics["distance"]


@on_both
@pytest.mark.parametrize(
    ("name", "rounds"),
    [
        ("scaffold-1", 200),
        ("scaffold-2", 200),
        ("scaffold-topk", 350),
        ("scafcom", 200),
        pytest.param("scallion", 500, marks=pytest.mark.slow),
    ],
)
def test_methods_with_control_variates_reach_the_optimum(name: str, rounds: int, problem: Quadratics):
    assert distance(EVERY[name], problem, rounds) < 1e-6


@on_both
def test_topk_without_memory_stalls_far_away(problem: Quadratics):
    assert distance(EVERY["topk"], problem, 200) > 0.3


@on_both
def test_error_feedback_alone_has_a_floor_that_shrinks_with_the_step(problem: Quadratics):
    large, small = (
        distance(FedEF(lr=lr, steps=1, uplink=TopK(0.1)), problem, rounds)
        for lr, rounds in ((0.1, 150), (0.03, 400))
    )
    assert 0.02 < small < large / 2


@on_both
@pytest.mark.parametrize(
    ("name", "rounds"), [("fedavg", 200), pytest.param("fedavgm", 300, marks=pytest.mark.slow)]
)
def test_averaging_ends_at_the_fixed_point_and_not_at_the_optimum(
    name: str, rounds: int, problem: Quadratics
):
    result = simulate(EVERY[name], problem, rounds=rounds, block=problem.clients, evaluate_every=rounds)
    torch.testing.assert_close(result.x, problem.fixed_point(lr=0.02, steps=5), rtol=0, atol=1e-5)
    assert result.history[-1].metrics["distance"] > 0.01


@pytest.mark.slow
def test_scafcom_reaches_the_optimum_when_four_of_ten_clients_take_part():
    ours = Scafcom(lr=0.02, steps=5, beta=0.5, server_lr=0.5, uplink=TopK(0.1))
    assert distance(ours, SMALL, 600, cohort=4) < 1e-6


@pytest.mark.slow
def test_momentum_averages_the_noise_of_gradients_out():
    """With a constant step there is a floor; a smaller beta lowers it."""
    noisy = Quadratics(SMALL.H, SMALL.b, noise=3.0)
    floors = [
        distance(Scafcom(lr=0.02, steps=5, beta=beta, server_lr=0.3, uplink=TopK(0.1)), noisy, 300)
        for beta in (1.0, 0.1)
    ]
    assert floors[1] < floors[0] / 1.5
