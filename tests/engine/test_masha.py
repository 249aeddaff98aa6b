"""MASHA2 (Beznosikov, Richtárik, Diskin, Ryabinin, Gasnikov, NeurIPS 2022): the protocol carries a method with complete
synchronisations at random times, and with three vectors that all devices derive from what they heard.
"""  # noqa: D205

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from fedsparse.compress import Compressor, TopK
from fedsparse.data.quadratic import Quadratics
from fedsparse.engine.faults import Faults
from fedsparse.message import Dense
from fedsparse.protocol import Audience, Context, Inbox, Message, Role, Start, State, Strategy, Task
from fedsparse.simulation import Result, simulate
from tests.reference.toys import Toy, b_toy

TOY = b_toy()


@dataclass(frozen=True)
class Masha2(Strategy):
    """Contractive compression up; z, w and F(w) are held by all; F_m(w) and the memory e_m are each device's own."""

    gamma: float = 0.1
    tau: float = 0.9
    coins: tuple[bool, ...] = ()
    uplink: Compressor = TopK(0.1)

    def phases(self, ctx: Context) -> tuple[str, ...]:
        return ("anchor", "first") if ctx.round == 0 or self.coins[ctx.round - 1] else ("step",)

    def audience(self, ctx: Context) -> Audience:
        return "all" if ctx.phase == "anchor" else "cohort"

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        zero = torch.zeros_like(start.x)[None]
        if role == "server":
            return {"x": start.x, "w": start.x, "Fw": zero[0], "D": zero[0]}
        return (
            {"z": start.x[None], "w": start.x[None], "Fw": zero} if role == "held" else {"F": zero, "e": zero}
        )

    def broadcast(self, server: State, ctx: Context) -> Message:
        name = "Fw" if ctx.phase == "first" else "D"
        return {name: Dense(server[name][None])}

    def hear(self, held: State, said: State, ctx: Context) -> State:
        if ctx.phase == "first":
            return {**held, "Fw": said["Fw"]}
        z = self.half(held["z"], held["w"], held["Fw"]) - said["D"] if ctx.round else held["z"]
        return {**held, "z": z, "w": z} if ctx.phase == "anchor" else {**held, "z": z}

    def half(self, z: Tensor, w: Tensor, Fw: Tensor) -> Tensor:
        """The point in between."""
        return self.tau * z + (1 - self.tau) * w - self.gamma * Fw

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        if ctx.phase == "anchor":
            F = task.full_grad(heard["w"])
            return {**client, "F": F}, {"F": Dense(F)}
        change = task.grad(self.half(heard["z"], heard["w"], heard["Fw"])) - client["F"]
        sent, memory = self.uplink.with_memory(self.gamma * change, client["e"], ctx, "uplink")
        return {**client, "e": memory}, {"u": sent}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        if ctx.phase == "anchor":
            return {**server, "w": server["x"], "Fw": inbox.mean("F")}
        D = inbox.mean("u")
        return {**server, "D": D, "x": self.half(server["x"], server["w"], server["Fw"]) - D}


def play(
    rounds: int, toy: Toy = TOY, cohort: int | None = None, faults: Faults | None = None, **given
) -> Result:
    """MASHA2 with the coins of generator 9, one for each iteration."""
    coins = tuple((np.random.default_rng(9).random(rounds) < 0.1).tolist())
    problem = Quadratics(torch.from_numpy(toy.H), torch.from_numpy(toy.b))
    return simulate(
        Masha2(coins=coins, **given),
        problem,
        rounds=rounds,
        cohort=cohort,
        faults=faults,
        evaluate_every=rounds,
    )


def test_the_coin_falls_78_times_in_1000_iterations():
    assert (np.random.default_rng(9).random(1000) < 0.1).sum() == 78


def test_its_thousandth_iterate_is_that_of_the_reference():
    found = play(1000)
    assert TOY.error(found.x.numpy()) == pytest.approx(1.43117362e-04, rel=1e-6)
    np.testing.assert_allclose(found.x[:3], (-0.40928535, 8.09528609, 1.27065424), atol=6e-9)


@pytest.mark.slow
def test_a_larger_step_is_faster():
    assert TOY.error(play(1000, gamma=0.2).x.numpy()) == pytest.approx(4.76e-08, rel=2e-3)


def test_an_iteration_sends_sparse_messages_up_and_a_synchronisation_dense_ones():
    found = play(60)
    busy = [r for r, record in enumerate(found.history) if record.traffic["up_messages"] == 20]
    quiet = [record for r, record in enumerate(found.history) if r not in busy]
    assert busy[0] == 0
    assert 1 < len(busy) < 15
    assert all(10 * 4 * 8 < record.traffic["up_payload_bytes"] <= 10 * (4 * 8 + 8) for record in quiet)
    assert all(found.history[r].traffic["up_payload_bytes"] > 10 * (40 + 4) * 8 for r in busy)


@pytest.mark.slow
def test_lost_messages_do_not_stall_it_as_what_was_heard_commits_on_receipt():
    assert TOY.error(play(2000, faults=Faults(uplink_loss=0.05)).x.numpy()) < 1e-7


@pytest.mark.slow
def test_half_of_the_devices_suffice():
    assert TOY.error(play(1500, cohort=5).x.numpy()) < 1e-4


@pytest.mark.slow
def test_it_keeps_converging():
    assert TOY.error(play(3000).x.numpy()) < 1e-12
