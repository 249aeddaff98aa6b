"""A client's gradient and its local training have the same bits alone and at any place of any block.

Models, amounts of data, minibatches and the options of local training are drawn at random.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from cohort_cases import ROUND, SEED
from torch import Tensor, nn

from fedsparse import models
from fedsparse.cohort.examples import Examples
from fedsparse.cohort.supervised import SupervisedTask, SupervisedWorkload
from fedsparse.data.holdings import Stored
from fedsparse.protocol import Trained

AWKWARD = (1, 2, 3, 5, 7, 13, 16, 43, 60, 64, 100)
Made = tuple[nn.Module, tuple[int, ...]]


def entrywise(rng: np.random.Generator) -> nn.Module:
    kinds: list[Callable[[], nn.Module]] = [nn.ReLU, nn.ReLU, nn.Tanh, nn.SiLU, nn.Sigmoid, nn.GELU]
    return kinds[rng.integers(len(kinds))]()


def dense(rng: np.random.Generator) -> Made:
    """Linear layers; some are wide enough to keep the changes of many steps as they are."""
    widths = rng.choice(AWKWARD, int(rng.integers(1, 4))).tolist()
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out, bias=bool(rng.integers(2))), entrywise(rng)]
        if rng.integers(4) == 0:
            layers.append(nn.Dropout(0.3))
    return nn.Sequential(*layers, nn.Linear(widths[-1], 5)), (widths[0],)


def convolutions(rng: np.random.Generator) -> Made:
    channels, width, side = (int(rng.integers(*between)) for between in ((1, 4), (1, 9), (6, 12)))
    norms = [
        nn.GroupNorm(1, width),
        nn.BatchNorm2d(width),
        nn.InstanceNorm2d(width, affine=True),
        nn.Identity(),
    ]
    layers = nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1), norms[rng.integers(4)], entrywise(rng), nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, bias=False), entrywise(rng), nn.Flatten(),
        nn.Linear(2 * width * (side // 2 - 2) ** 2, 5),
    )  # fmt: skip
    return layers, (channels, side, side)


class Sentences(nn.Module):
    """An embedding, a recurrent layer or attention, a linear layer on every position."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__()
        width = 2 * int(rng.integers(1, 9))
        self.embedding, self.norm = nn.Embedding(11, width), nn.LayerNorm(width)
        kinds: list[Callable[..., nn.Module]] = [nn.GRU, nn.LSTM, nn.RNN]
        self.cell = kinds[rng.integers(3)](width, int(rng.integers(1, 30)), batch_first=True)
        self.mix = nn.MultiheadAttention(width, 2, batch_first=True)
        self.head = nn.Linear(self.cell.hidden_size, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        x = self.norm(x + self.mix(x, x, x, need_weights=False)[0])
        return self.head(self.cell(x)[0])


def sentences(rng: np.random.Generator) -> Made:
    return Sentences(rng), (int(rng.integers(1, 8)),)


def workload(
    make: Callable[[np.random.Generator], Made], rng: np.random.Generator, seed: int, own: bool = False
) -> SupervisedWorkload:
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(seed)
        module, shape = make(rng)
    # Even numbers: BatchNorm has no use for a minibatch of one example.
    batch, sizes = 2 * int(rng.integers(0, 9)), 2 * rng.integers(0, 25, int(rng.integers(3, 9)))
    sizes[0], sizes[-1] = 2 * int(rng.integers(1, 5)), 0
    count, tokens = int(sizes.sum()), make is sentences
    x = (
        rng.integers(0, 11, (count, *shape))
        if tokens
        else rng.standard_normal((count, *shape)).astype(np.float32)
    )
    y = rng.integers(0, 5, (count, *(shape if tokens else ())))
    held = Stored(rng.permutation(count), np.concatenate([[0], np.cumsum(sizes)]))
    return SupervisedWorkload(Examples(x, y, x, y, held), module, batch, own_models=own)


class Play:
    """The same work for any clients: a gradient, then local training."""

    def __init__(self, work: SupervisedWorkload, rng: np.random.Generator) -> None:
        self._work, self.clients = work, work.clients
        self._given = {name: self._rows(rng) for name in ("x", "shift", "control", "mask")}
        self._given["x"] = work.start.x + self._given["x"]
        self._given["mask"] = (self._given["mask"] > 0).float()
        for name in ("shift", "control", "mask"):
            if rng.integers(3):
                del self._given[name]
        self._options: dict[str, Any] = {"lr": 0.05}
        for name, value in (("momentum", 0.9), ("weight_decay", 0.1), ("prox", 0.3)):
            if rng.integers(2):
                self._options[name] = value
        self._options |= (
            {"epochs": int(rng.integers(1, 3))} if rng.integers(2) else {"steps": int(rng.integers(1, 20))}
        )

    def _rows(self, rng: np.random.Generator) -> Tensor:
        """One row for all clients, or each its own."""
        rows = self._work.clients if rng.integers(2) else 1
        return torch.from_numpy(
            0.1 * rng.standard_normal((rows, self._work.start.x.numel())).astype(np.float32)
        )

    def _task(self, ids: list[int]) -> SupervisedTask:
        return self._work.task(torch.tensor(ids), SEED, ROUND, self._work.start.buffers[None])

    def gradient(self, ids: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        x, task = self._given["x"], self._task(ids)
        return task.grad(x if len(x) == 1 else x[ids], 2), task.train_loss, task.buffers

    def training(self, ids: list[int]) -> Trained:
        given = {name: value if len(value) == 1 else value[ids] for name, value in self._given.items()}
        return self._task(ids).sgd(**given, **self._options)


# The last ones have biases summed over windows of unequal length, and a shift that is one number.
@pytest.mark.parametrize("case", [*range(40), 165, 1260])
@pytest.mark.parametrize("make", [dense, convolutions, sentences])
def test_a_client_has_the_same_bits_alone_and_in_any_block(
    make: Callable[[np.random.Generator], Made], case: int
):
    rng = np.random.default_rng(case)
    work = workload(make, rng, case, own=case % 2 == 1)
    assert work.notes == []
    assert_the_same_in_any_company(Play(work, rng), rng)


def wide(rng: np.random.Generator) -> Made:
    """Layers whose products are calls of their own, and others whose are not."""
    del rng
    return models.build("mlp", (1, 28, 28), 5, 0, hidden=(200, 200)), (1, 28, 28)


@pytest.mark.parametrize("case", range(4))
def test_clients_with_models_of_their_own_have_the_same_bits_in_any_block(case: int):
    rng = np.random.default_rng(case)
    assert_the_same_in_any_company(Play(workload(wide, rng, case, own=True), rng), rng)


@pytest.mark.parametrize("make", [dense, wide])
def test_models_of_ones_own_that_are_alike_may_be_one_row(make: Callable[[np.random.Generator], Made]):
    rng = np.random.default_rng(5)
    work = workload(make, rng, 5, own=True)
    ids, x = torch.arange(work.clients), work.start.x[None]
    found, expected = (
        work.task(ids, SEED, ROUND, work.start.buffers[None]).sgd(start, lr=0.05, steps=3)
        for start in (x, x.repeat(work.clients, 1))
    )
    assert found.x.equal(expected.x)


def assert_the_same_in_any_company(play: Play, rng: np.random.Generator) -> None:
    everyone = list(range(play.clients))
    gradient, trained = play.gradient(everyone), play.training(everyone)
    for ids in ([i] for i in everyone):
        assert_same(play, ids, gradient, trained)
    assert_same(play, everyone[::-1], gradient, trained)
    assert_same(play, rng.choice(play.clients, 2, replace=False).tolist(), gradient, trained)


def assert_same(play: Play, ids: list[int], gradient: tuple[Tensor, ...], trained: Trained) -> None:
    for part, of_all in zip(play.gradient(ids), gradient, strict=True):
        assert part.equal(of_all[ids])
    found = play.training(ids)
    for name in ("steps", "loss", "buffers", "x", "change", "mean_grad"):
        assert getattr(found, name).equal(getattr(trained, name)[ids]), name
