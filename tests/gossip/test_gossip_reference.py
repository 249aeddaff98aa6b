"""Gossip of whole models is, iterate by iterate, what an independent transcription computes; wrong versions are not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from reference_cases import AWAY, EXACT, LOSSY, STATIC, TRIALS, WRONG, Directed, Trial, apart, eight, over
from torch import Tensor

from fedsparse.gossip import Delivery, Neighbours
from fedsparse.message import Dense
from fedsparse.protocol import Context, Message, Role, Start, State, Task
from fedsparse.strategies.allreduce import AllReduce
from fedsparse.strategies.dfedavg import DFedAvg
from fedsparse.strategies.dfedsam import DFedSAM
from fedsparse.strategies.dpsgd import DPSGD
from fedsparse.strategies.extra import Extra
from fedsparse.strategies.gradient_tracking import GradientTracking
from fedsparse.strategies.push_sum import PushSum
from tests.reference import GossipTrace, d_psgd, dfedavg, dfedsam, extra, gradient_tracking, push_sum

ORDERS = pytest.mark.parametrize("order", ["atc", "cta"])
LOCAL = {"lr": 0.05, "steps": 3}
SAM = {"lr": 0.05, "steps": 3, "rho": 0.5}


# ---- D-PSGD, DFedAvg, all-reduce


def of_d_psgd(trial: Trial, order: str = "atc") -> GossipTrace:
    return d_psgd(
        trial.gradient(steps=3), trial.x, trial.W, trial.rounds, order=order, lost=trial.lost(), **LOCAL
    )


@over()
@ORDERS
def test_every_iterate_of_d_psgd_is_the_references(trial: Trial, order: str):
    assert apart(trial.of(DPSGD(order=order, **LOCAL)), of_d_psgd(trial, order)) < EXACT


@dataclass(frozen=True)
class LossesAreSharedOut(DPSGD):
    delivery: ClassVar[Mapping[str, Delivery]] = {"x": "shared"}


@pytest.mark.parametrize(
    ("trial", "wrong"),
    [
        ("ring", DPSGD(order="cta", **LOCAL)),
        ("ring", DPSGD(lr=0.05, steps=2)),
        ("ring-lossy", LossesAreSharedOut(**LOCAL)),
    ],
)
def test_a_wrong_d_psgd_is_found_out(trial: str, wrong: DPSGD):
    assert apart(TRIALS[trial].of(wrong), of_d_psgd(TRIALS[trial])) > WRONG


def test_rows_and_columns_are_not_confused():
    """On a directed graph: the first exchange with the weights of senders would be another."""
    trial = TRIALS["one-peer"]
    swapped = d_psgd(trial.gradient(steps=3), trial.x, trial.W.swapaxes(1, 2), trial.rounds, **LOCAL)
    assert apart(trial.of(DPSGD(**LOCAL)), swapped) > WRONG


@over()
def test_every_iterate_of_dfedavgm_is_the_references(trial: Trial):
    theirs = dfedavg(
        trial.gradient(steps=3), trial.x, trial.W, trial.rounds, momentum=0.8, lost=trial.lost(), **LOCAL
    )
    assert apart(trial.of(DFedAvg(momentum=0.8, **LOCAL)), theirs) < EXACT


class MomentumGoesOn(DFedAvg):
    """The heavy ball keeps its speed from round to round."""

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        return {"x": start.x[None], "m": 0 * start.x[None]}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        z, m = client["x"], client["m"]
        for step in range(self.steps):
            m = self.momentum * m + task.grad(z, step)
            z = z - self.lr * m
        return {"x": z, "m": m}, {"z": Dense(z)}

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        return {"x": inbox.mix("z"), "m": client["m"]}


def test_a_momentum_that_goes_on_is_found_out():
    trial = TRIALS["ring"]
    theirs = dfedavg(trial.gradient(steps=3), trial.x, trial.W, trial.rounds, momentum=0.8, **LOCAL)
    assert apart(trial.of(MomentumGoesOn(momentum=0.8, **LOCAL)), theirs) > WRONG


@over("torus-lossy", "one-peer-away")
def test_every_iterate_of_all_reduce_is_that_of_the_complete_graph_of_those_who_are_there(trial: Trial):
    """Nothing gets lost in an all-reduce."""
    there = ~trial.away
    W = there[:, :, None] * there[:, None] / there.sum(1)[:, None, None]
    W = np.where(there[:, :, None], W, np.eye(len(trial.x)))
    theirs = d_psgd(trial.gradient(steps=3), trial.x, W, trial.rounds, **LOCAL)
    assert apart(trial.of(AllReduce(**LOCAL)), theirs) < EXACT


# ---- DFedSAM


def of_dfedsam(trial: Trial, mixings: int = 1) -> GossipTrace:
    """All mixings of a round have the round's W."""
    phases = ("train", "mix2", "mix3", "mix4")[:mixings]
    return dfedsam(
        # Two gradients of each step, of the same minibatch.
        trial.gradient(numbered=lambda k: (k // 6, k % 6 // 2)),
        trial.x,
        trial.W if trial.W.ndim == 2 else trial.W.repeat(mixings, 0),
        trial.rounds,
        exchanges=mixings,
        lost=trial.lost(*phases),
        **SAM,
    )


@over()
@pytest.mark.parametrize("mixings", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_every_iterate_of_dfedsam_is_the_references(trial: Trial, mixings: int):
    assert apart(trial.of(DFedSAM(mixings=mixings, **SAM)), of_dfedsam(trial, mixings)) < EXACT


class OtherMinibatchUphill(DFedSAM):
    """The second gradient is of the next step's minibatch."""

    def trained(self, x: Tensor, task: Task) -> Tensor:
        z = x
        for step in range(self.steps):
            g = task.grad(z, step)
            z = z - self.lr * task.grad(z + self.rho * g / g.norm(dim=1, keepdim=True), step + 1)
        return z


class StepsFromUphill(DFedSAM):
    """The step begins where the gradient was taken."""

    def trained(self, x: Tensor, task: Task) -> Tensor:
        z = x
        for step in range(self.steps):
            g = task.grad(z, step)
            ahead = z + self.rho * g / g.norm(dim=1, keepdim=True)
            z = ahead - self.lr * task.grad(ahead, step)
        return z


@pytest.mark.parametrize(
    "wrong",
    [
        DFedSAM(mixings=3, **SAM),
        OtherMinibatchUphill(mixings=4, **SAM),
        StepsFromUphill(mixings=4, **SAM),
        DFedSAM(mixings=4, lr=0.05, steps=3, rho=0.0),
    ],
    ids=["one mixing less", "other minibatch", "from uphill", "no radius"],
)
def test_a_wrong_dfedsam_is_found_out(wrong: DFedSAM):
    assert apart(TRIALS["ring"].of(wrong), of_dfedsam(TRIALS["ring"], 4)) > WRONG


# ---- gradient tracking, EXTRA

PRESENT = (*STATIC, "one-peer")
"""Who is away takes no step, which the transcriptions of these methods do not know."""


def of_tracking(trial: Trial, order: str = "atc") -> GossipTrace:
    """With ``atc`` the first gradients have a minibatch of their own, and x and y have losses of their own."""
    atc = order == "atc"
    x, y = (trial.lost("x"), trial.lost("y")) if atc else (trial.lost(), trial.lost())
    numbered = (lambda k: (k - 1, 0) if k else (0, 1)) if atc else None
    return gradient_tracking(
        trial.gradient(numbered=numbered),
        trial.x,
        trial.W,
        trial.rounds,
        lr=0.05,
        order=order,
        lost=x,
        lost_tracker=y,
    )


@over(*PRESENT)
@ORDERS
def test_every_iterate_of_gradient_tracking_is_the_references(trial: Trial, order: str):
    """With ``cta`` y is kept as it is before it gains the new gradient, so that only models are compared."""
    ours, theirs = trial.of(GradientTracking(order=order)), of_tracking(trial, order)
    assert apart(ours, theirs) < EXACT
    for name in ("y", "g") if order == "atc" else ():
        np.testing.assert_allclose(ours[name][1:], theirs.states[name][1:], rtol=0, atol=EXACT)


class GradientEvaluatedAgain(GradientTracking):
    """The old gradient is that of the new minibatch at the old point."""

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        return {**super().init(role, start, ctx), "old": start.x[None]}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        if ctx.phase == "y":
            client = {**client, "g": task.grad(client["old"])}
        state, message = super().client_update(client, heard, task, ctx)
        return {**state, "old": client["x"] if ctx.phase == "x" else client["old"]}, message


class LostTrackersAreTheReceiversOwn(GradientTracking):
    delivery: ClassVar[Mapping[str, Delivery]] = {"x": "latest", "y": "latest"}


class BeginsWithoutGradients(GradientTracking):
    """Y is zero in the first step."""

    def phases(self, ctx: Context) -> tuple[str, ...]:
        return ("x", "y")


@pytest.mark.parametrize(
    ("trial", "wrong"),
    [
        ("ring", GradientEvaluatedAgain()),
        ("ring", BeginsWithoutGradients()),
        ("ring", GradientTracking(order="cta")),
        ("ring-lossy", LostTrackersAreTheReceiversOwn()),
    ],
)
def test_a_wrong_gradient_tracking_is_found_out(trial: str, wrong: GradientTracking):
    assert apart(TRIALS[trial].of(wrong), of_tracking(TRIALS[trial])) > WRONG


@over("ring", "torus")
def test_every_iterate_of_extra_is_the_references(trial: Trial):
    theirs = extra(trial.gradient(), trial.x, trial.W, trial.rounds, lr=0.05)
    assert apart(trial.of(Extra(lr=0.05)), theirs) < EXACT


class WholeCorrection(Extra):
    """The correction grows by x - W x, and not by half of it."""

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        right = super().aggregate(client, inbox, ctx)
        return {**right, "p": 2 * right["p"] - client["p"]}


def test_a_wrong_extra_is_found_out():
    trial = TRIALS["ring"]
    theirs = extra(trial.gradient(), trial.x, trial.W, trial.rounds, lr=0.05)
    assert apart(trial.of(WholeCorrection(lr=0.05)), theirs) > WRONG


# ---- push-sum

DIRECTED = {
    "directed": eight(Directed()),
    "directed-lossy": eight(Directed(), LOSSY),
    "directed-away": eight(Directed(), AWAY),
    "one-peer-away": TRIALS["one-peer-away"],
}


def of_push_sum(trial: Trial) -> GossipTrace:
    return push_sum(trial.gradient(steps=3), trial.x, trial.W, trial.rounds, lost=trial.lost(), **LOCAL)


def model(states: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """With the models s / w."""
    return {**states, "x": states["s"] / states["w"], "w": states["w"][:, :, 0]}


@pytest.mark.parametrize("trial", DIRECTED.values(), ids=DIRECTED)
def test_every_iterate_of_push_sum_is_the_references(trial: Trial):
    assert apart(model(trial.of(PushSum(**LOCAL))), of_push_sum(trial), s="s", w="w") < EXACT


class GradientAtTheBiasedModel(PushSum):
    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        s = client["s"] + task.sgd(client["s"], lr=self.lr, steps=self.steps).change
        return {**client, "s": s}, {"s": Dense(s), "w": Dense(client["w"])}


class StepOfTheModel(PushSum):
    """S becomes w times the trained model."""

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        w = client["w"]
        s = w * task.sgd(client["s"] / w, lr=self.lr, steps=self.steps).x
        return {"s": s, "w": w}, {"s": Dense(s), "w": Dense(w)}


class LostSharesVanish(PushSum):
    delivery: ClassVar[Mapping[str, Delivery]] = {"s": "latest", "w": "latest"}


@pytest.mark.parametrize(
    ("trial", "wrong"),
    [
        ("directed", GradientAtTheBiasedModel(**LOCAL)),
        ("directed", StepOfTheModel(**LOCAL)),
        ("directed-lossy", LostSharesVanish(**LOCAL)),
    ],
)
def test_a_wrong_push_sum_is_found_out(trial: str, wrong: PushSum):
    assert apart(model(DIRECTED[trial].of(wrong)), of_push_sum(DIRECTED[trial])) > WRONG


def test_a_trial_has_losses_and_clients_that_are_away():
    """Else half of the comparisons would be the same one."""
    assert TRIALS["one-peer-away"].away.mean() == pytest.approx(0.2, abs=0.05)
    assert TRIALS["ring-lossy"].lost().mean() == pytest.approx(0.2, abs=0.02)
