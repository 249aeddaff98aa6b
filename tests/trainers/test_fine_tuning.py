"""Trainers that move a few weights of a model and leave the others as they are."""

from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from fedsparse import Result, data, models, simulate
from fedsparse.cohort.batched import layouts, parameters_of
from fedsparse.cohort.examples import Examples
from fedsparse.cohort.trainer import Moment, Trainer
from fedsparse.compress import TopK
from fedsparse.data.partition import partition
from fedsparse.strategies.fed_ef import FedEF
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.trainers.s2ft import S2FT
from fedsparse.trainers.sara import SaRA

SHARE = 0.25
TRAINERS = {
    "sara": SaRA(share=SHARE),
    "s2ft": S2FT(share=SHARE),
    "s2ft, largest": S2FT(share=SHARE, select="largest"),
}


@cache
def examples() -> Examples:
    found = data.load("digits")
    assert isinstance(found, data.Dataset)
    return Examples.of(found, partition("iid", found, 4, seed=0))


def perceptron(hidden: tuple[int, ...] = (16, 12)) -> nn.Module:
    return models.build("mlp", (1, 8, 8), 10, seed=1, hidden=hidden)


def trained(model: nn.Module, trainer: Trainer, strategy: FedAvg | None = None) -> Result:
    strategy = strategy or FedAvg(lr=0.1, steps=3)
    options = {"batch": 20, "rounds": 6, "keep_models": True}
    return simulate(strategy, examples=examples(), model=model, trainer=trainer, **options)


def mask_at(number: int, trainer: SaRA | S2FT, model: nn.Module, seed: int = 0) -> np.ndarray:
    x = parameters_of(model)
    return trainer.mask(x[None], Moment(seed, number, 6, layouts(model)[0], x), lambda point: point)[
        0
    ].numpy()


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINERS)
def test_what_is_not_trained_keeps_every_bit_of_the_start(name: str) -> None:
    """In a model with convolutions and BatchNorm as well, of which the statistics alone go on."""
    model = models.build("resnet", (1, 8, 8), 10, seed=1, width=4, depth=8, norm="batch")
    start, end = parameters_of(model), trained(model, TRAINERS[name]).models[-1]
    moved = (start != end).numpy()
    mask = mask_at(0, TRAINERS[name], model)
    assert not moved[~mask].any()
    assert moved[mask].mean() > 0.7


def test_s2ft_trains_whole_columns_of_every_layer_but_the_first() -> None:
    """A quarter of 16 inputs is 4, of 12 is 3."""
    model = perceptron()
    parts = layouts(model)[0].split(torch.from_numpy(mask_at(0, TRAINERS["s2ft"], model)))
    counts = {name: int(part.sum()) for name, part in parts.items() if part.any()}
    assert sorted(counts.values()) == [3 * 10, 4 * 12]
    assert all(bool((parts[name] == parts[name][:1]).all()) for name in counts)


def test_the_inputs_that_are_drawn_depend_on_the_seed_and_not_on_the_round() -> None:
    model, trainer = perceptron(), S2FT(share=SHARE)
    masks = [mask_at(number, trainer, model) for number in range(3)]
    assert (masks[0] == masks[1]).all()
    assert (masks[0] == masks[2]).all()
    assert (masks[0] != mask_at(0, trainer, model, seed=1)).any()


def test_s2ft_is_the_same_for_hidden_units_in_another_order() -> None:
    """Selected by norm, a unit is selected wherever it stands; so the functions agree before and after training."""
    model, other = perceptron((16,)), perceptron((16,))
    first, last = (p for name, p in model.named_parameters() if name.endswith("weight"))
    order = torch.from_numpy(np.random.default_rng(0).permutation(16))
    with torch.no_grad():
        for name, into in other.named_parameters():
            of = dict(model.named_parameters())[name]
            into.copy_(of[:, order] if of.shape == last.shape else of if len(of) == 10 else of[order])
    ends = []
    for each in (model, other):
        result = trained(each, S2FT(share=SHARE, select="largest"))
        ends.append([r.metrics["loss"] for r in result.history])
    assert ends[0] == pytest.approx(ends[1], rel=1e-5)
    assert ends[0][-1] < ends[0][0]
    assert first.shape == (16, 64)


@pytest.mark.parametrize("name", TRAINERS)
def test_a_topk_of_that_size_leaves_nothing_of_the_change_out(name: str) -> None:
    dense = trained(perceptron(), TRAINERS[name])
    sent = trained(perceptron(), TRAINERS[name], FedEF(lr=0.1, steps=3, uplink=TopK(SHARE)))
    torch.testing.assert_close(sent.x, dense.x, rtol=1e-6, atol=1e-7)
    assert not sent.clients["memory"].any()
    # Values of 4 bytes for a quarter, and at most one bit for each position.
    assert sent.summary.up_bytes < (SHARE + 1 / 32 + 0.02) * dense.summary.up_bytes
