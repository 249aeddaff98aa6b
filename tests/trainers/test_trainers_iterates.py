"""FedAvg with a trainer goes where an independent NumPy transcription goes, round by round."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from trainer_cases import (
    CLIENTS,
    LR,
    ROUNDS,
    SHAPE,
    SIZE,
    START,
    STEPS,
    WEIGHTS,
    gradient,
    largest,
    local,
    trained,
)

from fedsparse import rng
from fedsparse.cohort.trainer import Moment
from fedsparse.protocol import Layout
from fedsparse.trainers.gmp import GMP
from fedsparse.trainers.rigl import RigL
from fedsparse.trainers.s2ft import S2FT
from fedsparse.trainers.sara import SaRA
from fedsparse.trainers.set import SET
from fedsparse.trainers.sparcl import SparCL
from fedsparse.trainers.spdf import SPDF
from fedsparse.trainers.srste import SRSTE

KEPT = 12
"""A quarter of 48 weights."""


LAYOUT = Layout.of({"w": SHAPE, "b": (SIZE - WEIGHTS,)}, frozenset({"w"}))


def moment(number: int = 0) -> Moment:
    return Moment(7, number, ROUNDS, LAYOUT, torch.from_numpy(START))


def first_mask(trainer: RigL | SET) -> np.ndarray:
    """Which of the weights the first round trains: those of the start that are not zero."""
    return trainer.random(moment()).numpy()


def follow(models: list[torch.Tensor], x: np.ndarray, masks) -> None:
    """Averages of local training on ``masks(round, client, x)``, compared after every round."""
    for number, model in enumerate(models):
        x = np.mean([local(c, x, masks(number, c, x)) for c in range(CLIENTS)], axis=0)
        np.testing.assert_allclose(model.numpy(), x, rtol=1e-9, atol=1e-12)


def smallest(x: np.ndarray, mask: np.ndarray, count: int) -> np.ndarray:
    scores = np.where(mask[:WEIGHTS], np.abs(x[:WEIGHTS]), np.inf)
    return np.argsort(scores, kind="stable")[:count]


def test_set_is_the_transcription() -> None:
    trainer = SET(density=0.25, zeta=0.3, every=2)
    first = first_mask(trainer)
    moves = []

    def masks(number: int, client: int, x: np.ndarray) -> np.ndarray:
        if number == 0:
            return first
        mask = largest(x, KEPT)
        if number % 2 or number >= 6:  # three quarters of eight rounds
            return mask
        drawn = rng.stream(7, "trainer:grow", number).random(SIZE, dtype=np.float32)[:WEIGHTS]
        empty = np.flatnonzero(~mask[:WEIGHTS])
        grown = empty[np.argsort(-drawn[empty], kind="stable")[:3]]  # floor(0.3 * 12)
        mask[smallest(x, mask, 3)] = False
        mask[grown] = True
        moves.append(number)
        return mask

    follow(trained(trainer).models, START * first, masks)
    assert set(moves) == {2, 4}


def test_rigl_is_the_transcription() -> None:
    trainer = RigL(density=0.25, alpha=0.6, every=2)
    first = first_mask(trainer)
    differ = []

    def masks(number: int, client: int, x: np.ndarray) -> np.ndarray:
        if number == 0:
            return first
        mask = largest(x, KEPT)
        if number % 2 or number >= 6:
            return mask
        count = int(KEPT * 0.6 / 2 * (1 + math.cos(math.pi * number / 6)))
        dense = np.abs(gradient(client, x * mask))[:WEIGHTS]
        mask[smallest(x, mask, count)] = False
        dense[mask[:WEIGHTS]] = -1
        mask[np.argsort(-dense, kind="stable")[:count]] = True
        differ.append(mask)
        return mask

    follow(trained(trainer).models, START * first, masks)
    assert any((a != b).any() for a, b in pairwise(differ)), "clients grow alike"


def test_gradual_pruning_is_the_transcription() -> None:
    trainer = GMP(density=0.25, begin=1, stop=0.75, every=2)

    def masks(number: int, client: int, x: np.ndarray) -> np.ndarray:
        # From round 1 to round 6 in a span of 5; pruned at 1, 3, 5 and at its end.
        since = -1 if number < 1 else 5 if number >= 6 else (number - 1) // 2 * 2
        if since < 0:
            return np.ones(SIZE, dtype=bool)
        density = 0.25 + 0.75 * (1 - since / 5) ** 3
        return largest(x, math.floor(density * WEIGHTS + 0.5))

    follow(trained(trainer).models, START, masks)


def test_srste_is_the_transcription() -> None:
    trainer = SRSTE(n=1, m=4, decay=0.05)
    x = START
    for model in trained(trainer).models:
        ends = []
        for client in range(CLIENTS):
            y, velocity = x.copy(), np.zeros(SIZE)
            for _ in range(STEPS):
                used = np.ones(SIZE, dtype=bool)
                groups = np.abs(y[:WEIGHTS]).reshape(-1, 4)
                used[:WEIGHTS] = (groups == groups.max(1, keepdims=True)).ravel()
                velocity = 0.9 * velocity + gradient(client, y * used) + 0.05 * ~used * y
                y = y - LR * velocity
            ends.append(y)
        x = np.mean(ends, axis=0)
        np.testing.assert_allclose(model.numpy(), x, rtol=1e-9, atol=1e-12)


def test_sparcl_is_the_transcription() -> None:
    trainer = SparCL(density=0.25, alpha=0.5)
    x = START
    for model in trained(trainer).models:
        ends = []
        for client in range(CLIENTS):
            y, velocity = x.copy(), np.zeros(SIZE)
            for _ in range(STEPS):
                g = gradient(client, y)
                velocity = 0.9 * velocity + g * largest(np.abs(y) + 0.5 * np.abs(g), KEPT)
                y = y - LR * velocity
            ends.append(y)
        x = np.mean(ends, axis=0)
        np.testing.assert_allclose(model.numpy(), x, rtol=1e-9, atol=1e-12)


def test_spdf_is_a_random_mask_and_then_dense() -> None:
    trainer = SPDF(density=0.25, sparse=0.5)
    first = first_mask(trainer)  # type: ignore[arg-type]
    everything = np.ones(SIZE, dtype=bool)
    follow(trained(trainer).models, START * first, lambda t, c, x: first if t < 4 else everything)


def partly(client: int, x: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Steps with momentum and decay that move some weights and leave the others."""
    y, velocity = x.copy(), np.zeros(SIZE)
    for _ in range(STEPS):
        velocity = 0.9 * velocity + (gradient(client, y) + 0.1 * y) * free
        y = y - LR * velocity
    return y


def test_sara_is_the_transcription() -> None:
    """A third of 48 weights is 16; half of eight rounds is four."""
    threshold = np.sort(np.abs(START[:WEIGHTS]))[15]
    first = np.abs(START) <= threshold
    first[WEIGHTS:] = False
    x, free = START, []
    for number, model in enumerate(trained(SaRA(share=1 / 3), weight_decay=0.1).models):
        free.append(first if number < 4 else first & (np.abs(x) <= threshold))
        x = np.mean([partly(c, x, free[-1]) for c in range(CLIENTS)], axis=0)
        np.testing.assert_allclose(model.numpy(), x, rtol=1e-9, atol=1e-12)
    assert [int(f.sum()) for f in free[:4]] == [16] * 4
    assert 0 < free[4].sum() < 16, "nothing has outgrown the threshold, or everything"
    assert (model.numpy()[~first] == START[~first]).all()


@pytest.mark.parametrize("select", ["largest", "smallest"])
def test_s2ft_is_the_transcription(select: str) -> None:
    """A quarter of 8 inputs is 2."""
    norms = np.linalg.norm(START[:WEIGHTS].reshape(SHAPE), axis=0)
    chosen = np.argsort(norms if select == "smallest" else -norms, kind="stable")[:2]
    free = np.zeros(SIZE, dtype=bool)
    free[:WEIGHTS].reshape(SHAPE)[:, chosen] = True
    x = START
    for model in trained(S2FT(share=0.25, select=select), weight_decay=0.1).models:
        x = np.mean([partly(c, x, free) for c in range(CLIENTS)], axis=0)
        np.testing.assert_allclose(model.numpy(), x, rtol=1e-9, atol=1e-12)
    assert (model.numpy()[~free] == START[~free]).all()


@pytest.mark.parametrize(
    "trainer", [GMP(density=1.0), SPDF(sparse=0.0), SparCL(density=1.0)], ids=["gmp", "spdf", "sparcl"]
)
def test_a_trainer_that_prunes_nothing_changes_no_bit(trainer) -> None:
    for with_it, without in zip(trained(trainer).models, trained(None).models, strict=True):
        assert torch.equal(with_it, without)


@pytest.mark.parametrize(
    "trainer", [SET(density=0.25, every=1), RigL(density=0.25, every=1)], ids=["set", "rigl"]
)
def test_the_number_of_weights_stays(trainer) -> None:
    """Also while they move; where clients moved to different ones it is the number in the evaluated model."""
    models = trained(trainer).models
    supports = [trainer.model(x[None], LAYOUT)[0, :WEIGHTS] != 0 for x in models]
    assert [int(support.sum()) for support in supports] == [KEPT] * ROUNDS
    assert any((a != b).any() for a, b in pairwise(supports))
    assert torch.equal(supports[-1], supports[-2]), "it moves after its end"
