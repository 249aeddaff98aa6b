"""Dynamic sparse learning of an embedding table."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from fedsparse import data, models, simulate
from fedsparse.cohort.batched import layouts
from fedsparse.cohort.examples import Examples
from fedsparse.cohort.trainer import Moment
from fedsparse.data.holdings import Stored
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.trainers.dsl import DSL

SYMBOLS, WIDTH, KEPT = 8, 5, 12
"""40 weights, of which 12 are kept."""

TRAINER = DSL(density=0.3, every=2, alpha=0.9)


def sequences() -> Examples:
    """One client, whose examples have the first five symbols alone."""
    x = np.random.default_rng(0).integers(5, size=(20, 6))
    found = data.Dataset("symbols", x, np.roll(x, -1, 1), x[:4], np.roll(x[:4], -1, 1), classes=SYMBOLS)
    return Examples.of(found, Stored(np.arange(20), np.array([0, 20])))


@pytest.fixture(scope="module")
def tables() -> list[torch.Tensor]:
    """The evaluated table after each round."""
    model = models.build("charmodel", (6,), SYMBOLS, seed=0, embedding=WIDTH, hidden=6)
    layout = layouts(model)[0]
    found = simulate(
        FedAvg(lr=0.3, steps=3),
        examples=sequences(),
        model=model,
        batch=10,
        rounds=10,
        trainer=TRAINER,
        keep_models=True,
    ).models
    return [layout.split(TRAINER.model(x[None], layout)[0])["embedding.weight"] for x in found]


def test_the_budget_of_a_table_stays_and_its_weights_move(tables: list[torch.Tensor]) -> None:
    there = [table != 0 for table in tables]
    assert [int(part.sum()) for part in there] == [KEPT] * 10
    assert any((a != b).any() for a, b in pairwise(there))
    assert torch.equal(there[-1], there[-2]), "it moves after its end"


def test_a_table_grows_only_in_rows_that_were_looked_up(tables: list[torch.Tensor]) -> None:
    """The last three symbols occur in no example."""
    grown = [(after != 0) & (before == 0) for before, after in pairwise(tables)]
    assert any(part[:5].any() for part in grown)
    assert not any(part[5:].any() for part in grown)


def test_only_tables_are_pruned(tables: list[torch.Tensor]) -> None:
    layout = layouts(models.build("charmodel", (6,), SYMBOLS, seed=0, embedding=WIDTH, hidden=6))[0]
    assert [field.name for field in TRAINER.layers(layout)] == ["embedding.weight"]
    mask = TRAINER.random(Moment(0, 0, 10, layout, torch.zeros(layout.size)))
    assert int((~mask).sum()) == SYMBOLS * WIDTH - KEPT


def test_a_table_grows_by_the_largest_gradients_and_prunes_as_many_of_the_smallest_weights() -> None:
    """By hand: rows 0 and 1 have gradients, two weights are to move, and only one place speaks for itself."""
    layout = layouts(models.build("charmodel", (6,), 2, seed=0, embedding=4, hidden=1))[0]
    x = torch.zeros(1, layout.size)
    at = layout["embedding.weight"].slice
    x[0, at] = torch.tensor([0.5, 0.1, 0, 0, 0.3, 0, 0, 0])
    gradient = torch.zeros(1, layout.size)
    gradient[0, at] = torch.tensor([9.0, 9, 0, -2, 9, 0, 0, 0])
    moment = Moment(0, 2, 10, layout, x[0])
    mask = TRAINER.next_mask(x, x != 0, [2], moment, lambda point: gradient)
    assert mask[0, at].int().tolist() == [1, 0, 0, 1, 1, 0, 0, 0]
