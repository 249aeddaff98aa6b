"""DIANA is the reference's DIANA: every iterate, its limit, its identities, and its form with a compressed downlink."""

from dataclasses import dataclass

import numpy as np
import pytest
from strategy_cases import EXACT, PARTICIPATION, assert_same_run, drawn, error, iterates, noisy, rows, run

from fedsparse.compress import QSGD, Compressor, Identity, Natural, RandK, TopK
from fedsparse.engine.faults import Faults
from fedsparse.errors import ConfigError
from fedsparse.protocol import Context, Inbox, Message, State, Task
from fedsparse.simulation import Result
from fedsparse.strategies.diana import Diana
from fedsparse.strategies.fedavg import FedAvg
from tests.reference import Trace, diana, dore
from tests.reference.oracle import Q, everybody, sampled, top4

RAND4 = RandK(0.1)


def ours(alpha: float | None = 0.1, uplink: Compressor = RAND4, lr: float = 0.1) -> Diana:
    return Diana(lr=lr, alpha=alpha, partial=True, uplink=uplink)


def reference(cohorts: list[np.ndarray], uplink: Compressor = RAND4, **given: float) -> Trace:
    compress = drawn(uplink)
    return diana(
        Q.gradient, Q.x0, Q.clients, cohorts, compress=compress, **({"lr": 0.1, "alpha": 0.1} | given)
    )


def assert_memory_is_the_mean(result: Result) -> None:
    """Server h == (1/N) sum h_i over all clients."""
    np.testing.assert_allclose(result.server["h"].numpy(), rows(result, "h").mean(0), rtol=0, atol=EXACT)


def assert_is(result: Result, trace: Trace) -> None:
    """``w``, the clients' model, is not a state of the product's server."""
    trace.server.pop("w", None)
    assert_same_run(result, trace)


@pytest.mark.parametrize("uplink", [RAND4, QSGD(4), Natural()], ids=lambda c: type(c).__name__)
@pytest.mark.parametrize("who", PARTICIPATION)
def test_every_iterate_is_the_references(who: str, uplink: Compressor):
    cohorts = PARTICIPATION[who]
    assert_is(run(ours(0.05, uplink, 0.05), cohorts), reference(cohorts, uplink, lr=0.05, alpha=0.05))


def test_every_iterate_is_the_references_with_noisy_gradients():
    cohorts = sampled(3, 60)
    expected = diana(
        noisy(Q, cohorts, 1, noise=0.5), Q.x0, Q.clients, cohorts, lr=0.1, alpha=0.1, compress=drawn(RAND4)
    )
    assert_is(run(ours(), cohorts, noise=0.5), expected)


@pytest.mark.parametrize(("uplink", "alpha"), [(RAND4, 1 / 10), (Natural(), 8 / 9), (Identity(), 1.0)])
def test_the_default_step_of_the_memories_is_that_of_the_compressor(uplink: Compressor, alpha: float):
    """1 / (1 + ω), with ω of 9, 1/8 and 0."""
    expected = run(ours(alpha, uplink), everybody(20))
    np.testing.assert_allclose(
        iterates(run(ours(None, uplink), everybody(20))), iterates(expected), rtol=0, atol=EXACT
    )


@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_without_compression_it_is_gradient_descent(alpha: float):
    x, expected = Q.x0, [Q.x0]
    for _ in range(60):
        x = x - 0.1 * Q.gradients(x).mean(0)
        expected.append(x)
    result = run(ours(alpha, Identity()), everybody(60))
    np.testing.assert_allclose(iterates(result), expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize("uplink", [RAND4, QSGD(4), Natural()], ids=lambda c: type(c).__name__)
@pytest.mark.parametrize("size", [1, 3, 10])
def test_server_memory_stays_the_mean_of_the_clients(size: int, uplink: Compressor):
    assert_memory_is_the_mean(run(ours(None, uplink, 0.02), sampled(size, 30)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_closes_in_where_compressed_gradient_descent_stays_away(seed: int):
    plain = FedAvg(lr=0.1, steps=1, uplink=RAND4)
    assert error(run(plain, everybody(400), seed=seed)) > 0.3
    assert error(run(ours(), everybody(400), seed=seed)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_is_exact_after_1500_rounds(seed: int):
    """The independent transcription with draws of its own ends at 2.8e-16, without memory at 1.06."""
    assert error(run(ours(), everybody(1500), seed=seed)) < 1e-14
    assert error(run(FedAvg(lr=0.1, steps=1, uplink=RAND4), everybody(1500), seed=seed)) > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("faults", [Faults(uplink_loss=0.2), Faults(0.1, 0.2, 0.2)], ids=["up", "all"])
def test_stays_exact_when_messages_are_lost(faults: Faults):
    result = run(ours(), everybody(600), faults=faults)
    assert_memory_is_the_mean(result)
    assert error(result) < 1e-4
    assert sum(r.lost for r in result.history) > 500


def test_every_iterate_is_that_of_the_clients_whose_messages_arrived():
    """A client whose message is lost keeps its memory: the round is one of a smaller cohort."""
    faults = Faults(uplink_loss=0.2)
    lost = np.stack([faults.lost("up", 0, t, "train", 0, range(10)) for t in range(60)])
    arrived = [np.flatnonzero(~row) for row in lost]
    assert_is(run(ours(), everybody(60), faults=faults), reference(arrived))


@pytest.mark.slow
def test_small_cohorts_reach_the_optimum_with_a_smaller_step():
    assert error(run(ours(lr=0.05), sampled(4, 900))) < 1e-6


def test_with_a_compressed_downlink_it_is_ef21_p_with_diana():
    expected = diana(
        Q.gradient, Q.x0, Q.clients, everybody(60), lr=0.1, alpha=0.1, compress=drawn(RAND4),
        model_compress=top4(),
    )  # fmt: skip
    assert_is(run(ours(), everybody(60), downlink=TopK(0.1)), expected)


def test_with_a_compressed_downlink_clients_follow_dores_model():
    """DORE's iterates are the clients' models; the server is ahead by what it has not sent, e."""
    other = dore(
        Q.gradient, Q.x0, Q.clients, everybody(60), lr=0.1, alpha=0.1, compress=drawn(RAND4), server_compress=top4()
    )  # fmt: skip
    result = run(ours(), everybody(60), downlink=TopK(0.1))
    np.testing.assert_allclose(result.x.numpy(), other.last + other.server["e"], rtol=0, atol=EXACT)
    np.testing.assert_allclose(rows(result, "h"), other.clients["h"], rtol=0, atol=EXACT)


@pytest.mark.slow
def test_stays_exact_with_a_compressed_downlink():
    assert error(run(ours(), everybody(600), downlink=TopK(0.1))) < 1e-6


def test_refuses_a_biased_uplink():
    with pytest.raises(ConfigError, match="unbiased"):
        run(ours(uplink=TopK(0.1)), everybody(1))


def test_a_damping_of_a_biased_compressor_is_refused():
    with pytest.raises(ConfigError, match=r"no 1 \+ omega to divide by"):
        TopK(0.1).damping(40)


@dataclass(frozen=True)
class StepUsesNewMemory(Diana):
    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        h = super().aggregate(server, inbox, ctx)["h"]
        return {"x": server["x"] - self.lr * (h + inbox.mean("dh", by="one")), "h": h}


@dataclass(frozen=True)
class StepIsDamped(Diana):
    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        h = super().aggregate(server, inbox, ctx)["h"]
        return {"x": server["x"] - self.lr * h, "h": h}


@dataclass(frozen=True)
class MemoryGainsTheCohortsMean(Diana):
    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        right = super().aggregate(server, inbox, ctx)
        return {**right, "h": server["h"] + 0.1 * inbox.mean("dh", by="one")}


@dataclass(frozen=True)
class ClientFollowsWhatWasNotSent(Diana):
    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        _, message = super().client_update(client, heard, task, ctx)
        return {"h": client["h"] + 0.1 * (task.grad(heard["x"]) - client["h"])}, message


FLAWS = [StepUsesNewMemory, StepIsDamped, MemoryGainsTheCohortsMean, ClientFollowsWhatWasNotSent]


@pytest.mark.parametrize("flawed", FLAWS)
def test_the_iterates_find_every_flaw(flawed: type[Diana]):
    cohorts = sampled(3, 20)
    with pytest.raises(AssertionError):
        assert_is(run(flawed(alpha=0.1, partial=True, uplink=RAND4), cohorts), reference(cohorts))


@pytest.mark.parametrize("flawed", [MemoryGainsTheCohortsMean, ClientFollowsWhatWasNotSent])
def test_the_invariant_finds_flaws_of_the_memories(flawed: type[Diana]):
    with pytest.raises(AssertionError):
        assert_memory_is_the_mean(run(flawed(alpha=0.1, partial=True, uplink=RAND4), sampled(3, 20)))


@pytest.mark.slow
@pytest.mark.parametrize("flawed", [StepUsesNewMemory, StepIsDamped])
def test_a_wrong_step_converges_too_so_that_convergence_proves_little(flawed: type[Diana]):
    assert error(run(flawed(lr=0.1, alpha=0.1, uplink=RAND4), everybody(400))) < 1e-4


def test_without_compression_bytes_are_those_of_two_dense_vectors():
    record = run(ours(uplink=Identity()), everybody(2)).history[-1]
    assert record.traffic["up_dense_bytes"] == record.traffic["down_dense_bytes"] == 10 * 40 * 8
