"""Linear layers and ReLUs one behind the other are trained without a graph, to the bits that the graph gives."""

from dataclasses import fields

import pytest
import torch
from cohort_cases import examples, workload
from torch import Tensor, nn
from torch.nn import functional

from fedsparse.cohort.supervised import SupervisedTask, SupervisedWorkload
from fedsparse.protocol import Trained


class Branches(nn.Module):
    """Not a line: a sum of two paths."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) + self.second(x)


class OwnForward(nn.Module):
    """A line, in words of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(functional.relu(self.first(x.flatten(1))))


def line_of(module: nn.Module) -> tuple[str | None, ...] | None:
    line = SupervisedWorkload(examples(), module, 4).model.line
    return None if line is None else line.links


def test_a_perceptron_is_a_line():
    module = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3, bias=False))
    assert line_of(module) == ("1", None, "3")


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)),
        nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 3)),
        nn.Sequential(nn.ReLU(), nn.Linear(6, 3)),
        nn.Sequential(nn.Unflatten(1, (2, 3)), nn.Linear(3, 2), nn.Flatten(), nn.Linear(4, 3)),
        nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3).requires_grad_(False)),
        Branches(),
    ],
    ids=["tanh", "norm", "relu first", "positions", "frozen", "branches"],
)
def test_other_models_are_not(module: nn.Module):
    assert line_of(module) is None


def test_a_forward_of_ones_own_that_says_the_same_is_a_line():
    assert line_of(OwnForward()) == ("first", None, "second")


def trained(work: SupervisedWorkload, rows: int, **options: object) -> dict[str, Tensor]:
    wave = 0.1 * torch.sin(torch.arange(rows * work.start.x.numel()).float()).view(rows, -1)
    tensors = {name: wave for name in ("shift", "control") if options.pop(name, False)}
    task: SupervisedTask = work.task(torch.arange(work.clients), 3, 2, work.start.buffers[None])
    found: Trained = task.sgd(work.start.x[None], lr=0.2, **tensors, **options)  # type: ignore[arg-type]
    made = {f.name: getattr(found, f.name) for f in fields(found) if not f.name.startswith("make_")}
    return made | {"x": found.x, "change": found.change, "mean_grad": found.mean_grad}


@pytest.mark.parametrize("rows", [1, 5], ids=["one for all", "one each"])
@pytest.mark.parametrize(
    "options",
    [
        {"steps": 1},
        {"steps": 3},
        {"epochs": 2},
        {"epochs": 1, "momentum": 0.9, "weight_decay": 0.1, "prox": 0.5},
        {"steps": 40, "shift": True},
        {"epochs": 2, "shift": True, "control": True},
    ],
    ids=str,
)
def test_it_gives_the_bits_of_the_graph(options: dict[str, object], rows: int):
    by_hand, by_graph = workload("mlp"), workload("mlp")
    assert by_hand.model.line is not None
    by_graph.model.line = None
    first, second = (trained(work, rows, **options) for work in (by_hand, by_graph))
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.mark.parametrize("width", [64, 200])
def test_a_client_has_the_same_bits_beside_one_that_takes_more_steps(width: int):
    model = nn.Sequential(nn.Linear(3072, width), nn.ReLU(), nn.Linear(width, 3))
    work = SupervisedWorkload(examples((3072,), [20, 200]), model, 10)
    alone, beside = (
        work.task(torch.arange(clients), 3, 2, work.start.buffers[None]).sgd(
            work.start.x[None], lr=0.1, epochs=1
        )
        for clients in (1, 2)
    )
    assert torch.equal(alone.change[0], beside.change[0])
    assert torch.equal(alone.mean_grad[0], beside.mean_grad[0])
