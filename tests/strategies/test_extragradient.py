"""Extragradient in its three forms, and descent-ascent, are the reference's; and what MASHA is for."""

from collections.abc import Sequence

import numpy as np
import pytest
from masha_cases import B0, B, SampledProblem, rand
from strategy_cases import EXACT, ToyProblem, error, iterates, rows, run

from fedsparse.compress import RandK, TopK
from fedsparse.engine.faults import Faults
from fedsparse.errors import ConfigError
from fedsparse.protocol import Strategy
from fedsparse.simulation import simulate
from fedsparse.strategies.ef_extragradient import EFExtragradient
from fedsparse.strategies.extragradient import Extragradient
from fedsparse.strategies.fed_ef import FedEF
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.strategies.masha import Masha
from fedsparse.strategies.topk import NaiveTopK
from tests.reference import (
    Toy,
    cohorts,
    compressed_extragradient,
    compressed_gda,
    ef_extragradient,
    extragradient,
    gda,
)
from tests.reference.oracle import everybody, printed, rand4, sampled, top4

ONE = {"steps": 1, "weighting": "one"}
"""What makes averaging gradient descent-ascent."""

PARTICIPATION = {"all": everybody(60), "three": sampled(3, 60)}


def assert_same_iterates(strategy: Strategy, who: Sequence[cohorts.Cohort], expected: np.ndarray) -> None:
    np.testing.assert_allclose(iterates(run(strategy, who, toy=B), B), expected, rtol=0, atol=EXACT)


def end(strategy: Strategy, rounds: int, toy: Toy = B) -> float:
    """The relative distance to the solution after some rounds of all clients."""
    return error(simulate(strategy, ToyProblem(toy), rounds=rounds, block=10, evaluate_every=rounds), toy)


@pytest.mark.parametrize("who", PARTICIPATION)
def test_every_iterate_is_the_references(who: str):
    chosen = PARTICIPATION[who]
    assert_same_iterates(Extragradient(lr=0.1), chosen, extragradient(B.gradient, B.x0, chosen, lr=0.1).x)


@pytest.mark.parametrize("who", PARTICIPATION)
def test_every_iterate_is_the_references_with_topk(who: str):
    chosen = PARTICIPATION[who]
    expected = compressed_extragradient(B.gradient, B.x0, chosen, lr=0.1, compress=top4())
    assert_same_iterates(Extragradient(lr=0.1, uplink=TopK(0.1)), chosen, expected.x)


@pytest.mark.parametrize("who", PARTICIPATION)
def test_every_iterate_and_memory_is_the_references_with_error_feedback(who: str):
    chosen = PARTICIPATION[who]
    expected = ef_extragradient(B.gradient, B.x0, 10, chosen, lr=0.1, compress=top4())
    result = run(EFExtragradient(lr=0.1, uplink=TopK(0.1)), chosen, toy=B)
    np.testing.assert_allclose(iterates(result, B), expected.x, rtol=0, atol=EXACT)
    for name, theirs in (("look", "e_half"), ("step", "e")):
        np.testing.assert_allclose(rows(result, name), expected.clients[theirs], rtol=0, atol=EXACT)


@pytest.mark.parametrize("who", PARTICIPATION)
def test_descent_ascent_is_averaging_of_one_step(who: str):
    chosen = PARTICIPATION[who]
    assert_same_iterates(FedAvg(lr=0.1, **ONE), chosen, gda(B.gradient, B.x0, chosen, lr=0.1).x)
    for uplink, compress, cls in ((TopK(0.1), top4(), NaiveTopK), (rand(chosen), rand4(3), FedAvg)):
        expected = compressed_gda(B.gradient, B.x0, chosen, lr=0.1, compress=compress)
        assert_same_iterates(cls(lr=0.1, uplink=uplink, **ONE), chosen, expected.x)


def test_both_exchanges_use_one_minibatch():
    """Where the two differ, x + γ F_j(x - γ F_j(x)) with one j is not what comes of two."""
    problem = SampledProblem()
    found = simulate(Extragradient(lr=0.1), problem, rounds=1).x.numpy()
    parts = problem.minibatches(1).half[0]
    half = -0.1 * np.mean([problem.part(m, j, B.x0) for m, j in enumerate(parts)], axis=0)
    expected = -0.1 * np.mean([problem.part(m, j, half) for m, j in enumerate(parts)], axis=0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=EXACT)


def test_compression_draws_anew_in_the_second_exchange():
    points = []

    class Seen(ToyProblem):
        def full_gradient(self, ids, x):
            points.append(x[0].clone())
            return super().full_gradient(ids, x)

    strategy = Extragradient(lr=0.1, uplink=RandK(0.1))
    end = simulate(strategy, Seen(B), rounds=1, cohort=1).x
    half, step = (np.flatnonzero(x.numpy()).tolist() for x in (points[1], end))
    assert len(half) == len(step) == 4
    assert half != step


def test_a_lost_look_makes_the_step_one_of_descent_ascent():
    class FirstExchangeIsLost(Faults):
        def lost(self, direction, seed, round, phase, attempt, ids):  # noqa: A002
            return np.full(len(ids), phase == "look" and direction == "up")

    found = run(Extragradient(lr=0.1), everybody(20), toy=B, faults=FirstExchangeIsLost())
    expected = gda(B.gradient, B.x0, everybody(20), lr=0.1).x
    np.testing.assert_allclose(iterates(found, B), expected, rtol=0, atol=EXACT)


@pytest.mark.slow
def test_uncompressed_methods_reach_the_solution():
    assert end(Extragradient(lr=0.1), 3000) < 1e-14
    assert end(FedAvg(lr=0.1, **ONE), 3000) < 1e-14


@pytest.mark.slow
def test_naive_compression_stalls_at_the_stated_distances():
    topk = {"lr": 0.1, "uplink": TopK(0.1)}
    assert end(NaiveTopK(**topk, **ONE), 4000) == printed("2.7")
    assert end(Extragradient(**topk), 4000) == printed("1.6")
    assert end(EFExtragradient(**topk), 4000) == printed(".091")
    assert end(FedAvg(lr=0.1, uplink=rand(everybody(4000)), **ONE), 4000) == printed(".69")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_random_subsets_stall_whatever_the_seed(seed: int):
    """.79 stated for extragradient, .69 for descent-ascent, after 4000 rounds; it keeps changing from the 50th on."""
    for strategy in (Extragradient(lr=0.1, uplink=RandK(0.1)), FedAvg(lr=0.1, uplink=RandK(0.1), **ONE)):
        found = simulate(
            strategy, ToyProblem(B), rounds=500, seed=seed, block=10, evaluate_every=500, keep_models=True
        )
        errors = [B.error(model.numpy()) for model in found.models[50:]]
        assert 0.3 < min(errors) < max(errors) < 1.5


@pytest.mark.slow
@pytest.mark.parametrize("uplink", [TopK(0.1), RandK(0.1)])
def test_masha_reaches_the_saddle_point_where_compressed_extragradient_does_not(uplink: TopK | RandK):
    assert end(Masha(lr=0.2, uplink=uplink, oracle="full"), 1500) < 1e-8
    assert end(Extragradient(lr=0.2, uplink=uplink), 1500) > 1e-2
    contractive = TopK(0.1) if isinstance(uplink, TopK) else RandK(0.1, unbiased=False)
    assert end(EFExtragradient(lr=0.2, uplink=contractive), 1500) > 1e-2
    assert end(FedEF(lr=0.2, uplink=contractive, **ONE), 1500) > 1e-2


@pytest.mark.slow
def test_on_a_purely_bilinear_problem_descent_ascent_diverges_and_extragradient_converges():
    assert end(FedAvg(lr=0.2, **ONE), 500, B0) == printed("6.0e5")
    assert end(Extragradient(lr=0.2), 500, B0) == printed("6.0e-04")


@pytest.mark.slow
def test_on_a_purely_bilinear_problem_naive_compression_diverges():
    assert end(NaiveTopK(lr=0.2, uplink=TopK(0.1), **ONE), 500, B0) == printed("7.1e3")
    assert end(EFExtragradient(lr=0.2, uplink=TopK(0.1)), 500, B0) == printed("8.7e6")


def test_error_feedback_refuses_an_unbiased_compressor():
    with pytest.raises(ConfigError, match="contractive"):
        run(EFExtragradient(uplink=RandK(0.1)), everybody(1), toy=B)
