"""EC-SGD is the reference's EF14, with a compressed downlink DoubleSqueeze, and has a floor."""

import numpy as np
import pytest
from feedback_cases import ALL, SOME, Watched, arrived, descent, named, path
from strategy_cases import EXACT, assert_same_run, error, iterates, noisy, rows, run

from fedsparse.compress import Identity, RandK, TopK
from fedsparse.engine.faults import Faults
from fedsparse.errors import ConfigError
from fedsparse.schedule import parse
from fedsparse.simulation import simulate
from fedsparse.strategies.ec_sgd import ECSGD
from fedsparse.strategies.fed_ef import FedEF
from tests.reference import Trace, compressors, ec_sgd
from tests.reference.oracle import Q, everybody, printed, top4

NAMES = {"e": "memory"}


def turned(trace: Trace) -> Trace:
    """The reference keeps what is left of +γ g, the product what is left of -γ g."""
    return named(Trace(trace.x, {}, {"e": -trace.clients["e"]}))


def test_every_iterate_is_the_references():
    expected = ec_sgd(Q.gradient, Q.x0, Q.clients, ALL, lr=0.1, compress=top4())
    assert_same_run(run(ECSGD(lr=0.1, uplink=TopK(0.1)), ALL), turned(expected), NAMES)


def test_every_iterate_is_the_references_with_noise_and_a_step_that_shrinks():
    schedule = parse("linear(0.2,0.02)")
    steps = np.array([schedule.at(t, 60) for t in range(60)])
    gradient = noisy(Q, ALL, 1, noise=0.5)
    expected = ec_sgd(gradient, Q.x0, Q.clients, ALL, lr=steps, compress=top4())
    assert_same_run(run(ECSGD(lr=schedule, uplink=TopK(0.1)), ALL, noise=0.5), turned(expected), NAMES)


def test_is_fed_ef_with_one_local_step_where_three_of_ten_step_three_tenths():
    other = run(FedEF(lr=0.1, steps=1, server_lr=0.3, uplink=TopK(0.1)), SOME[1:])
    ours = run(ECSGD(lr=0.1, partial=True, uplink=TopK(0.1)), SOME[1:])
    np.testing.assert_allclose(iterates(ours), iterates(other), rtol=0, atol=EXACT)


@pytest.mark.parametrize("loss", [0.0, 0.2])
@pytest.mark.parametrize("uplink", [TopK(0.1), TopK(0.1, values="fp16"), RandK(0.1, unbiased=False)])
def test_the_virtual_iterate_moves_by_plain_sgd_whatever_is_lost(uplink: object, loss: float):
    """x^T + mean e_i == x^0 - γ sum of the gradients of those whose messages arrived, over N."""
    faults = Faults(uplink_loss=loss)
    result = run(ECSGD(lr=0.1, uplink=uplink), ALL, faults=faults)
    virtual = result.x.numpy() + rows(result, "memory").mean(0)
    np.testing.assert_allclose(virtual, path(result, 0.1, arrived(faults, 60)), rtol=0, atol=EXACT)


def test_without_compression_it_is_gradient_descent():
    result = run(ECSGD(lr=0.1, uplink=Identity()), ALL)
    np.testing.assert_allclose(iterates(result), descent(60, 0.1), rtol=0, atol=EXACT)


@pytest.mark.parametrize("kept", [4, 2])
def test_with_a_compressed_downlink_it_is_doublesqueeze(kept: int):
    """Clients take their gradients where the reference's model is; the server is ahead by its memory."""
    problem = Watched()
    downlink = TopK(kept / 40)
    result = simulate(ECSGD(lr=0.1, uplink=TopK(0.1)), problem, rounds=60, block=10, downlink=downlink)
    given = {"lr": 0.1, "compress": top4(), "server_compress": compressors.top_k(kept)}
    expected = ec_sgd(Q.gradient, Q.x0, Q.clients, everybody(60), **given)
    np.testing.assert_allclose(problem.points, expected.x[:-1], rtol=0, atol=EXACT)
    ahead = expected.last - expected.server["e"]
    np.testing.assert_allclose(result.x.numpy(), ahead, rtol=0, atol=EXACT)


@pytest.mark.slow
@pytest.mark.parametrize(("lr", "floor"), [(0.3, "1.17"), (0.1, "0.425"), (0.03, "0.087"), (0.01, "0.039")])
def test_has_a_floor_that_shrinks_with_the_step(lr: float, floor: str):
    assert error(run(ECSGD(lr=lr, uplink=TopK(0.1)), everybody(2000))) == printed(floor)


def test_refuses_an_uplink_that_is_not_contractive():
    with pytest.raises(ConfigError, match="contractive"):
        run(ECSGD(uplink=RandK(0.1)), ALL[:1])
