"""MARINA is the reference's MARINA: every iterate, one coin for all, one minibatch at two points."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from strategy_cases import EXACT, PARTICIPATION, drawn, error, iterates, run

from fedsparse import rng
from fedsparse.compress import QSGD, Compressor, Identity, Natural, RandK, TopK
from fedsparse.engine.faults import Faults
from fedsparse.errors import ConfigError
from fedsparse.message import Dense
from fedsparse.protocol import Context, Inbox, Message, Role, Start, State, Task
from fedsparse.simulation import Result
from fedsparse.strategies.marina import Marina
from tests.reference import Toy, Trace, marina
from tests.reference.compressors import Compress
from tests.reference.oracle import Q, everybody, sampled
from tests.reference.toys import Array

RAND4 = RandK(0.1)


def coins(rounds: int, share: float = 0.1, seed: int = 0) -> list[bool]:
    """The coins of the rounds 1, 2, ... of a run; the first round is heads."""
    return [rng.stream(seed, "shared:coin", t).random() < share for t in range(1, rounds + 1)]


def next_round(compress: Compress) -> Compress:
    """The reference's iteration t ends with the estimate that the product's round t + 1 begins with."""
    return lambda t, i, x: compress(t + 1, i, x)


def reference(cohorts: Sequence[np.ndarray], uplink: Compressor = RAND4, share: float = 0.1) -> Trace:
    rounds = len(cohorts)
    return marina(
        Q.gradient, Q.x0, Q.clients, [*cohorts[1:], cohorts[-1]], lr=0.1, syncs=coins(rounds, share),
        compress=next_round(drawn(uplink, phase="step")),
    )  # fmt: skip


def assert_same_points(result: Result, trace: Trace) -> None:
    np.testing.assert_allclose(iterates(result), trace.x, rtol=0, atol=EXACT)


def syncs(result: Result) -> list[int]:
    """Rounds in which everybody sent as much as without compression."""
    return [r.round for r in result.history if r.traffic["up_payload_bytes"] > r.traffic["up_dense_bytes"]]


def descent(rounds: int) -> Array:
    """Gradient descent with a step of 0.1."""
    xs = [Q.x0]
    for _ in range(rounds):
        xs.append(xs[-1] - 0.1 * Q.gradients(xs[-1]).mean(0))
    return np.stack(xs)


@pytest.mark.parametrize("uplink", [RAND4, QSGD(4), Natural()], ids=lambda c: type(c).__name__)
@pytest.mark.parametrize("who", PARTICIPATION)
def test_every_iterate_is_the_references(who: str, uplink: Compressor):
    cohorts = PARTICIPATION[who]
    result = run(Marina(lr=0.1, sync=0.1, uplink=uplink), cohorts)
    assert_same_points(result, reference(cohorts, uplink))


def test_the_default_probability_is_the_share_that_randk_keeps():
    result = run(Marina(lr=0.1, uplink=RAND4), everybody(60))
    assert_same_points(result, reference(everybody(60)))
    assert syncs(result) == [0, *(t for t, heads in enumerate(coins(59), 1) if heads)]


@pytest.mark.parametrize(("uplink", "sync"), [(Identity(), 0.1), (RAND4, 1.0)])
def test_without_compression_or_with_synchronisations_alone_it_is_gradient_descent(
    uplink: Compressor, sync: float
):
    result = run(Marina(lr=0.1, sync=sync, uplink=uplink), everybody(60))
    np.testing.assert_allclose(iterates(result), descent(60), rtol=0, atol=EXACT)


def test_a_synchronisation_asks_everybody_and_any_other_round_the_cohort():
    result = run(Marina(lr=0.1, uplink=RAND4), sampled(3, 60))
    heads = syncs(result)
    assert 1 < len(heads) < 60
    assert [r.accepted for r in result.history] == [10 if t in heads else 3 for t in range(60)]


def test_two_gradients_a_client_in_a_round_between_synchronisations():
    result = run(Marina(lr=0.1, uplink=RAND4), everybody(20))
    heads = syncs(result)
    assert [r.gradient_calls for r in result.history] == [10 if t in heads else 20 for t in range(20)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_closes_in_on_the_optimum(seed: int):
    assert error(run(Marina(lr=0.1, uplink=RAND4), everybody(400), seed=seed)) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_is_exact_after_1500_rounds(seed: int):
    """The independent transcription with draws of its own: 2.9e-16 with 147 synchronisations."""
    result = run(Marina(lr=0.1, uplink=RAND4), everybody(1500), seed=seed)
    assert error(result) < 1e-14
    assert 110 < len(syncs(result)) < 190  # 150 expected, with a standard deviation of 11.6


@pytest.mark.slow
def test_reaches_the_optimum_with_two_clients_between_synchronisations():
    assert error(run(Marina(lr=0.1, uplink=RAND4), sampled(2, 600))) < 1e-6


@pytest.mark.slow
def test_noise_that_is_the_same_at_two_points_is_no_hindrance():
    assert error(run(Marina(lr=0.1, uplink=RAND4), everybody(400), noise=5.0)) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("faults", [Faults(uplink_loss=0.2), Faults(0.1, 0.2, 0.2)], ids=["up", "all"])
def test_stays_exact_when_messages_are_lost(faults: Faults):
    result = run(Marina(lr=0.1, uplink=RAND4), everybody(500), faults=faults)
    assert error(result) < 1e-8
    assert sum(r.lost for r in result.history) > 500


def test_every_iterate_is_that_of_the_clients_whose_messages_arrived():
    faults = Faults(uplink_loss=0.2)
    lost = np.stack([faults.lost("up", 0, t, "step", 0, range(10)) for t in range(60)])
    arrived = [np.flatnonzero(~row) for row in lost]
    result = run(Marina(lr=0.1, uplink=RAND4), everybody(60), faults=faults)
    assert_same_points(result, reference(arrived))


@dataclass(frozen=True)
class Silence(Faults):
    """All uplinks of some rounds are lost, unless they are sent again."""

    rounds: tuple[int, ...] = ()

    def lost(self, direction: str, seed: int, round: int, phase: str, attempt: int, ids: Any) -> Any:  # noqa: A002
        return np.full(len(ids), direction == "up" and attempt == 0 and round in self.rounds)


def test_after_rounds_that_nobody_was_heard_in_the_estimate_still_belongs_to_its_point():
    """Without compression it is gradient descent that has stood still for three rounds."""
    strategy = Marina(lr=0.1, sync=1e-9, uplink=Identity())
    result = run(strategy, everybody(13), faults=Silence(rounds=(4, 5, 8)))
    steps = [t for t in range(13) if t not in (4, 5, 8)]
    np.testing.assert_allclose(iterates(result)[1:][steps], descent(10)[1:], rtol=0, atol=EXACT)


def test_a_step_of_length_zero_is_a_step():
    """With f_i(x) = |x - b_i|² / 2 and a step of 1 the first step ends at the optimum, and all others stay there."""
    toy = Toy(np.tile(np.eye(3), (4, 1, 1)), np.arange(12.0).reshape(4, 3), np.zeros(3))
    strategy = Marina(lr=1.0, sync=1e-9, uplink=Identity())
    found = iterates(run(strategy, [np.arange(4)] * 6, toy=toy), toy)
    np.testing.assert_allclose(found[1:], np.tile(toy.x_star, (6, 1)), rtol=0, atol=EXACT)


@pytest.mark.slow
def test_with_a_compressed_downlink_it_still_reaches_the_optimum():
    assert error(run(Marina(lr=0.1, uplink=RAND4), everybody(600), downlink=TopK(0.1))) < 1e-6


def test_refuses_a_biased_uplink():
    with pytest.raises(ConfigError, match="unbiased"):
        run(Marina(uplink=TopK(0.1)), everybody(1))


@dataclass(frozen=True)
class AnotherMinibatch(Marina):
    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        if ctx.phase == "sync":
            return super().client_update(client, heard, task, ctx)
        change = task.grad(heard["x"], step=0) - task.grad(heard["before"], step=1)
        return {}, {"dg": self.uplink.compress(change, ctx, "uplink")}


@dataclass(frozen=True)
class CoinOfEachClient(Marina):
    """A client with heads sends its gradient, and its part of the estimate starts afresh."""

    def phases(self, ctx: Context) -> tuple[str, ...]:
        return ("sync",) if ctx.round == 0 else ("step",)

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        if ctx.phase == "sync":
            return super().client_update(client, heard, task, ctx)
        _, message = super().client_update(client, heard, task, ctx)
        heads = ctx.rng("coin").uniform(1, heard["x"].dtype) < 0.1
        afresh = task.full_grad(heard["x"])
        return {}, {"dg": Dense(message["dg"].dense() * ~heads + afresh * heads), "heads": Dense(1.0 * heads)}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        right = super().aggregate(server, inbox, ctx)
        if ctx.phase == "sync":
            return right
        g = right["g"] - server["g"] * inbox.mean("heads", by="one")
        return {**right, "x": server["x"] - self.lr * g, "g": g}


@dataclass(frozen=True)
class PointOfTheRoundBefore(Marina):
    """The difference is taken from where the last but one round was."""

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        found = super().init(role, start, ctx)
        return {**found, "older": start.x[None]} if role == "held" else found

    def hear(self, held: State, said: State, ctx: Context) -> State:
        return {**super().hear(held, said, ctx), "before": held["older"], "older": held["x"]}


@pytest.mark.slow
@pytest.mark.parametrize("flawed", [AnotherMinibatch, CoinOfEachClient])
def test_another_minibatch_or_coin_for_each_keeps_away_from_the_optimum(flawed: type[Marina]):
    assert error(run(Marina(lr=0.1, uplink=RAND4), everybody(300), noise=1.0)) < 1e-6
    assert error(run(flawed(lr=0.1, uplink=RAND4), everybody(300), noise=1.0)) > 1e-3


@pytest.mark.parametrize("flawed", [CoinOfEachClient, PointOfTheRoundBefore])
def test_the_iterates_find_flaws_without_noise(flawed: type[Marina]):
    with pytest.raises(AssertionError):
        assert_same_points(run(flawed(lr=0.1, uplink=RAND4), everybody(30)), reference(everybody(30)))


@pytest.mark.slow
def test_a_difference_over_two_rounds_converges_too_so_that_convergence_proves_little():
    assert error(run(PointOfTheRoundBefore(lr=0.1, uplink=RAND4), everybody(400))) < 1e-6
