"""FedAvg with top-k and no memory is the reference's, and as bad as it should be."""

import numpy as np
import pytest
from strategy_cases import PARTICIPATION, assert_same_run, error, iterates, run

from fedsparse.compress import TopK
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.strategies.topk import NaiveTopK
from tests.reference import compressors, divergence_toy, fedavg
from tests.reference.oracle import LOCAL, Q, everybody, printed, sampled, top4


@pytest.mark.parametrize("who", PARTICIPATION)
def test_every_iterate_is_the_references(who: str):
    cohorts = PARTICIPATION[who]
    expected = fedavg(Q.gradient, Q.x0, cohorts, compress=top4(), server_lr=0.4, **LOCAL)
    assert_same_run(run(NaiveTopK(uplink=TopK(0.1), server_lr=0.4, **LOCAL), cohorts), expected)


def test_every_iterate_is_the_references_with_unequal_weights():
    cohorts, weights = sampled(3, 20), np.arange(1.0, 11.0)
    expected = fedavg(Q.gradient, Q.x0, cohorts, compress=top4(), weights=weights, **LOCAL)
    assert_same_run(run(NaiveTopK(uplink=TopK(0.1), **LOCAL), cohorts, sizes=range(1, 11)), expected)


def test_top1_diverges_at_the_exact_rate_on_the_divergence_toy():
    toy, cohorts = divergence_toy(), [np.arange(3)] * 10
    result = run(NaiveTopK(lr=0.05, steps=1, uplink=TopK(k=1)), cohorts, toy=toy)
    assert list(result.x) == printed(*["2.403811984546"] * 3)
    np.testing.assert_allclose(
        iterates(result, toy), np.outer((1 + 11 * 0.05 / 6) ** np.arange(11), np.ones(3)), rtol=1e-12
    )
    expected = fedavg(toy.gradient, toy.x0, cohorts, lr=0.05, steps=1, compress=compressors.top_k(1))
    assert_same_run(result, expected, toy=toy)


def test_keeping_every_entry_is_fedavg_to_the_last_bit():
    cohorts = sampled(3, 20)
    np.testing.assert_array_equal(
        iterates(run(NaiveTopK(uplink=TopK(1.0), **LOCAL), cohorts)),
        iterates(run(FedAvg(**LOCAL), cohorts)),
    )


@pytest.mark.slow
def test_stalls_where_the_reference_stalls():
    ours = NaiveTopK(lr=0.1, steps=1, uplink=TopK(0.1))
    assert error(run(ours, everybody(2000))) == printed("1.09")
