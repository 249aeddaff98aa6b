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

PROBLEMS = {
    "small": Quadratics.drawn(clients=10, size=40, spread=5.0, noise=0.0, seed=3),
    "wide": Quadratics.drawn(clients=15, size=60, spread=5.0, noise=0.0, seed=4),
}


def distance(strategy: Strategy, problem: Quadratics, rounds: int, cohort: int | None = None) -> float:
    """The final relative distance to the optimum."""
    result = simulate(
        strategy, problem, rounds=rounds, cohort=cohort, block=problem.clients, evaluate_every=rounds
    )
    return result.history[-1].metrics["distance"]


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS.keys())
@pytest.mark.parametrize(
    ("name", "rounds"),
    [("scaffold-1", 250), ("scaffold-2", 250), ("scaffold-topk", 400), ("scallion", 500), ("scafcom", 250)],
)
def test_methods_with_control_variates_reach_the_optimum(name: str, rounds: int, problem: Quadratics):
    assert distance(EVERY[name], problem, rounds) < 1e-6


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS.keys())
def test_topk_without_memory_stalls_far_away(problem: Quadratics):
    assert distance(EVERY["topk"], problem, 250) > 0.3


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS.keys())
def test_error_feedback_alone_has_a_floor_that_shrinks_with_the_step(problem: Quadratics):
    large, small = (
        distance(FedEF(lr=lr, steps=1, uplink=TopK(0.1)), problem, rounds)
        for lr, rounds in ((0.1, 250), (0.03, 500))
    )
    assert 0.02 < small < large / 2


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS.keys())
@pytest.mark.parametrize("name", ["fedavg", "fedavgm"])
def test_averaging_ends_at_the_fixed_point_and_not_at_the_optimum(name: str, problem: Quadratics):
    strategy = EVERY[name]
    result = simulate(strategy, problem, rounds=300, block=problem.clients, evaluate_every=300)
    torch.testing.assert_close(result.x, problem.fixed_point(lr=0.02, steps=5), rtol=1e-5, atol=1e-7)
    assert result.history[-1].metrics["distance"] > 0.01


def test_scafcom_reaches_the_optimum_when_a_third_of_the_clients_take_part():
    ours = Scafcom(lr=0.02, steps=5, beta=0.5, server_lr=0.5, uplink=TopK(0.1))
    assert distance(ours, PROBLEMS["small"], 600, cohort=4) < 1e-6


def test_momentum_averages_the_noise_of_gradients_out():
    """With a constant step there is a floor; a smaller beta lowers it."""
    problem = Quadratics.drawn(clients=10, size=40, spread=5.0, noise=3.0, seed=3)
    floors = [
        distance(Scafcom(lr=0.02, steps=5, beta=beta, server_lr=0.3, uplink=TopK(0.1)), problem, 300)
        for beta in (1.0, 0.1)
    ]
    assert floors[1] < floors[0] / 1.5
