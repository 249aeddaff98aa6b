"""Every client of a cohort has one fate: accepted, rejected, late, lost or absent; state follows it."""

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
import torch
from server_cases import Log, Pieces, Pulls, classes

from fedsparse.aggregate import Mean
from fedsparse.compress import TopK
from fedsparse.engine.faults import Faults
from fedsparse.engine.tally import Tally
from fedsparse.errors import ProtocolError
from fedsparse.message import Dense, Scalars
from fedsparse.network import Deadline, Network
from fedsparse.protocol import Context, Role, Start, State
from fedsparse.simulation import simulate

PULLS = Pulls()
COUNT = {"n": torch.zeros(1, 1, dtype=torch.int64)}


def spoilt(value: float, *, client: int = 2):
    """Gradient descent in which one client sends ``value`` in one coordinate; all count their updates."""

    def work(state, heard, task, ctx):
        g = task.grad(heard["x"])
        g[ctx.ids == client, 1] = value
        return {"n": state["n"] + 1}, {"g": Dense(g)}

    return Pieces(state=COUNT, work=work)


@pytest.mark.parametrize("encode", [False, True], ids=["count", "encode"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("block", [1, 4, 6])
def test_a_message_that_is_not_finite_is_rejected_and_counted(value: float, block: int, encode: bool):
    result = simulate(spoilt(value), PULLS, rounds=2, block=block, encode=encode)
    assert [(r.accepted, r.rejected) for r in result.history] == [(5, {"not finite": 1})] * 2
    assert result.x.isfinite().all()


def test_the_state_of_a_client_whose_message_was_rejected_stays():
    result = simulate(spoilt(math.nan), PULLS, rounds=2)
    assert result.ids.tolist() == [0, 1, 3, 4, 5]
    assert result.clients["n"].flatten().tolist() == [2] * 5


def test_a_rejected_message_moves_nothing():
    without = simulate(spoilt(math.nan), PULLS, rounds=1).x
    assert without.tolist() == pytest.approx([0.5 * (1 + 2 + 4 + 5 + 6) / 5] * 4)


def test_a_message_beyond_the_largest_norm_is_rejected():
    result = simulate(spoilt(1e6), PULLS, rounds=1, aggregator=Mean(max_norm=100.0))
    assert result.history[0].rejected == {"norm above the limit": 1}


def test_a_lost_message_that_is_not_finite_is_lost_and_nothing_else():
    faults = Faults(uplink_loss=1.0)
    [record] = simulate(spoilt(math.nan), PULLS, rounds=1, faults=faults).history
    assert (record.lost, record.rejected) == (6, {})


@pytest.mark.parametrize("direction", ["uplink_loss", "downlink_loss", "dropout"])
def test_a_round_without_a_message_is_skipped_and_changes_nothing(direction: str):
    result = simulate(spoilt(0.0), PULLS, rounds=2, faults=Faults(**{direction: 1.0}))
    assert [r.skipped for r in result.history] == [True, True]
    assert result.x.tolist() == [0.0] * 4
    assert len(result.ids) == 0


@pytest.mark.parametrize("encode", [False, True], ids=["count", "encode"])
def test_each_client_of_a_cohort_has_one_fate(encode: bool):
    faults = Faults(dropout=0.2, uplink_loss=0.2, downlink_loss=0.2)
    network, deadline = Network(profile="lognormal", latency_spread=2.0), Deadline(0.3)
    result = simulate(
        spoilt(math.nan), PULLS, rounds=40, faults=faults, network=network, deadline=deadline, encode=encode
    )
    assert all(classes(record) == record.cohort == 6 for record in result.history)
    totals = {
        name: sum(getattr(r, name) for r in result.history) for name in ("accepted", "lost", "late", "absent")
    }
    assert all(totals.values())
    assert sum(sum(r.rejected.values()) for r in result.history) > 0


def test_over_several_phases_a_client_still_has_one_fate():
    faults = Faults(dropout=0.1, uplink_loss=0.4, downlink_loss=0.4)
    strategy = Pieces(
        phase_names=lambda _: ("a", "b", "c"), who=lambda ctx: "all" if ctx.phase == "b" else "cohort"
    )
    for cohort, strategy_ in product((3, 6), (strategy, Pieces(phase_names=lambda _: ("a", "b")))):
        result = simulate(strategy_, PULLS, rounds=10, cohort=cohort, faults=faults)
        assert all(classes(record) == record.cohort >= cohort for record in result.history)


def test_a_refusal_is_told_even_if_another_message_was_accepted():
    tally = Tally(accepted={1, 2, 3}, refused={1: "not finite"}, late={2, 4}, lost={3, 4, 5}, absent={6})
    assert tally.classes() == {
        "cohort": 6,
        "accepted": 2,
        "lost": 1,
        "late": 1,
        "absent": 1,
        "rejected": {"not finite": 1},
    }


def test_a_lost_message_was_sent_and_its_bytes_count():
    [perfect] = simulate(Pieces(), PULLS, rounds=1).history
    [lossy] = simulate(Pieces(), PULLS, rounds=1, faults=Faults(uplink_loss=0.5)).history
    assert lossy.traffic == perfect.traffic | {"up_lost": lossy.lost}
    assert lossy.lost > 0


def test_a_client_that_did_not_hear_sends_nothing():
    [record] = simulate(Pieces(), PULLS, rounds=1, faults=Faults(downlink_loss=0.5)).history
    assert record.traffic["up_messages"] == 6 - record.traffic["down_lost"] < 6


def test_absent_clients_are_neither_told_nor_charged():
    log = Log()
    [record] = simulate(Pieces(log=log), PULLS, rounds=1, faults=Faults(dropout=0.5)).history
    assert len(log.of("broadcast")[0][2]) == record.traffic["down_messages"] == 6 - record.absent < 6


# ---- what is recorded


def recording(values):
    """Gradient descent that records ``values [N]``."""

    def work(client, heard, task, ctx):
        return client, {"g": Dense(task.grad(heard["x"])), "@n": Scalars(values[ctx.ids][:, None])}

    return Pieces(work=work)


def test_recorded_numbers_are_means_over_the_accepted_and_cost_no_bytes():
    values = torch.arange(6, dtype=torch.float64)
    plain, recorded = (simulate(s, PULLS, rounds=1, block=4) for s in (Pieces(), recording(values)))
    assert recorded.history[0].scalars == {"n": 2.5}
    assert recorded.history[0].traffic == plain.history[0].traffic
    [lossy] = simulate(recording(values), PULLS, rounds=1, faults=Faults(uplink_loss=0.5)).history
    kept = ~Faults(uplink_loss=0.5).lost("up", 0, 0, "train", 0, range(6))
    assert lossy.scalars == {"n": float(np.arange(6)[kept].mean())}


@pytest.mark.parametrize("values", [[math.inf, -math.inf], [1.7e308, 1.7e308], [math.nan, 1.0]])
def test_numbers_without_a_mean_are_recorded_as_nan(values: list[float]):
    two = Pulls(clients=2)
    [record] = simulate(recording(torch.tensor(values, dtype=torch.float64)), two, rounds=1).history
    assert math.isnan(record.scalars["n"])


@pytest.mark.parametrize("shape", [(2, 1), (6,), (6, 2)])
def test_a_recorded_number_is_one_for_each_client(shape: tuple[int, ...]):
    def work(client, heard, task, ctx):
        return client, {
            "g": Dense(task.grad(heard["x"])),
            "@n": Scalars(torch.zeros(*shape, dtype=torch.float64)),
        }

    with pytest.raises(ProtocolError, match=r"Pieces: message '@n' is a Scalars of .*Scalars of \(6, 1\)"):
        simulate(Pieces(work=work), PULLS, rounds=1, block=6)


def test_a_recorded_number_is_a_scalar():
    def work(client, heard, task, ctx):
        return client, {"g": Dense(task.grad(heard["x"])), "@n": Dense(torch.zeros(6, 1))}

    with pytest.raises(
        ProtocolError, match=r"Pieces: message '@n' is a Dense; a number to record is Scalars"
    ):
        simulate(Pieces(work=work), PULLS, rounds=1, block=6)


def test_all_clients_of_a_phase_record_the_same_numbers():
    def work(client, heard, task, ctx):
        message = {"g": Dense(task.grad(heard["x"]))}
        return client, message | (
            {} if ctx.ids[0] else {"@n": Scalars(torch.zeros(3, 1, dtype=torch.float64))}
        )

    with pytest.raises(ProtocolError, match=r"Pieces: some clients record '@n' and some do not"):
        simulate(Pieces(work=work), PULLS, rounds=1, block=3)


def test_the_training_loss_is_the_mean_over_the_accepted():
    [record] = simulate(Pieces(), PULLS, rounds=1).history
    assert record.train_loss == pytest.approx(np.mean([4 * (i + 1) ** 2 / 2 for i in range(6)]))


def test_a_phase_without_training_leaves_the_loss_of_the_one_before():
    def work(client, heard, task, ctx):
        g = task.grad(heard["x"]) if ctx.phase == "train" else heard["x"].expand(len(ctx.ids), -1)
        return client, {"g": Dense(g)}

    [both] = simulate(Pieces(phase_names=lambda _: ("train", "vote"), work=work), PULLS, rounds=1).history
    [one] = simulate(Pieces(), PULLS, rounds=1).history
    assert both.train_loss == one.train_loss


def test_gradients_and_examples_are_counted_for_all_that_computed():
    problem = Pulls(sizes=[1, 2, 3, 4, 5, 6])
    [record] = simulate(Pieces(), problem, rounds=1, faults=Faults(uplink_loss=0.5)).history
    assert (record.gradient_calls, record.examples) == (6, 21)


# ---- commit


@dataclass(frozen=True)
class Memory(Pieces):
    """Error feedback: what was not sent stays."""

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        return {"x": start.x} if role == "server" else {"e": torch.zeros_like(start.x)[None]}

    def client_update(self, client, heard, task, ctx):
        sent, e = TopK(0.25).with_memory(self.lr * task.grad(heard["x"]), client["e"], ctx)
        return {"e": e}, {"d": sent}

    def aggregate(self, server, inbox, ctx):
        return {"x": server["x"] - inbox.mean("d", by="one")}


@pytest.mark.parametrize(("share", "rounds"), [(0.2, 60), (0.5, 100), (0.8, 300)])
def test_error_feedback_reaches_the_optimum_whatever_share_of_messages_is_lost(share: float, rounds: int):
    one = Pulls(clients=1)
    result = simulate(Memory(lr=0.2), one, rounds=rounds, faults=Faults(uplink_loss=share))
    assert (result.x - 1).abs().max() < 1e-2
