"""FedAvg with random masks is the reference's, with masks that the server derives from the seed."""

import numpy as np
import pytest
from numpy.typing import NDArray
from strategy_cases import EXACT, PARTICIPATION, assert_same_run, error, iterates, noisy, run

from fedsparse import rng
from fedsparse.engine.faults import Faults
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.strategies.masked_fedavg import MaskedFedAvg
from fedsparse.wire.seeded import k_subset
from tests.reference import masked_fedavg
from tests.reference.oracle import LOCAL, Q, everybody, sampled


def masks(rounds: int, seed: int = 0, k: int = 4) -> NDArray[np.bool_]:
    """What the run with that seed keeps of each client's update, ``[T, N, d]``."""
    found = np.zeros((rounds, Q.clients, Q.size), dtype=bool)
    for t in range(rounds):
        for i in range(Q.clients):
            found[t, i, k_subset(rng.seed64(seed, "client:train:mask", t, i), k, Q.size)] = True
    return found


@pytest.mark.parametrize(("scaled", "factor"), [(False, 1.0), (True, 10.0)], ids=["unscaled", "scaled"])
@pytest.mark.parametrize("who", PARTICIPATION)
def test_every_iterate_is_the_references(who: str, scaled: bool, factor: float):
    """Scaling by d/k = 10 is a server step that is ten times as long."""
    cohorts = PARTICIPATION[who]
    expected = masked_fedavg(
        Q.gradient, Q.x0, cohorts, masks=masks(60), server_lr=0.3 * factor, trained=False, **LOCAL
    )
    assert_same_run(run(MaskedFedAvg(server_lr=0.3, scaled=scaled, **LOCAL), cohorts), expected)


@pytest.mark.parametrize(("weighting", "weights"), [("examples", np.arange(1.0, 11.0)), ("one", None)])
def test_clients_weigh_by_their_examples_or_alike(weighting: str, weights: np.ndarray | None):
    cohorts = sampled(3, 20)
    expected = masked_fedavg(
        Q.gradient, Q.x0, cohorts, masks=masks(20), weights=weights, trained=False, **LOCAL
    )
    assert_same_run(run(MaskedFedAvg(weighting=weighting, **LOCAL), cohorts, sizes=range(1, 11)), expected)


def test_every_iterate_is_the_references_with_noisy_gradients():
    cohorts = sampled(3, 60)
    gradient = noisy(Q, cohorts, 5, noise=0.5)
    expected = masked_fedavg(gradient, Q.x0, cohorts, masks=masks(60), trained=False, **LOCAL)
    assert_same_run(run(MaskedFedAvg(**LOCAL), cohorts, noise=0.5), expected)


def test_a_mask_of_everything_is_fedavg():
    cohorts = sampled(3, 60)
    plain = iterates(run(FedAvg(**LOCAL), cohorts))
    for scaled in (False, True):
        ours = iterates(run(MaskedFedAvg(fraction=1.0, scaled=scaled, **LOCAL), cohorts))
        np.testing.assert_allclose(ours, plain, rtol=0, atol=EXACT)


def test_each_client_and_round_has_a_mask_of_its_own():
    found = {mask.tobytes() for mask in masks(20).reshape(-1, Q.size)}
    assert len(found) == 200


@pytest.mark.slow
@pytest.mark.parametrize("scaled", [False, True])
def test_stays_away_from_the_optimum(scaled: bool):
    assert error(run(MaskedFedAvg(scaled=scaled, **LOCAL), everybody(400))) > 0.05


@pytest.mark.slow
def test_scaling_brings_more_noise():
    quiet, loud = (error(run(MaskedFedAvg(scaled=s, **LOCAL), everybody(400))) for s in (False, True))
    assert quiet < loud / 2


def test_every_iterate_is_that_of_the_clients_whose_messages_arrived():
    faults = Faults(uplink_loss=0.2)
    lost = np.stack([faults.lost("up", 0, t, "train", 0, range(10)) for t in range(60)])
    arrived = [np.flatnonzero(~row) for row in lost]
    expected = masked_fedavg(Q.gradient, Q.x0, arrived, masks=masks(60), trained=False, **LOCAL)
    assert_same_run(run(MaskedFedAvg(**LOCAL), everybody(60), faults=faults), expected)


def test_a_message_is_a_seed_and_the_values_that_are_kept():
    """Two bytes of head, one each for d and k, eight of the seed, four values of eight bytes."""
    record = run(MaskedFedAvg(**LOCAL), everybody(1)).history[-1]
    assert record.traffic["up_payload_bytes"] == 10 * (2 + 1 + 1 + 8 + 4 * 8)
