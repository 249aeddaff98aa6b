"""Every strategy gives the same bits however its clients are cut into blocks and served, and on a real wire."""

from functools import cache

import pytest
from strategy_cases import EVERY, assert_same_bits, run

from fedsparse.data.quadratic import Quadratics
from fedsparse.simulation import Result, simulate
from tests.reference.oracle import sampled

COHORTS = sampled(7, 8)


@cache
def one_block(name: str) -> Result:
    return run(EVERY[name], COHORTS, noise=0.5)


@pytest.mark.parametrize("block", [1, 2, 5])
@pytest.mark.parametrize("name", EVERY)
def test_blocks_do_not_change_a_bit(name: str, block: int):
    assert_same_bits(run(EVERY[name], COHORTS, noise=0.5, block=block), one_block(name))


@pytest.mark.parametrize("name", EVERY)
def test_a_second_worker_does_not_change_a_bit(name: str):
    assert_same_bits(run(EVERY[name], COHORTS, noise=0.5, block=2, workers=2), one_block(name))


@pytest.mark.parametrize("name", EVERY)
def test_real_bytes_do_not_change_a_bit(name: str):
    assert_same_bits(run(EVERY[name], COHORTS, noise=0.5, encode=True), one_block(name))


@pytest.mark.parametrize("name", EVERY)
def test_another_seed_changes_the_noise(name: str):
    other = run(EVERY[name], COHORTS, noise=0.5, seed=1)
    assert not (other.x == one_block(name).x).all()


@pytest.mark.parametrize("block", [1, 3])
def test_blocks_do_not_change_a_bit_of_the_projects_own_quadratics(block: int):
    problem = Quadratics.drawn(clients=10, size=40, spread=5.0, noise=0.5, seed=3)
    results = [
        simulate(EVERY["scafcom"], problem, rounds=8, cohort=7, block=b, keep_models=True) for b in (block, 7)
    ]
    assert_same_bits(*results)
