"""Hyper-parameters that change with the round: their ends, and what is refused before the run."""

import pytest

from fedsparse import simulate
from fedsparse.data.quadratic import Quadratics
from fedsparse.errors import ConfigError
from fedsparse.schedule import parse
from fedsparse.strategies.fedavg import FedAvg

PROBLEM = Quadratics.drawn(clients=4, size=3, spread=1.0, noise=0.0, seed=0)


@pytest.mark.parametrize("text", ["linear(0.1,0)", "cosine(0.1,0)", "cubic(0.1,0)", "step(0.1,0,1)"])
def test_a_step_size_may_end_at_zero(text: str) -> None:
    models = simulate(FedAvg(lr=parse(text)), PROBLEM, rounds=4, keep_models=True).models
    assert models[3].equal(models[2])
    assert not models[0].equal(PROBLEM.start)


@pytest.mark.parametrize(
    "text", ["linear(0.1,0)", "linear(0,0.1)", "cosine(0.1,0)", "cosine(0.3,0.7)", "cubic(1,0.05)"]
)
@pytest.mark.parametrize("rounds", [1, 2, 4, 7, 50])
def test_rounding_carries_no_value_beyond_the_ends(text: str, rounds: int) -> None:
    made = parse(text)
    low, high = made.extremes()
    assert all(low <= made.at(number, rounds) <= high for number in range(rounds))


@pytest.mark.parametrize("text", ["step(0.1,0.5,0)", "step(0.1,-1,1)", "invsqrt(0.1,0)", "invsqrt(0.1,-1)"])
def test_a_schedule_without_a_value_for_some_round_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="above 0"):
        parse(text)


def test_a_schedule_that_grows_beyond_a_bound_is_refused_before_the_run() -> None:
    with pytest.raises(ConfigError, match=r"strategy.momentum"):
        FedAvg(momentum=parse("step(0.5,2,1)"))


def test_a_cubic_schedule_is_that_of_gradual_pruning() -> None:
    """The end plus what is between times (1 - t / T)^3, at t = 0, T / 2 and T: 1, 0.05 + 0.95 / 8, 0.05."""
    made = parse("cubic(1,0.05)")
    assert [made.at(t, 11) for t in (0, 5, 10)] == pytest.approx([1, 0.16875, 0.05])
