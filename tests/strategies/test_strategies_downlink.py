"""With a compressed downlink clients start from a replica of the server's values, and methods keep their limits."""

from functools import cache

import numpy as np
import pytest
from strategy_cases import EVERY, EXACT, assert_control_is_the_mean, assert_same_bits, error, iterates, run

from fedsparse.compress import TopK
from fedsparse.simulation import Result
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.strategies.scafcom import Scafcom
from tests.reference import fedavg_fixed_point
from tests.reference.oracle import LOCAL, Q, everybody, sampled, top4

DOWN = TopK(0.1)

PLAIN = [name for name, strategy in EVERY.items() if not hasattr(strategy, "downlink")]
"""Strategies whose broadcasts the machine compresses; others do it themselves."""


def test_clients_start_from_the_replica_and_the_server_keeps_its_own_value():
    """FedAvg in the form of EF21-P: z <- z + C(x - z) after the first, dense broadcast."""
    x, z, expected = Q.x0, Q.x0, [Q.x0]
    for t in range(60):
        z = z + top4()(t, 0, x - z) if t else x
        y = np.tile(z, (10, 1))
        for _ in range(5):
            y = y - 0.02 * (np.einsum("ijk,ik->ij", Q.H, y) - Q.b)
        x = x + (y - z).mean(0)
        expected.append(x)
    result = run(FedAvg(**LOCAL), everybody(60), downlink=DOWN)
    np.testing.assert_allclose(iterates(result), expected, rtol=0, atol=EXACT)


PLAIN = [name for name, strategy in EVERY.items() if not hasattr(strategy, "downlink")]
"""Those that leave the compression of what they say to the machine."""


@pytest.mark.parametrize(
    ("name", "rounds", "within"),
    [
        ("scaffold-1", 150, 1e-6),
        ("scaffold-2", 150, 1e-6),
        ("scaffold-topk", 250, 1e-6),
        ("scafcom", 250, 1e-6),
        pytest.param("scallion", 300, 1e-4, marks=pytest.mark.slow),
    ],
)
def test_exact_methods_stay_exact(name: str, rounds: int, within: float):
    assert error(run(EVERY[name], everybody(rounds), downlink=DOWN)) < within


@pytest.mark.parametrize(("name", "prox"), [("fedavg", 0.0), ("fedprox", 0.5)])
def test_averaging_methods_keep_their_fixed_point(name: str, prox: float):
    result = run(EVERY[name], everybody(150), downlink=DOWN)
    np.testing.assert_allclose(result.x.numpy(), fedavg_fixed_point(Q, prox=prox, **LOCAL), rtol=0, atol=1e-7)


@cache
def trial(name: str, downlink: TopK | None) -> Result:
    return run(EVERY[name], everybody(30), downlink=downlink)


@pytest.mark.parametrize("name", PLAIN)
def test_fewer_bytes_go_down_and_about_as_many_up(name: str):
    compressed, dense = (trial(name, downlink).history[-1] for downlink in (DOWN, None))
    assert compressed.down_bytes < 0.35 * dense.down_bytes
    assert compressed.up_bytes == pytest.approx(dense.up_bytes, rel=0.02)


@pytest.mark.parametrize("name", PLAIN)
def test_no_method_is_thrown_off(name: str):
    """Behind while it still converges, and not far from where it stalls without."""
    compressed, dense = (error(trial(name, downlink)) for downlink in (DOWN, None))
    assert compressed < max(2 * dense, 0.45)


@pytest.mark.parametrize("name", ["scaffold-2", "scaffold-topk", "scallion", "scafcom"])
def test_server_control_stays_the_mean_of_the_clients(name: str):
    assert_control_is_the_mean(run(EVERY[name], sampled(3, 40), downlink=DOWN))


@pytest.mark.slow
def test_scafcom_keeps_converging_with_three_clients_a_round():
    ours = Scafcom(beta=0.5, server_lr=0.5, uplink=TopK(0.1), **LOCAL)
    errors = [error(run(ours, sampled(3, rounds), downlink=DOWN)) for rounds in (150, 300)]
    assert errors[1] < errors[0] / 10


@pytest.mark.parametrize("name", PLAIN)
def test_blocks_and_real_bytes_do_not_change_a_bit(name: str):
    cohorts = sampled(7, 8)
    whole = run(EVERY[name], cohorts, downlink=DOWN)
    assert_same_bits(run(EVERY[name], cohorts, downlink=DOWN, block=2, encode=True), whole)
