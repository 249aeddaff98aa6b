"""Step sizes from theory: the formulas' numbers on the Q-toy, and no divergence on others of its family."""

import math
from dataclasses import replace

import pytest
import torch

from fedsparse.compress import RandK, TopK
from fedsparse.data.quadratic import Quadratics
from fedsparse.data.saddle import Saddle
from fedsparse.engine.suits import settle
from fedsparse.errors import ConfigError
from fedsparse.protocol import Facts, Strategy
from fedsparse.registry import strategies
from fedsparse.simulation import simulate
from fedsparse.strategies.diana import Diana
from fedsparse.strategies.ef21 import EF21
from fedsparse.strategies.ef21_sgdm import EF21SGDM
from fedsparse.strategies.extragradient import Extragradient
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.strategies.fedopt import FedOpt
from fedsparse.strategies.marina import Marina
from fedsparse.strategies.masha import Masha
from fedsparse.strategies.scaffold import Scaffold
from fedsparse.strategies.scallion import Scallion
from fedsparse.theory import FromTheory
from tests.reference.toys import q_toy

Q = q_toy()
TOY = Quadratics(torch.from_numpy(Q.H), torch.from_numpy(Q.b))

MU, L, L_MAX, L_RMS = 1.0076246945, 2.1504483248, 4.4944909020, 4.2406571392
"""Constants of the Q-toy, computed with an independent NumPy transcription."""

LR = FromTheory()


def lr_of(strategy: Strategy, cohort: int = 10) -> float | None:
    return settle(strategy, "mine", TOY, cohort).lr


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (FedAvg(lr=LR, steps=1), 1 / L),
        (FedAvg(lr=LR, steps=5), 1 / (5 * L_MAX)),
        (FedAvg(lr=LR, steps=5, server_lr=0.01), 1 / L_MAX),
        # ω = 9 of rand-4 of 40, 10 clients
        (FedAvg(lr=LR, steps=1, uplink=RandK(0.1)), 1 / (L + 2 * 9 * L_MAX / 10)),
        (Diana(lr=LR, uplink=RandK(0.1)), 1 / (L + 6 * 9 * L_MAX / 10)),
        # p = 1/(1+ω) = 0.1
        (Marina(lr=LR, uplink=RandK(0.1)), 1 / (L + L_RMS * math.sqrt(0.9 * 9 / (0.1 * 10)))),
        # δ = 0.1: θ = 1 - sqrt(0.9) = 0.05132, b = 0.9 / θ = 17.54, sqrt(b / θ) = 18.4868
        (EF21(lr=LR, uplink=TopK(0.1)), 1 / (L + L_RMS * 18.4868329805)),
        (EF21SGDM(lr=LR, beta=0.1, uplink=TopK(0.1)), 0.1 / (20 * L_RMS)),
        # α C has δ = 1/(1+ω) = 0.1, EF21's
        (Scallion(lr=LR, steps=1, uplink=RandK(0.1)), 1 / (L + L_RMS * 18.4868329805)),
        (Extragradient(lr=LR), 1 / (2 * L)),
        # C_q² = L_rms² (10 + 9) / 10
        (
            Masha(lr=LR, uplink=RandK(0.1)),
            min(math.sqrt(0.1) / (2 * L_RMS * math.sqrt(1.9)), 0.1 / (2 * MU)),
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Strategy) else "",
)
def test_the_step_size_is_the_formulas(strategy: Strategy, expected: float):
    assert lr_of(strategy) == pytest.approx(expected, rel=1e-8)


def test_an_alpha_beyond_its_theory_has_no_step_size():
    with pytest.raises(ConfigError, match="no step size with these options"):
        lr_of(Diana(lr=LR, alpha=0.2, uplink=RandK(0.1)))  # 1/(1+ω) is 0.1


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("strategy", "rounds", "within"),
    [
        # 1/L against μ = 1: a factor below 0.6 a round
        (FedAvg(lr=LR, steps=1), 30, 1e-6),
        (Diana(lr=LR, uplink=RandK(0.1)), 300, 1e-3),
        (Marina(lr=LR, uplink=RandK(0.1)), 200, 1e-3),
        # γ μ = 0.012 a round
        (EF21(lr=LR, uplink=TopK(0.1)), 300, 0.05),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Strategy) else "",
)
def test_with_it_methods_converge(strategy: Strategy, rounds: int, within: float, seed: int):
    problem = Quadratics.drawn(10, 40, 5.0, noise=0.0, seed=seed)
    history = simulate(strategy, problem, rounds=rounds, block=10, seed=seed, evaluate_every=rounds).history
    assert history[-1].metrics["distance"] < within


def with_theory() -> list[str]:
    return [name for name in strategies.names() if strategies.get(name).has_theory_lr() and name != "topk"]


@pytest.mark.parametrize("name", with_theory())
def test_no_strategy_diverges_with_it(name: str):
    strategy = strategies.get(name)()
    if isinstance(strategy, FedOpt):
        strategy = replace(strategy, optimizer="momentum")
    problems = [Quadratics.drawn(10, 40, 5.0, noise=0.0, seed=5)]
    if "operators" in strategy.problems:
        problems.append(Saddle.drawn(10, 20, 0.0, 1.0, spread=3.0, mu=0.2, noise=0.0, seed=5))
    for problem in problems:
        known: dict[str, object] = {"lr": LR}
        found = simulate(replace(strategy, **known), problem, rounds=150, block=10, evaluate_every=10)
        assert max(record.metrics.get("distance", 0.0) for record in found.history) <= 1.0


def test_a_downlink_that_the_theory_does_not_have_is_refused():
    with pytest.raises(ConfigError, match=r"lr=theory: the theory of strategy=mine has broadcasts"):
        settle(FedAvg(lr=LR, steps=1), "mine", TOY, 10, TopK(0.1))


def test_without_strong_convexity_scaffold_has_the_bound_by_smoothness():
    facts = Facts(mu=0.0, L=1.0, L_max=2.0, L_rms=1.5, size=10, clients=4, cohort=4)
    assert Scaffold(steps=5).theory_lr(facts) == 1 / (81 * 2.0) / 5
