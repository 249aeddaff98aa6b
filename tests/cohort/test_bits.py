"""A client's gradient has the same bits alone and at any place of a block, whatever the shapes."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedsparse.cohort.looped import Looped, layouts
from fedsparse.cohort.stacked import Stacked, chain

AWKWARD = (1, 2, 3, 5, 7, 13, 16, 43, 60, 64, 100, 257)


def chain_of(rng: np.random.Generator) -> tuple[nn.Module, tuple[int, ...]]:
    n, hidden = rng.choice(AWKWARD), int(rng.integers(1, 130))
    layers = nn.Sequential(
        nn.Flatten(), nn.Linear(n, hidden, bias=bool(rng.integers(2))), nn.ReLU(), nn.Linear(hidden, 5)
    )
    return layers, (int(n),)


def convolutions(rng: np.random.Generator) -> tuple[nn.Module, tuple[int, ...]]:
    width, side = int(rng.integers(1, 9)), int(rng.integers(5, 12))
    norm = nn.GroupNorm(1, width) if rng.integers(2) else nn.BatchNorm2d(width)
    layers = nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), norm, nn.MaxPool2d(2), nn.SiLU(), nn.Flatten(),
        nn.Linear(width * (side // 2) ** 2, 5),
    )  # fmt: skip
    return layers, (1, side, side)


def gradients(
    module: nn.Module, y: Tensor, stats: Tensor, x: Tensor, targets: Tensor, counts: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    layout, buffers = layouts(module)
    layers = chain(module)
    form = Stacked(layers, layout) if layers else Looped(module, layout, buffers)
    out, stats = torch.empty_like(y), stats.clone()
    loss = form.gradient(y, stats, x, targets, counts, out, [0] * len(y))
    return out, loss, stats


@pytest.mark.parametrize("make", [chain_of, convolutions])
@pytest.mark.parametrize("case", range(60))
def test_a_client_has_the_same_bits_alone_and_in_a_block(make, case: int) -> None:
    rng = np.random.default_rng(case)
    module, shape = make(rng)
    layout, buffers = layouts(module)
    clients, batch = int(rng.integers(2, 12)), int(rng.integers(2, 40))
    y = torch.from_numpy(rng.standard_normal((clients, layout.size)).astype(np.float32))
    stats = torch.from_numpy(rng.random((clients, buffers.size)).astype(np.float32))
    x = torch.from_numpy(rng.standard_normal((clients, batch, *shape)).astype(np.float32))
    targets = torch.from_numpy(rng.integers(0, 5, (clients, batch)))
    counts = torch.from_numpy(rng.integers(2, batch + 1, clients))
    block = gradients(module, y, stats, x, targets, counts)
    for i in range(clients):
        part = slice(i, i + 1)
        own = [t[part].clone() for t in (y, stats, x, targets, counts)]
        for of_block, alone in zip(block, gradients(module, *own), strict=True):
            assert torch.equal(of_block[part], alone)
