"""A strategy may have its own way from a model to its outputs, and take only parts of a gradient."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse import data, models, simulate
from fedsparse.cohort.examples import Examples
from fedsparse.cohort.supervised import SupervisedWorkload
from fedsparse.data.partition import partition
from fedsparse.protocol import Context, Forward, State
from fedsparse.strategies.fedavg import FedAvg


def digits() -> Examples:
    found = data.load("digits")
    assert isinstance(found, data.Dataset)
    held = partition("iid", found, 5, seed=0)
    return Examples.of(found, held)


@dataclass(frozen=True)
class Gated(FedAvg):
    """Evaluates the model with a gate of one number behind the parameters, which turns the outputs around."""

    def model(self, state: State, ctx: Context) -> Tensor:
        return torch.cat([state["x"], torch.tensor([-1.0])])

    def predict(self, x: Tensor, inputs: Tensor, forward: Forward) -> Tensor:
        return x[-1] * forward(x[:-1], inputs)


def test_the_strategys_own_prediction_is_what_is_evaluated() -> None:
    examples, model = digits(), models.build("linear", (1, 8, 8), 10, seed=0)
    plain = simulate(FedAvg(lr=0.5), examples=examples, model=model, rounds=10)
    gated = simulate(Gated(lr=0.5), examples=examples, model=model, rounds=10)
    assert gated.x.equal(plain.x)
    assert plain.history[-1].metrics["accuracy"] > 0.8
    assert gated.history[-1].metrics["accuracy"] < 0.1


def test_parts_of_a_gradient_are_those_of_the_whole() -> None:
    work = SupervisedWorkload(digits(), models.build("mlp", (1, 8, 8), 10, seed=0, hidden=(6,)), batch=8)
    ids = torch.arange(3)
    whole = work.task(ids, 0, 0, work.start.buffers[None]).grad(work.start.x[None])
    head, first = (work.start.layout[name].slice for name in ("head.weight", "fc1.bias"))
    parts = work.task(ids, 0, 0, work.start.buffers[None]).grad(work.start.x[None], slices=[head, first])
    assert parts.equal(torch.cat([whole[:, head], whole[:, first]], dim=1))
