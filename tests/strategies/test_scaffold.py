"""SCAFFOLD is the reference's SCAFFOLD, with both rules of the control variate and with compressed changes."""

import pytest
from strategy_cases import PARTICIPATION, assert_control_is_the_mean, assert_same_run, error, noisy, run

from fedsparse.compress import Natural, Sign, TopK
from fedsparse.strategies.scaffold import Scaffold
from tests.reference import compressors, scaffold, scaffold_with_memory
from tests.reference.oracle import LOCAL, Q, sampled


@pytest.mark.parametrize("who", PARTICIPATION)
@pytest.mark.parametrize("variant", [1, 2])
def test_every_iterate_is_the_references(variant: int, who: str):
    cohorts = PARTICIPATION[who]
    expected = scaffold(Q.gradient, Q.x0, Q.clients, cohorts, server_lr=0.4, option=variant, **LOCAL)
    assert_same_run(run(Scaffold(server_lr=0.4, variant=variant, **LOCAL), cohorts), expected)


@pytest.mark.parametrize("who", PARTICIPATION)
def test_every_iterate_is_the_references_with_topk_and_memory(who: str):
    cohorts = PARTICIPATION[who]
    given = {"server_lr": 0.4, **LOCAL}
    expected = scaffold_with_memory(
        Q.gradient, Q.x0, Q.clients, cohorts, compress=compressors.top_k(4), **given
    )
    assert_same_run(run(Scaffold(uplink=TopK(0.1), **given), cohorts), expected, {"e": "memory"})


def test_every_iterate_is_the_references_with_noisy_gradients():
    cohorts = sampled(3, 60)
    expected = scaffold(noisy(Q, cohorts, 5, noise=0.5), Q.x0, Q.clients, cohorts, **LOCAL)
    assert_same_run(run(Scaffold(**LOCAL), cohorts, noise=0.5), expected)


def test_the_paper_weighs_clients_alike_whatever_their_examples():
    cohorts = sampled(3, 20)
    expected = scaffold(Q.gradient, Q.x0, Q.clients, cohorts, **LOCAL)
    assert_same_run(run(Scaffold(**LOCAL), cohorts, sizes=range(1, 11)), expected)


@pytest.mark.parametrize("size", [1, 3, 10])
@pytest.mark.parametrize("uplink", [TopK(0.1), Natural(), Sign()])
@pytest.mark.parametrize("variant", [1, 2])
def test_server_control_stays_the_mean_of_the_clients(size: int, uplink: object, variant: int):
    ours = Scaffold(uplink=uplink, variant=variant, server_lr=0.2, **LOCAL)
    assert_control_is_the_mean(run(ours, sampled(size, 30)))


@pytest.mark.slow
@pytest.mark.parametrize("variant", [1, 2])
def test_is_exact_with_two_clients_a_round(variant: int):
    assert error(run(Scaffold(variant=variant, **LOCAL), sampled(2, 2000))) < 1e-14
