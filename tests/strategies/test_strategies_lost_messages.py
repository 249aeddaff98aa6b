"""Lost messages: the state of a client whose message was lost stays, so that SCAFFOLD with top-k is still exact."""

import numpy as np
import pytest
from numpy.typing import NDArray
from strategy_cases import assert_control_is_the_mean, assert_same_run, error, run

from fedsparse import rng
from fedsparse.compress import RandK, TopK
from fedsparse.engine.faults import Faults
from fedsparse.protocol import Strategy
from fedsparse.strategies.fed_ef import FedEF
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.strategies.fedopt import FedOpt
from fedsparse.strategies.scafcom import Scafcom
from fedsparse.strategies.scaffold import Scaffold
from fedsparse.strategies.scallion import Scallion
from tests.reference import compressors, lossy_toy, scafcom, scaffold_with_memory
from tests.reference.oracle import LOCAL, Q, everybody, sampled, top4

LOSSY = lossy_toy()
SCAFFOLD = {"lr": 0.02, "steps": 5, "server_lr": 0.2}


def drawn(faults: Faults, direction: str, rounds: int, clients: int) -> NDArray[np.bool_]:
    """Which message of which client the run with seed 0 loses, ``[rounds, N]``."""
    return np.stack([faults.lost(direction, 0, t, "train", 0, range(clients)) for t in range(rounds)])


@pytest.mark.parametrize("probability", [0.0, 0.2, 0.5, 0.8])
def test_every_iterate_of_scaffold_is_the_references_under_the_same_losses(probability: float):
    faults, cohorts = Faults(uplink_loss=probability), [np.arange(20)] * 60
    expected = scaffold_with_memory(
        LOSSY.gradient,
        LOSSY.x0,
        LOSSY.clients,
        cohorts,
        compress=compressors.top_k(5),
        lost=drawn(faults, "up", 60, 20),
        **SCAFFOLD,
    )
    result = run(Scaffold(uplink=TopK(0.05), **SCAFFOLD), cohorts, toy=LOSSY, faults=faults)
    assert_same_run(result, expected, {"e": "memory"}, LOSSY)


@pytest.mark.parametrize(("probability", "rounds"), [(0.2, 400), (0.5, 350), (0.8, 600)])
def test_scaffold_with_topk_reaches_the_optimum_under_lost_uplinks(probability: float, rounds: int):
    faults, cohorts = Faults(uplink_loss=probability), [np.arange(20)] * rounds
    result = run(
        Scaffold(uplink=TopK(0.05), **SCAFFOLD), cohorts, toy=LOSSY, faults=faults, keep_models=False
    )
    assert error(result, LOSSY) < 1e-4
    assert_control_is_the_mean(result, LOSSY.clients)
    assert sum(r.lost for r in result.history) == pytest.approx(20 * rounds * probability, rel=0.05)


@pytest.mark.parametrize("probability", [0.2, 0.5])
def test_every_iterate_of_scafcom_is_that_of_the_clients_that_heard(probability: float):
    """A client that did not hear the server does nothing: the round is one of a smaller cohort."""
    faults = Faults(downlink_loss=probability)
    lost = drawn(faults, "down", 60, Q.clients)
    heard = [cohort[~lost[t, cohort]] for t, cohort in enumerate(everybody(60))]
    expected = scafcom(Q.gradient, Q.x0, Q.clients, heard, compress=top4(), beta=0.5, **LOCAL)
    ours = Scafcom(beta=0.5, uplink=TopK(0.1), **LOCAL)
    assert_same_run(run(ours, everybody(60), faults=faults), expected)


@pytest.mark.parametrize(
    "strategy",
    [
        Scaffold(uplink=TopK(0.1), server_lr=0.3, **LOCAL),
        Scallion(uplink=RandK(0.1), server_lr=0.3, **LOCAL),
        Scafcom(uplink=TopK(0.1), server_lr=0.3, **LOCAL),
    ],
    ids=lambda s: type(s).__name__,
)
@pytest.mark.parametrize("faults", [Faults(uplink_loss=0.5), Faults(0.2, 0.3, 0.3)], ids=["up", "all"])
def test_server_control_stays_the_mean_of_the_clients_whatever_is_lost(strategy: Strategy, faults: Faults):
    result = run(strategy, sampled(4, 80), faults=faults)
    assert_control_is_the_mean(result)
    assert sum(r.lost for r in result.history) > 0


def test_scafcom_reaches_the_optimum_when_links_lose_a_fifth_both_ways():
    faults = Faults(uplink_loss=0.2, downlink_loss=0.2)
    result = run(Scafcom(beta=0.5, uplink=TopK(0.1), **LOCAL), everybody(200), faults=faults)
    assert error(result) < 1e-6
    assert_control_is_the_mean(result)


@pytest.mark.parametrize(
    "strategy",
    [FedAvg(**LOCAL), FedOpt(optimizer="adam", **LOCAL), FedEF(uplink=TopK(0.1), **LOCAL), Scafcom(**LOCAL)],
    ids=lambda s: type(s).__name__,
)
@pytest.mark.parametrize("faults", [Faults(uplink_loss=1.0), Faults(downlink_loss=1.0)], ids=["up", "down"])
def test_nothing_moves_when_nothing_arrives(strategy: Strategy, faults: Faults):
    result = run(strategy, everybody(3), faults=faults)
    assert all(not model.any() for model in result.models)
    assert all(record.skipped for record in result.history)
    assert not len(result.ids)


def test_losses_do_not_depend_on_who_else_is_drawn():
    faults = Faults(uplink_loss=0.5)
    alone = [bool(faults.lost("up", 0, 3, "train", 0, [i])[0]) for i in range(10)]
    assert alone == faults.lost("up", 0, 3, "train", 0, range(10)).tolist()
    assert rng.seed64(0, "fault:up:0:train", 3, 1) != rng.seed64(0, "fault:down:0:train", 3, 1)
