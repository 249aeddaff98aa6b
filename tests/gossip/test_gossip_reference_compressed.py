"""Compressed gossip is, iterate by iterate, what an independent transcription computes; wrong versions are not."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pytest
from reference_cases import EXACT, STATIC, TRIALS, WRONG, Trial, apart, drawn, over

from fedsparse.compress import QSGD, Compressor, RandK, TopK
from fedsparse.gossip import Delivery, Neighbours
from fedsparse.protocol import Context, Message, State, Task
from fedsparse.strategies.beer import Beer
from fedsparse.strategies.choco import Choco
from fedsparse.strategies.deepsqueeze import DeepSqueeze
from tests.reference import GossipTrace, beer, choco, choco_copies, deepsqueeze

LOCAL = {"lr": 0.05, "steps": 3, "gamma": 0.2}
TOP4 = TopK(0.2)

CONTRACTIVE = [
    pytest.param(TOP4, id="topk"),
    pytest.param(RandK(0.4, unbiased=False), id="randk", marks=pytest.mark.slow),
]
COMPRESSORS = [*CONTRACTIVE, pytest.param(QSGD(8), id="qsgd", marks=pytest.mark.slow)]


# ---- CHOCO


def of_choco(trial: Trial, uplink: Compressor = TOP4) -> GossipTrace:
    return choco_copies(
        trial.gradient(steps=3),
        trial.x,
        trial.W,
        trial.rounds,
        compress=drawn(uplink),
        lost=trial.lost(),
        **LOCAL,
    )


@over(*STATIC)
@pytest.mark.parametrize("uplink", COMPRESSORS)
def test_every_iterate_of_choco_is_the_references(trial: Trial, uplink: Compressor):
    """The transcription keeps a copy of every neighbour's x̂; what is lost comes with the next message."""
    assert apart(trial.of(Choco(uplink=uplink, **LOCAL)), of_choco(trial, uplink), xhat="xhat") < EXACT


def test_the_gap_of_choco_is_the_mixed_copies_less_the_own():
    """In the form with the sums s_i = sum_j W_ij x̂_j it is s - x̂."""
    trial = TRIALS["ring"]
    ours = trial.of(Choco(uplink=TOP4, **LOCAL))
    theirs = choco(trial.gradient(steps=3), trial.x, trial.W, trial.rounds, compress=drawn(TOP4), **LOCAL)
    assert apart(ours, theirs, xhat="xhat") < EXACT
    np.testing.assert_allclose(ours["gap"], theirs.states["s"] - theirs.states["xhat"], rtol=0, atol=EXACT)


class WithoutCopies(Choco):
    """The model itself is compressed."""

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        x = task.sgd(client["x"], lr=self.lr, steps=self.steps).x
        q = self.uplink.compress(x, ctx, "uplink")
        return {**client, "x": x, "xhat": q.dense()}, {"q": q}

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        return {**client, "x": client["x"] + self.gamma * (inbox.mix("q") - inbox.delivered("q"))}


class MixesLastRound(Choco):
    """The copies get the new differences after the mixing."""

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        right = super().aggregate(client, inbox, ctx)
        return {**right, "x": client["x"] + self.gamma * client["gap"]}


class CopiesGetAll(Choco):
    """The copies believe that all of the difference was sent."""

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        state, message = super().client_update(client, heard, task, ctx)
        return {**state, "xhat": state["x"]}, message


class LostForEver(Choco):
    delivery: ClassVar[Mapping[str, Delivery]] = {"q": "latest"}


@pytest.mark.parametrize(
    ("where", "wrong"),
    [("ring", WithoutCopies), ("ring", MixesLastRound), ("ring", CopiesGetAll), ("ring-lossy", LostForEver)],
)
def test_a_wrong_choco_is_found_out(where: str, wrong: type[Choco]):
    trial = TRIALS[where]
    assert apart(trial.of(wrong(uplink=TOP4, **LOCAL)), of_choco(trial)) > WRONG


# ---- BEER


def of_beer(trial: Trial, uplink: Compressor = TOP4) -> GossipTrace:
    """The first gradients have a minibatch of their own."""
    return beer(
        trial.gradient(numbered=lambda k: (k - 1, 0) if k else (0, 1)),
        trial.x,
        trial.W,
        trial.rounds,
        lr=0.05,
        gamma=0.2,
        compress=drawn(uplink, stream="x"),
        compress_tracker=drawn(uplink, stream="v"),
        lost=trial.lost(),
    )


@over(*STATIC)
@pytest.mark.parametrize("uplink", CONTRACTIVE)
def test_every_iterate_of_beer_is_the_references(trial: Trial, uplink: Compressor):
    ours, theirs = trial.of(Beer(lr=0.05, gamma=0.2, uplink=uplink)), of_beer(trial, uplink)
    assert apart(ours, theirs, h="h", G="G") < EXACT
    for name in ("v", "g"):
        np.testing.assert_allclose(ours[name][1:], theirs.states[name][1:], rtol=0, atol=EXACT)


class TracksTheCompressed(Beer):
    """The tracker becomes what the neighbours have of it."""

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        state, message = super().client_update(client, heard, task, ctx)
        return (state if ctx.phase == "start" else {**state, "v": state["G"]}), message


class StepAlongTheGradient(Beer):
    """The step is along the own gradient, and not along the tracker."""

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        if ctx.phase != "start":
            client = {**client, "x": client["x"] + self.lr * (client["v"] - client["g"])}
        return super().client_update(client, heard, task, ctx)


class ForgetsTheLastGradient(Beer):
    """The tracker gains the whole gradient each round."""

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        state, message = super().client_update(client, heard, task, ctx)
        return (state if ctx.phase == "start" else {**state, "g": 0 * state["g"]}), message


class LostForEverToo(Beer):
    delivery: ClassVar[Mapping[str, Delivery]] = {"x": "latest", "v": "latest"}


@pytest.mark.parametrize(
    ("where", "wrong"),
    [
        ("ring", TracksTheCompressed),
        ("ring", StepAlongTheGradient),
        ("ring", ForgetsTheLastGradient),
        ("ring-lossy", LostForEverToo),
    ],
)
def test_a_wrong_beer_is_found_out(where: str, wrong: type[Beer]):
    trial = TRIALS[where]
    assert apart(trial.of(wrong(lr=0.05, gamma=0.2, uplink=TOP4)), of_beer(trial)) > WRONG


# ---- DeepSqueeze


def of_deepsqueeze(trial: Trial, uplink: Compressor = TOP4) -> GossipTrace:
    return deepsqueeze(
        trial.gradient(steps=3),
        trial.x,
        trial.W,
        trial.rounds,
        compress=drawn(uplink),
        lost=trial.lost(),
        **LOCAL,
    )


@over(*STATIC, "one-peer")
@pytest.mark.parametrize("uplink", CONTRACTIVE)
def test_every_iterate_of_deepsqueeze_is_the_references(trial: Trial, uplink: Compressor):
    assert apart(trial.of(DeepSqueeze(uplink=uplink, **LOCAL)), of_deepsqueeze(trial, uplink), e="e") < EXACT


class NoMemory(DeepSqueeze):
    """It forgets what was not sent: the naive exchange."""

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        right = super().aggregate(client, inbox, ctx)
        return {**right, "e": 0 * right["e"]}


class MixesTheCompressed(DeepSqueeze):
    """The model is replaced by the mixed messages."""

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        return {**client, "x": inbox.mix("c")}


@pytest.mark.parametrize("wrong", [NoMemory, MixesTheCompressed])
def test_a_wrong_deepsqueeze_is_found_out(wrong: type[DeepSqueeze]):
    trial = TRIALS["ring"]
    assert apart(trial.of(wrong(uplink=TOP4, **LOCAL)), of_deepsqueeze(trial)) > WRONG
