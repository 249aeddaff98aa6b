"""A strategy on a problem that its theory is not about: refused, or told, and what its formulas are given."""

import pytest

from fedsparse.compress import RandK, TopK
from fedsparse.data.quadratic import Quadratics
from fedsparse.data.saddle import Saddle
from fedsparse.engine.suits import facts_of, settle
from fedsparse.errors import ConfigError
from fedsparse.simulation import simulate
from fedsparse.strategies.ef21 import EF21
from fedsparse.strategies.extragradient import Extragradient
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.theory import FromTheory

QUADRATICS = Quadratics.drawn(clients=4, size=10, spread=1.0, noise=0.0, seed=0)
SADDLE = Saddle.drawn(4, 5, 0.0, 1.0, spread=1.0, mu=0.2, noise=0.0, seed=0)


def test_a_cohort_without_theory_is_refused_from_python_too():
    with pytest.raises(ConfigError, match=r"cohort=2: strategy=ef21 needs all clients in every round"):
        simulate(EF21(uplink=TopK(0.2)), QUADRATICS, rounds=1, cohort=2)


def test_the_variant_for_a_cohort_runs():
    assert len(simulate(EF21(uplink=TopK(0.2), partial=True), QUADRATICS, rounds=2, cohort=2).history) == 2


def test_a_method_for_minimisation_runs_on_a_saddle_problem_and_says_what_it_is():
    notes: list[str] = []
    simulate(FedAvg(lr=0.01, steps=1), SADDLE, rounds=1, note=notes.append)
    assert [line for line in notes if "has theory for minimisation only" in line]


@pytest.mark.parametrize("problem", [QUADRATICS, SADDLE])
def test_a_method_for_both_classes_has_nothing_to_say(problem):
    notes: list[str] = []
    simulate(Extragradient(lr=0.01), problem, rounds=1, note=notes.append)
    assert notes == []


def test_formulas_get_the_constants_of_the_problem_and_the_compressor():
    known = QUADRATICS.constants
    facts = facts_of(FedAvg(uplink=RandK(0.2)), QUADRATICS, cohort=3)
    assert (facts.mu, facts.L, facts.L_max, facts.L_rms) == (known.mu, known.L, known.L_max, known.L_rms)
    # Rand-k of 2 of 10 entries: ω = d/k - 1 = 4, and expanding.
    assert (facts.omega, facts.delta, facts.size, facts.clients, facts.cohort) == (4, 0, 10, 4, 3)


def test_a_number_is_left_alone():
    strategy = FedAvg(lr=0.3)
    assert settle(strategy, "fedavg", QUADRATICS, 4).strategy is strategy


def test_a_step_size_from_theory_is_that_of_gradient_descent():
    settled = settle(FedAvg(lr=FromTheory(), steps=1), "fedavg", QUADRATICS, 4)
    assert settled.lr == pytest.approx(1 / QUADRATICS.constants.L, rel=1e-12)


def test_only_a_step_size_may_follow_from_theory():
    with pytest.raises(ConfigError, match="server_lr=theory: must be a number above 0"):
        FedAvg(server_lr=FromTheory())
