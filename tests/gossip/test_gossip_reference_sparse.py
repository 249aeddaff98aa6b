"""Gossip of parts of models is what a transcription computes, iterate by iterate; wrong versions are not."""

from functools import cache

import numpy as np
import pytest
import torch
from reference_cases import EXACT, STATIC, TRIALS, WRONG, Trial, apart, drawn, over

from fedsparse import rng
from fedsparse.compress import RandK
from fedsparse.gossip import Neighbours
from fedsparse.protocol import Context, Message, State, Task
from fedsparse.strategies.jwins import JWINS
from fedsparse.strategies.partial_model import PartialModel
from fedsparse.strategies.random_subsampling import RandomSubsampling
from fedsparse.testing.trial import SEED
from tests.reference import GossipTrace, jwins, partial_model, random_subsampling, wavelets
from tests.reference.gossip_sparse import Masks
from tests.reference.toys import Array
from tests.reference.wavelets import Wavelet

LOCAL = {"lr": 0.05, "steps": 3}


# ---- random subsampling


def masks(trial: Trial, kind: str, share: float) -> Masks:
    """What each sender lets through, ``[T, n, d]``; with ``shared`` all have the mask that the server would draw."""
    n, d = trial.x.shape
    draw = drawn(RandK(share, unbiased=False), phase="server" if kind == "shared" else "train", stream="mask")
    who = [rng.NOBODY] * n if kind == "shared" else range(n)
    return np.stack([[draw(t, i, np.ones(d)) != 0 for i in who] for t in range(trial.rounds)])


def of_subsampling(trial: Trial, kind: str = "own") -> GossipTrace:
    return random_subsampling(
        trial.gradient(steps=3),
        trial.x,
        trial.W,
        trial.rounds,
        masks=masks(trial, kind, 0.3),
        lost=trial.lost(),
        **LOCAL,
    )


@over()
@pytest.mark.parametrize("kind", ["own", pytest.param("shared", marks=pytest.mark.slow)])
def test_every_iterate_of_random_subsampling_is_the_references(trial: Trial, kind: str):
    ours = trial.of(RandomSubsampling(fraction=0.3, masks=kind, **LOCAL))
    assert apart(ours, of_subsampling(trial, kind)) < EXACT


class MissingIsZero(RandomSubsampling):
    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        return {"x": inbox.mix("x")}


class MissingIsTheSendersPart(RandomSubsampling):
    """Whoever sent a coordinate has all of the weight there."""

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        there = inbox.mix("x", of=lambda rows: (rows != 0).to(rows.dtype))
        return {"x": torch.where(there > 0, inbox.mix("x") / there.clamp(min=1e-9), client["x"])}


@pytest.mark.parametrize(
    "wrong",
    [
        MissingIsZero(fraction=0.3, **LOCAL),
        MissingIsTheSendersPart(fraction=0.3, **LOCAL),
        RandomSubsampling(fraction=0.3, masks="shared", **LOCAL),
    ],
)
def test_a_wrong_random_subsampling_is_found_out(wrong: RandomSubsampling):
    trial = TRIALS["ring"]
    assert apart(trial.of(wrong), of_subsampling(trial)) > WRONG


# ---- partial models


def of_partial(trial: Trial, *, averaging: bool) -> GossipTrace:
    """Three of 20 coordinates."""
    return partial_model(
        trial.gradient(steps=3),
        trial.x,
        trial.W,
        trial.rounds,
        kept=3,
        averaging=averaging,
        lost=trial.lost(),
        **LOCAL,
    )


PRESENT = (*STATIC, "one-peer")
"""Who is away sends nothing, and its V stays, which the transcriptions of these methods do not know."""


@over(*PRESENT)
@pytest.mark.parametrize("averaging", [False, True])
def test_every_iterate_of_a_partial_model_is_the_references(trial: Trial, averaging: bool):
    ours = trial.of(PartialModel(fraction=0.15, averaging=averaging, **LOCAL))
    assert apart(ours, of_partial(trial, averaging=averaging), since="V") < EXACT


class ChosenByTheChange(PartialModel):
    """Only this round's change is looked at."""

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        return super().client_update({**client, "since": 0 * client["since"]}, heard, task, ctx)


class NothingIsSettled(PartialModel):
    """What was sent goes on counting."""

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        state, message = super().client_update(client, heard, task, ctx)
        return {**state, "since": client["since"] + state["x"] - client["x"]}, message


@pytest.mark.parametrize(
    "wrong",
    [
        ChosenByTheChange(fraction=0.15, **LOCAL),
        NothingIsSettled(fraction=0.15, **LOCAL),
        PartialModel(fraction=0.15, averaging=True, **LOCAL),
    ],
)
def test_a_wrong_partial_model_is_found_out(wrong: PartialModel):
    trial = TRIALS["ring"]
    assert apart(trial.of(wrong), of_partial(trial, averaging=False)) > WRONG


# ---- JWINS

SHARES = (0.12, 0.2, 0.3, 1.0)
"""Of 22 coefficients (haar) or 25 (sym2), none of which is a number and a half."""

WAVELETS = {"haar": wavelets.haar(4), "sym2": wavelets.sym2(2)}
"""As often divided as 20 coordinates have room for."""


def shares(trial: Trial) -> Array:
    """What each client draws, ``[T, n]``."""
    found = np.zeros((trial.rounds, len(trial.x)))
    for t, i in np.ndindex(found.shape):
        found[t, i] = SHARES[rng.stream(SEED, "client:train:share", t, i).integers(len(SHARES))]
    return found


def of_jwins(trial: Trial, wavelet: Wavelet, *, averaging: bool) -> GossipTrace:
    return jwins(
        trial.gradient(steps=3),
        trial.x,
        trial.W,
        trial.rounds,
        wavelet=wavelet,
        shares=shares(trial),
        whole=0.5,
        averaging=averaging,
        lost=trial.lost(),
        **LOCAL,
    )


@over(*PRESENT, quick={"torus-lossy"})
@pytest.mark.parametrize("wavelet", WAVELETS)
@pytest.mark.parametrize("averaging", [pytest.param(False, marks=pytest.mark.slow), True])
def test_every_iterate_of_jwins_is_the_references(trial: Trial, wavelet: str, averaging: bool):
    ours = trial.of(JWINS(shares=SHARES, wavelet=wavelet, averaging=averaging, **LOCAL))
    assert apart(ours, of_jwins(trial, WAVELETS[wavelet], averaging=averaging), since="V") < EXACT


@cache
def right_jwins() -> GossipTrace:
    """On the ring, with haar."""
    return of_jwins(TRIALS["ring"], WAVELETS["haar"], averaging=False)


class CoefficientsOfTheModelItself(JWINS):
    """It mixes coordinates, and chooses them by coefficients."""

    def forth(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(x, (0, super().forth(x[:1]).shape[1] - x.shape[1]))

    def back(self, sent: torch.Tensor, size: int) -> torch.Tensor:
        return sent[:, :size]


@pytest.mark.parametrize(
    "wrong",
    [
        CoefficientsOfTheModelItself(shares=SHARES, wavelet="haar", **LOCAL),
        JWINS(shares=SHARES, wavelet="sym2", **LOCAL),
        JWINS(shares=SHARES, wavelet="haar", level=3, **LOCAL),
        JWINS(shares=SHARES, wavelet="haar", averaging=True, **LOCAL),
    ],
    ids=["coordinates", "other wavelet", "one level less", "averaging"],
)
def test_a_wrong_jwins_is_found_out(wrong: JWINS):
    assert apart(TRIALS["ring"].of(wrong), right_jwins()) > WRONG
