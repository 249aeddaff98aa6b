"""EF21-BC is the reference's EF21-BC: every iterate, what clients hold, its bytes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from feedback_cases import ALL, FULL, MEMORY, SOME, Watched, arrived, assert_estimate_is_the_mean
from strategy_cases import EXACT, assert_same_bits, assert_same_run, error, iterates, noisy, run

from fedsparse.compress import Identity, RandK, Sign, TopK
from fedsparse.config import build, parse
from fedsparse.engine.faults import Faults
from fedsparse.errors import ConfigError
from fedsparse.schedule import parse as schedule
from fedsparse.simulation import simulate
from fedsparse.strategies.ef21 import EF21
from fedsparse.strategies.ef21_bc import EF21BC
from tests.reference import Trace, compressors, ef21
from tests.reference.cohorts import Cohort
from tests.reference.oracle import Q, everybody, top4

LR = 0.1


def method(start: str = "full", lr: float = LR) -> EF21BC:
    return EF21BC(lr=lr, start=start, partial=True, uplink=TopK(0.1), downlink=TopK(0.05))


def reference(cohorts: Sequence[Cohort], start: str = "full", gradient: Any = Q.gradient) -> Trace:
    first = FULL if start == "full" else None
    given = {"lr": LR, "compress": top4(), "server_compress": compressors.top_k(2), "estimates": first}
    trace = ef21(gradient, Q.x0, Q.clients, cohorts, **given)
    return Trace(trace.x, {"u": LR * trace.server["g"]}, trace.clients)


@pytest.mark.parametrize("start", ["full", "zero"])
@pytest.mark.parametrize("cohorts", [ALL, SOME], ids=["all", "some"])
def test_every_iterate_is_the_references(cohorts: Sequence[Cohort], start: str):
    assert_same_run(run(method(start), cohorts), reference(cohorts, start), MEMORY)


def test_every_iterate_is_the_references_with_noisy_gradients():
    expected = reference(ALL, "zero", noisy(Q, ALL, 1, noise=0.5))
    assert_same_run(run(method("zero"), ALL, noise=0.5), expected, MEMORY)


def test_lost_uplinks_leave_clients_as_they_were():
    faults = Faults(uplink_loss=0.2)
    result = run(method(), ALL, faults=faults)
    assert_same_run(result, reference(arrived(faults, 60, {0: "start", 1: "first"})), MEMORY)
    assert_estimate_is_the_mean(result)


@pytest.mark.parametrize("downlink", [TopK(0.1), Sign(), RandK(0.2, unbiased=False)])
@pytest.mark.parametrize("faults", [Faults(), Faults(uplink_loss=0.95), Faults(0.2, 0.3, 0.3)])
def test_clients_are_where_the_server_is_whatever_is_lost(downlink: Any, faults: Faults):
    """Also after rounds of which no message arrived, and while the step size changes."""
    problem, lr = Watched(), schedule("cosine(0.1,0.01)")
    strategy = EF21BC(lr=lr, start="zero", uplink=TopK(0.1), downlink=downlink)
    result = simulate(strategy, problem, rounds=40, block=10, faults=faults, keep_models=True)
    if faults.uplink_loss > 0.9:
        assert sum(r.skipped for r in result.history) > 5
    np.testing.assert_allclose(problem.points, iterates(result)[:-1], rtol=0, atol=EXACT)


def test_without_compression_of_the_downlink_it_is_ef21():
    ours = EF21BC(lr=LR, uplink=TopK(0.1), downlink=Identity())
    other = run(EF21(lr=LR, uplink=TopK(0.1)), ALL)
    np.testing.assert_allclose(iterates(run(ours, ALL)), iterates(other), rtol=0, atol=EXACT)


def test_sends_few_bytes_down_after_the_first_step():
    down = [r.traffic["down_payload_bytes"] for r in run(method(), ALL[:4]).history]
    assert down[0] == 0
    assert down[1] > 10 * 40 * 8
    assert max(down[2:]) < 10 * 50


def test_blocks_and_real_bytes_do_not_change_a_bit():
    assert_same_bits(run(method(), SOME[:8], block=2, encode=True), run(method(), SOME[:8]))


def test_is_exact():
    result = run(EF21BC(lr=LR, uplink=TopK(0.1), downlink=TopK(0.1)), everybody(300))
    assert error(result) < 1e-11


def test_the_downlink_of_the_command_line_is_its_own():
    config = parse(["strategy=ef21_bc", "downlink=topk", "downlink.fraction=0.3"])
    assert build(config, "strategy").downlink == TopK(0.3)
    assert build(config, "downlink") is None


def test_refuses_a_downlink_that_is_not_contractive():
    with pytest.raises(ConfigError, match=r"contractive downlink"):
        run(EF21BC(downlink=RandK(0.1)), ALL[:1])


def test_refuses_a_second_compressor_of_the_downlink():
    with pytest.raises(ConfigError, match="compresses what it says itself"):
        run(method(), ALL[:1], downlink=TopK(0.1))
    assert torch.equal(run(method(), ALL[:1], downlink=Identity()).x, run(method(), ALL[:1]).x)
