"""FedCOMGATE is the reference's FedCOMGATE: every iterate, its conserved sum, its limit."""

from dataclasses import dataclass

import numpy as np
import pytest
from strategy_cases import (
    EXACT,
    assert_control_is_the_mean,
    drawn,
    error,
    iterates,
    noisy,
    rows,
    run,
)

from fedsparse.compress import QSGD, Compressor, Identity, Natural, RandK, TopK
from fedsparse.engine.faults import Faults
from fedsparse.errors import ConfigError
from fedsparse.protocol import Context, Inbox, Message, State, Task
from fedsparse.simulation import Result
from fedsparse.strategies.fedcom import FedCOM
from fedsparse.strategies.fedcomgate import FedCOMGATE
from fedsparse.strategies.scaffold import Scaffold
from tests.reference import Trace, fedcomgate
from tests.reference.common import local_steps
from tests.reference.oracle import LOCAL, Q, everybody, sampled

GIVEN = {"server_lr": 0.4, **LOCAL}
CONTRACTING = [Natural(), QSGD(16), RandK(0.6)]
"""Compressors with ω < 1: 1/8, 40/256 and 2/3."""


def reference(cohorts: list[np.ndarray], uplink: Compressor = Natural(), **given: float) -> Trace:
    return fedcomgate(Q.gradient, Q.x0, Q.clients, cohorts, compress=drawn(uplink), **(GIVEN | given))


def assert_is(result: Result, trace: Trace) -> None:
    """The reference's δ_i are the product's c_i - c."""
    np.testing.assert_allclose(iterates(result), trace.x, rtol=0, atol=EXACT)
    delta = rows(result, "c") - result.server["c"].numpy()
    np.testing.assert_allclose(delta, trace.clients["delta"], rtol=0, atol=EXACT)


@pytest.mark.parametrize("uplink", CONTRACTING, ids=lambda c: type(c).__name__)
def test_every_iterate_is_the_references(uplink: Compressor):
    result = run(FedCOMGATE(uplink=uplink, **GIVEN), everybody(60))
    assert_is(result, reference(everybody(60), uplink))


def test_every_iterate_is_the_references_with_noisy_gradients():
    cohorts = everybody(60)
    gradient = noisy(Q, cohorts, 5, noise=0.5)
    expected = fedcomgate(gradient, Q.x0, Q.clients, cohorts, compress=drawn(Natural()), **GIVEN)
    assert_is(run(FedCOMGATE(**GIVEN), cohorts, noise=0.5), expected)


def test_without_compression_it_is_scaffold():
    """Its δ_i is then the client's mean gradient less the mean of all, as SCAFFOLD's c_i - c is."""
    plain = run(Scaffold(variant=2, **GIVEN), everybody(60))
    ours = run(FedCOMGATE(uplink=Identity(), **GIVEN), everybody(60))
    np.testing.assert_allclose(iterates(ours), iterates(plain), rtol=0, atol=EXACT)


@pytest.mark.parametrize("rounds", [1, 2, 30])
@pytest.mark.parametrize("uplink", CONTRACTING, ids=lambda c: type(c).__name__)
def test_the_shifts_sum_to_zero(uplink: Compressor, rounds: int):
    assert_control_is_the_mean(run(FedCOMGATE(uplink=uplink, **LOCAL), everybody(rounds)))


@pytest.mark.slow
@pytest.mark.parametrize("faults", [Faults(uplink_loss=0.2), Faults(0.2, 0.3, 0.3)], ids=["up", "all"])
def test_the_shifts_sum_to_zero_and_it_stays_exact_when_messages_are_lost(faults: Faults):
    result = run(FedCOMGATE(**LOCAL), everybody(300), faults=faults)
    assert_control_is_the_mean(result)
    assert error(result) < 1e-6
    assert sum(r.lost for r in result.history) > 500


@pytest.mark.slow
@pytest.mark.parametrize("uplink", CONTRACTING, ids=lambda c: type(c).__name__)
@pytest.mark.parametrize("seed", range(2))
def test_reaches_the_optimum_where_fedcom_stays_away(seed: int, uplink: Compressor):
    assert error(run(FedCOM(uplink=uplink, **LOCAL), everybody(200), seed=seed)) > 0.03
    assert error(run(FedCOMGATE(uplink=uplink, **LOCAL), everybody(200), seed=seed)) < 1e-6


def test_a_quantiser_whose_noise_exceeds_its_argument_lets_the_shifts_grow():
    """ω = 9 for rand-k of a tenth."""
    assert error(run(FedCOMGATE(uplink=RandK(0.1), **LOCAL), everybody(60))) > 1e10


def test_every_iterate_of_small_cohorts_is_that_of_the_variant_as_stated():
    cohorts, compress = sampled(3, 60), drawn(Natural())
    x, c, c_i, expected = Q.x0, np.zeros(40), np.zeros((10, 40)), [Q.x0]
    for t, cohort in enumerate(cohorts):
        D = {i: (x - local_steps(Q.gradient, i, x, shift=c - c_i[i], **LOCAL)) / 0.02 for i in cohort}
        sent = {i: compress(t, i, D[i]) for i in cohort}
        for i in cohort:
            c_i[i] += sent[i] / 5
        total = sum(sent.values())
        x, c = x - 0.02 * 0.4 * total / 3, c + total / (10 * 5)
        expected.append(x)
    result = run(FedCOMGATE(partial=True, **GIVEN), cohorts)
    np.testing.assert_allclose(iterates(result), expected, rtol=0, atol=EXACT)
    np.testing.assert_allclose(rows(result, "c"), c_i, rtol=0, atol=EXACT)


@pytest.mark.slow
def test_small_cohorts_reach_the_optimum_as_a_variant():
    result = run(FedCOMGATE(partial=True, **GIVEN), sampled(4, 600))
    assert_control_is_the_mean(result)
    assert error(result) < 1e-6


@pytest.mark.slow
def test_with_a_compressed_downlink_it_still_reaches_the_optimum():
    result = run(FedCOMGATE(**LOCAL), everybody(450), downlink=TopK(0.3))
    assert_control_is_the_mean(result)
    assert error(result) < 1e-6


def test_refuses_a_biased_uplink():
    with pytest.raises(ConfigError, match="unbiased"):
        run(FedCOMGATE(uplink=TopK(0.1), **LOCAL), everybody(1))


@dataclass(frozen=True)
class ClientKeepsWhatWasNotSent(FedCOMGATE):
    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        _, message = super().client_update(client, heard, task, ctx)
        local = task.sgd(heard["x"], lr=self.lr, steps=self.steps, shift=heard["c"], control=client["c"])
        return {"c": client["c"] - local.change / (self.lr * self.steps)}, message


@dataclass(frozen=True)
class ControlGainsTheCohortsMean(FedCOMGATE):
    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        right = super().aggregate(server, inbox, ctx)
        return {**right, "c": server["c"] + inbox.mean("dx", by="one") / self.steps}


@dataclass(frozen=True)
class ShiftOfTheOtherSign(FedCOMGATE):
    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        local = task.sgd(heard["x"], lr=self.lr, steps=self.steps, shift=client["c"], control=heard["c"])
        sent = self.uplink.compress(local.change / -self.lr, ctx, "uplink")
        return {"c": sent.added_to(client["c"], 1 / self.steps)}, {"dx": sent}


@pytest.mark.parametrize("flawed", [ClientKeepsWhatWasNotSent, ShiftOfTheOtherSign])
def test_the_iterates_find_every_flaw(flawed: type[FedCOMGATE]):
    with pytest.raises(AssertionError):
        assert_is(run(flawed(**GIVEN), everybody(20)), reference(everybody(20)))


def test_a_client_that_keeps_what_was_not_sent_breaks_the_sum():
    with pytest.raises(AssertionError):
        assert_control_is_the_mean(run(ClientKeepsWhatWasNotSent(**GIVEN), everybody(5)))


def test_a_server_that_divides_by_the_messages_that_came_breaks_the_sum():
    lossy = Faults(uplink_loss=0.2)
    with pytest.raises(AssertionError):
        assert_control_is_the_mean(run(ControlGainsTheCohortsMean(**GIVEN), everybody(5), faults=lossy))
