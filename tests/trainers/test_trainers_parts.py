"""Steps that go another way than their gradients: a large layer in parts takes the same ones, bit for bit."""

from __future__ import annotations

import pytest

from fedsparse import data, models, simulate
from fedsparse.cohort import walk
from fedsparse.cohort.examples import Examples
from fedsparse.cohort.trainer import Trainer
from fedsparse.data.partition import partition
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.trainers.sparcl import SparCL
from fedsparse.trainers.srste import SRSTE


def final(trainer: Trainer, strategy: FedAvg) -> bytes:
    """The model after clients of unequal size took unequal numbers of steps."""
    found = data.load("digits")
    assert isinstance(found, data.Dataset)
    held = Examples.of(found, partition("dirichlet", found, 5, seed=3, alpha=0.5))
    # The product of a client's middle layer is a call of its own.
    model = models.build("mlp", (1, 8, 8), 10, seed=3, hidden=(500, 500))
    done = simulate(
        strategy, examples=held, model=model, batch=50, rounds=2, seed=3, trainer=trainer, keep_models=True
    )
    return done.models[-1].numpy().tobytes()


@pytest.mark.parametrize(
    "strategy", [FedAvg(lr=0.1, epochs=1), FedAvg(lr=0.1, steps=2, momentum=0.9, weight_decay=0.1)]
)
@pytest.mark.parametrize("trainer", [SRSTE(decay=0.1), SparCL(density=0.3)], ids=["srste", "sparcl"])
def test_a_layer_in_parts_takes_the_steps_of_the_whole(
    trainer: Trainer, strategy: FedAvg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "_PART", 500 * 500)
    whole = final(trainer, strategy)
    monkeypatch.setattr(walk, "_PART", 500 * 30)
    assert final(trainer, strategy) == whole
