"""Variance-corrected averaging is what a transcription computes, iterate by iterate; wrong versions are not."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from reference_cases import AWAY, EXACT, LOSSY, TRIALS, WRONG, BowlProblem, Trial, apart, over

from fedsparse.gossip import Neighbours
from fedsparse.message import Dense
from fedsparse.protocol import Context, Message, State, Task
from fedsparse.strategies.variance_corrected import VarianceCorrected
from fedsparse.topologies.erdos_renyi import ErdosRenyi
from fedsparse.topologies.pull import Pull
from fedsparse.topologies.ring import Ring
from tests.reference import GossipTrace, variance_corrected
from tests.reference.common import Gradient
from tests.reference.gossip_oracle import Bowls, bowls, cloud
from tests.reference.toys import Array

LOCAL = {"lr": 0.05, "steps": 3}
SHAPES = {"first": (2, 4), "bias": (3,), "last": (3, 3)}
WEIGHTS, ALL = [slice(0, 8), slice(11, 20)], [slice(0, 8), slice(8, 11), slice(11, 20)]

SHAPED = BowlProblem(bowls(), noise=0.5, shapes=SHAPES)
SCALED = cloud() * np.repeat([1.0, 5.0, 0.2], [8, 3, 9])
"""Tensors of unlike variance."""


def shaped(trial: Trial) -> Trial:
    """With models of three tensors."""
    return replace(trial, problem=SHAPED, x=SCALED)


TENSORS = {name: shaped(TRIALS[name]) for name in ("ring", "ring-lossy", "torus-lossy", "one-peer-away")} | {
    "unlike degrees": shaped(Trial(ErdosRenyi(), LOSSY)),
    "few": shaped(Trial(Pull(peers=0.7), AWAY)),
}


def reference(trial: Trial, gradient: Gradient | None = None, **options: Any) -> GossipTrace:
    """Of the weights only who hears whom counts; with the product's names of options."""
    linked = (trial.W != 0).astype(float)
    names = {"own": "self", "blend": "follow_beta", "others": "others"}
    return variance_corrected(
        gradient or trial.gradient(steps=3),
        trial.x,
        linked,
        trial.rounds,
        tensors=options.pop("tensors", WEIGHTS),
        target=names[options.pop("target", "others")],
        lost=trial.lost(),
        **(LOCAL | options),
    )


@over(trials=TENSORS, quick={"torus-lossy", "one-peer-away", "unlike degrees", "few"})
def test_every_iterate_of_variance_correction_is_the_references(trial: Trial):
    assert apart(trial.of(VarianceCorrected(**LOCAL)), reference(trial)) < EXACT


@pytest.mark.parametrize("target", ["others", "own", "blend"])
@pytest.mark.parametrize(("scope", "tensors"), [("weights", WEIGHTS), ("all", ALL)])
def test_every_target_and_scope_is_the_references(target: str, scope: str, tensors: list[slice]):
    trial = TENSORS["ring-lossy"]
    ours = trial.of(VarianceCorrected(target=target, scope=scope, beta=0.3, strength=0.7, **LOCAL))  # type: ignore[arg-type]
    theirs = reference(trial, target=target, tensors=tensors, beta=0.3, partial=0.7)
    assert apart(ours, theirs) < EXACT


def test_a_momentum_goes_on_from_round_to_round():
    trial = TENSORS["ring"]
    gradient, velocity = trial.gradient(steps=3), np.zeros_like(trial.x)

    def direction(i: int, x: Array) -> Array:
        velocity[i] = 0.9 * velocity[i] + gradient(i, x)
        return velocity[i].copy()

    theirs = reference(trial, direction, lr=0.02)
    assert apart(trial.of(VarianceCorrected(momentum=0.9, lr=0.02, steps=3)), theirs) < EXACT


def test_without_a_target_it_is_the_average():
    trial = TENSORS["torus-lossy"]
    theirs = reference(trial, tensors=[])
    assert apart(trial.of(VarianceCorrected(target="none", **LOCAL)), theirs) < EXACT


def masked(masks: np.ndarray, rounds: int) -> Trial:
    """Models that are zero, and have no gradient, where the mask ``[n, d]`` or ``[d]`` is."""
    toy = bowls()
    masks = np.broadcast_to(masks, toy.b.shape)
    problem = BowlProblem(Bowls(toy.a * masks, toy.b * masks), shapes=SHAPES)
    return Trial(Ring(), rounds=rounds, problem=problem, x=SCALED * masks)


def test_zeros_are_left_out_where_all_have_the_same():
    mask = np.random.default_rng(0).random(20) < 0.6
    trial = masked(mask, 40)
    theirs = reference(trial, masks=np.broadcast_to(mask, trial.x.shape))
    ours = trial.of(VarianceCorrected(sparse=True, **LOCAL))
    assert apart(ours, theirs) < EXACT
    assert not ours["x"][:, :, ~mask].any()


def test_what_is_active_in_any_of_the_models_is_active_in_their_mean():
    """One round, after which all have other zeros."""
    masks = np.random.default_rng(0).random((16, 20)) < 0.5
    trial = masked(masks, 1)
    theirs = reference(trial, masks=masks)
    assert apart(trial.of(VarianceCorrected(sparse=True, **LOCAL)), theirs) < EXACT


class AboutZero(VarianceCorrected):
    """A tensor is scaled about zero, and not about its mean."""

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        y = self.beta * client["x"] + (1 - self.beta) * inbox.neighbours("x", by="one")
        right = super().aggregate(client, inbox, ctx)["x"]
        out = y.clone()
        for f in ctx.layout:
            if len(f.shape) > 1:
                old, new = y[:, f.slice], right[:, f.slice]
                out[:, f.slice] = old * (new.std(1) / old.std(1))[:, None]
        return {"x": out}


class WholeModel(VarianceCorrected):
    """All weights are one tensor."""

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        y = self.beta * client["x"] + (1 - self.beta) * inbox.neighbours("x", by="one")
        target = inbox.neighbours("x", of=lambda rows: rows.var(1, correction=0, keepdim=True), by="one")
        mean = y.mean(1, keepdim=True)
        return {"x": mean + (y - mean) * (target / y.var(1, correction=0, keepdim=True)).sqrt()}


class VarianceOfTheMeanModel(VarianceCorrected):
    """The target is the variance of what came in, averaged first."""

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        others = inbox.neighbours("x", by="one")
        y = self.beta * client["x"] + (1 - self.beta) * others
        out = y.clone()
        for f in ctx.layout:
            if len(f.shape) > 1:
                part, mean = y[:, f.slice], y[:, f.slice].mean(1, keepdim=True)
                out[:, f.slice] = mean + (part - mean) * (others[:, f.slice].std(1) / part.std(1))[:, None]
        return {"x": out}


class SmallConstant(VarianceCorrected):
    """One ten-thousandth is added to both variances, which are those of samples: as in a published program."""

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        y = self.beta * client["x"] + (1 - self.beta) * inbox.neighbours("x", by="one")
        out = y.clone()
        for f in ctx.layout:
            if len(f.shape) > 1:
                part, mean = y[:, f.slice], y[:, f.slice].mean(1, keepdim=True)
                target = inbox.neighbours("x", of=lambda r, s=f.slice: r[:, s].var(1, keepdim=True), by="one")
                ratio = (target + 1e-4) / (part.var(1, keepdim=True) + 1e-4)
                out[:, f.slice] = mean + (part - mean) * ratio.sqrt()
        return {"x": out}


class SendsTheUntrained(VarianceCorrected):
    """It sends the model as it was before training."""

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        state, _ = super().client_update(client, heard, task, ctx)
        return state, {"x": Dense(client["x"])}


@pytest.mark.parametrize(
    "wrong",
    [
        VarianceCorrected(target="own", **LOCAL),
        VarianceCorrected(target="none", **LOCAL),
        VarianceCorrected(scope="all", **LOCAL),
        AboutZero(**LOCAL),
        WholeModel(**LOCAL),
        VarianceOfTheMeanModel(**LOCAL),
        SmallConstant(**LOCAL),
        SendsTheUntrained(**LOCAL),
    ],
    ids=lambda s: f"{type(s).__name__}-{s.target}-{s.scope}",
)
def test_a_wrong_variance_correction_is_found_out(wrong: VarianceCorrected):
    trial = TENSORS["ring"]
    assert apart(trial.of(wrong), reference(trial)) > WRONG


def test_the_tensors_of_these_models_are_cut_where_the_reference_cuts_them():
    sizes = [torch.Size(shape).numel() for shape in SHAPES.values()]
    ends = np.cumsum(sizes)
    assert [(cut.start, cut.stop) for cut in ALL] == [(e - s, e) for s, e in zip(sizes, ends, strict=True)]
