"""Gossip at random is, iterate by iterate, what an independent transcription computes; wrong versions are not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from reference_cases import AWAY, EXACT, LOSSY, TRIALS, WRONG, BowlProblem, Trial, apart, over

from fedsparse import rng
from fedsparse.gossip import Neighbours
from fedsparse.message import Dense
from fedsparse.protocol import Context, Message, State, Task
from fedsparse.strategies.epidemic_learning import EpidemicLearning
from fedsparse.strategies.gossip_learning import GossipLearning
from fedsparse.strategies.single_merging import SingleMerging
from fedsparse.testing.trial import SEED
from fedsparse.topologies.epidemic import Epidemic
from fedsparse.topologies.pull import Pull
from tests.reference import GossipTrace, Send, d_psgd, epidemic, gossip_learning, single_merging
from tests.reference.mixing import trained
from tests.reference.toys import Array

LOCAL = {"lr": 0.05, "steps": 3}
FAULTS = {"none": None, "lossy": LOSSY, "away": AWAY}


def trials(topology: Epidemic | Pull) -> dict[str, Trial]:
    return {name: Trial(topology, faults) if faults else Trial(topology) for name, faults in FAULTS.items()}


def heard(trial: Trial) -> NDArray[np.bool_]:
    """Who would hear whom if nothing got lost, ``[T, receiver, sender]``."""
    return (trial.W > 0) & ~np.eye(len(trial.x), dtype=bool)


# ---- epidemic learning

EPIDEMIC = trials(Epidemic(degree=3)) | {"ring-lossy": TRIALS["ring-lossy"]}


def of_epidemic(trial: Trial) -> GossipTrace:
    whom = np.broadcast_to(heard(trial), (trial.rounds, *trial.W.shape[-2:]))
    return epidemic(trial.gradient(steps=3), trial.x, whom, lost=trial.lost(), **LOCAL)


@over(trials=EPIDEMIC, quick={"away", "ring-lossy"})
def test_every_iterate_of_epidemic_learning_is_the_references(trial: Trial):
    assert apart(trial.of(EpidemicLearning(**LOCAL)), of_epidemic(trial)) < EXACT


class LostIsTheOwn(EpidemicLearning):
    """A lost message counts as the receiver's own."""

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        return {"x": inbox.mix("x")}


class EverybodysWeight(EpidemicLearning):
    """A message has the weight 1/n, as if all had been heard."""

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        share = torch.full_like(inbox.weights, 1 / ctx.population)
        own = 1 - torch.bincount(inbox.receivers, share, len(ctx.ids))
        return {"x": inbox.combine("x", own, share)}


@pytest.mark.parametrize(("faults", "wrong"), [("lossy", LostIsTheOwn), ("none", EverybodysWeight)])
def test_a_wrong_epidemic_learning_is_found_out(faults: str, wrong: type[EpidemicLearning]):
    assert apart(EPIDEMIC[faults].of(wrong(**LOCAL)), of_epidemic(EPIDEMIC[faults])) > WRONG


# ---- gossip learning

WALKS = trials(Epidemic(degree=1)) | {"more": Trial(Epidemic(degree=3), LOSSY)}
MERGES = {"age": "age", "average": "avg", "none": "none"}


def parts_of(size: int, count: int) -> list[NDArray[np.int64]]:
    """Equal runs of coordinates, the last one perhaps shorter."""
    width = -(-size // count)
    return [np.arange(size)[first : first + width] for first in range(0, size, width)]


def sends(trial: Trial, partitions: int = 1) -> list[list[Send]]:
    """The messages that arrive in each round, by receiver and then by sender, with the parts that senders draw."""
    arrived = np.broadcast_to(heard(trial), trial.lost().shape) & ~trial.lost()
    part = [
        [int(rng.stream(SEED, "client:train:part", t, i).integers(partitions)) for i in range(len(trial.x))]
        for t in range(trial.rounds)
    ]
    return [
        [Send(int(j), int(i), part[t][j]) for i, j in np.argwhere(arrived[t])] for t in range(trial.rounds)
    ]


def of_gossip_learning(trial: Trial, merge: str = "age", partitions: int = 1) -> GossipTrace:
    """A round trains all who are there, then merges what arrives."""
    gradient, x, age = trial.gradient(steps=3), trial.x, np.zeros((len(trial.x), partitions))
    xs, ages = [x], [age]
    for t, arriving in enumerate(sends(trial, partitions)):
        x, age = trained(gradient, x, 0.05, 3), age + 3.0 * ~trial.away[t][:, None]
        merged = gossip_learning(
            None, x, [arriving], merge=merge, partitions=parts_of(x.shape[1], partitions), ages=age
        )
        x, age = merged.last, merged.states["age"][-1]
        xs.append(x)
        ages.append(age)
    return GossipTrace(np.stack(xs), {"age": np.stack(ages)})


@over(trials=WALKS, quick={"away", "more"})
@pytest.mark.parametrize("merge", MERGES)
def test_every_iterate_of_gossip_learning_is_the_references(trial: Trial, merge: str):
    ours, theirs = trial.of(GossipLearning(merge=merge, **LOCAL)), of_gossip_learning(trial, MERGES[merge])
    assert apart(ours, theirs, age="age") < EXACT


@over(trials=WALKS, quick={"away", "more"})
def test_every_iterate_of_gossip_learning_by_parts_is_the_references(trial: Trial):
    """Three parts of 7, 7 and 6 coordinates, each with its own age."""
    ours, theirs = trial.of(GossipLearning(partitions=3, **LOCAL)), of_gossip_learning(trial, "age", 3)
    assert apart(ours, theirs, age="age") < EXACT


def test_training_then_merging_is_the_cycle_of_merging_then_training():
    """Where everyone hears one other in each round, the trained models are those of the transcription's own cycle."""
    trial = replace(TRIALS["one-peer"], problem=BowlProblem(TRIALS["one-peer"].problem.toy))
    ours = trial.of(GossipLearning(**LOCAL))
    gradient = trial.problem.toy.gradient
    theirs = gossip_learning(
        gradient,
        trained(gradient, trial.x, 0.05, 3),
        sends(trial),
        ages=np.full((len(trial.x), 1), 3.0),
        gained=3.0,
        **LOCAL,
    )
    after = np.stack([trained(gradient, x, 0.05, 3) for x in ours["x"]])
    np.testing.assert_allclose(after, theirs.x, rtol=0, atol=EXACT)
    np.testing.assert_allclose(ours["age"][1:] + 3, theirs.states["age"][1:], rtol=0, atol=EXACT)


class OwnAgeCounts(GossipLearning):
    """The weight of what came is the own share of the ages."""

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        right = super().aggregate(client, inbox, ctx)
        return {**right, "x": client["x"] + inbox.neighbours("part", by="one") - right["x"]}


class AgesAreAdded(GossipLearning):
    """The age of a merged model is one step more than the older one's."""

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        right = super().aggregate(client, inbox, ctx)
        return {**right, "age": right["age"] + 1}


class OneAgeForAllParts(GossipLearning):
    """All parts have the age of the oldest."""

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        right = super().aggregate(client, inbox, ctx)
        return {**right, "age": right["age"].max(1, keepdim=True).values.expand_as(right["age"]).clone()}


@pytest.mark.parametrize(
    "wrong",
    [
        OwnAgeCounts(**LOCAL),
        AgesAreAdded(**LOCAL),
        OneAgeForAllParts(partitions=3, **LOCAL),
        GossipLearning(merge="average", **LOCAL),
    ],
    ids=["own age", "ages added", "one age", "average"],
)
def test_a_wrong_gossip_learning_is_found_out(wrong: GossipLearning):
    """Only where some are away do ages differ: else all have trained as often."""
    trial = WALKS["away"]
    assert apart(trial.of(wrong), of_gossip_learning(trial, "age", wrong.partitions)) > WRONG


# ---- single merging

PULLS = trials(Pull(peers=0.2))


def of_single_merging(trial: Trial) -> tuple[GossipTrace, Array]:
    """In its last round everyone trains, and hears nobody before all are merged."""
    whom = heard(trial)
    whom[-1] = False
    return single_merging(trial.gradient(steps=3), trial.x, whom, lost=trial.lost(), **LOCAL)


@pytest.mark.parametrize("faults", ["none", "lossy"])
def test_every_iterate_of_single_merging_is_the_references(faults: str):
    """Nobody hears more than one peer: then a lost message is at once one that did not arrive and the own model."""
    trial = PULLS[faults]
    ours, (theirs, merged) = trial.of(SingleMerging(**LOCAL))["x"], of_single_merging(trial)
    np.testing.assert_allclose(ours[:-1], theirs.x[:-1], rtol=0, atol=EXACT)
    np.testing.assert_allclose(ours[-1], np.tile(merged, (16, 1)), rtol=0, atol=EXACT)


MERGING = {
    "never": (),
    "last": (39,),
    "early": range(4),
    "late": range(36, 40),
    "evenly": (9, 19, 29, 39),
    "always": range(40),
}
"""A tenth of 40 rounds."""


@pytest.mark.parametrize("merge", MERGING)
@pytest.mark.parametrize("gossip", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_merging_in_other_rounds_is_d_psgd_with_the_complete_graph_there(merge: str, gossip: bool):
    trial = PULLS["none"]
    W = trial.W.copy() if gossip else np.broadcast_to(np.eye(16), trial.W.shape).copy()
    W[list(MERGING[merge])] = 1 / 16
    theirs = d_psgd(trial.gradient(steps=3), trial.x, W, trial.rounds, **LOCAL)
    assert apart(trial.of(SingleMerging(merge=merge, gossip=gossip, **LOCAL)), theirs) < EXACT


class MergesUntrained(SingleMerging):
    """The round that merges does not train."""

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        state, message = super().client_update(client, heard, task, ctx)
        if ctx.phase != "merge":
            return state, message
        return client, {"x": Dense(client["x"])}


def test_a_wrong_single_merging_is_found_out():
    trial = PULLS["none"]
    theirs, merged = of_single_merging(trial)
    ours = trial.of(MergesUntrained(**LOCAL))["x"]
    assert np.abs(ours[-1] - merged).max() > WRONG
    np.testing.assert_allclose(ours[:-1], theirs.x[:-1], rtol=0, atol=EXACT)
