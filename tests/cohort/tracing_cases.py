"""Modules of a user's own, and what becomes of each: taken apart, run as it is, or one client after the other."""

from collections.abc import Callable

import torch
from cohort_cases import BATCH, examples
from torch import Tensor, nn
from torch.nn import functional

from fedsparse.cohort.supervised import SupervisedWorkload

SIZES = [8, 20, 0, 12, 6]


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.norm = nn.GroupNorm(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.norm(self.conv(x)))


class InPlace(nn.Module):
    """Adds to a tensor in place, as many residual networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv(x)
        out += x
        return self.relu(out)


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 2, 3), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.conv(x), inplace=True), 2, stride=1)
        x = torch.tanh(functional.avg_pool2d(x, 2, stride=1, padding=1)[:, :, 1:, 1:])
        return self.head(x.view(x.size(0), -1))


class Means(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.sigmoid(self.conv(x))
        return self.head(torch.cat([x.mean((2, 3)), torch.amax(x, (2, 3)), x.flatten(2).sum(-1)], dim=1))


class Sequence(nn.Module):
    """Makes use of both results of a recurrent layer."""

    def __init__(self, cell: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.cell = cell(3, 5, num_layers=2, batch_first=True)
        self.head = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        out, states = self.cell(x.view(-1, 2, 3))
        last = states[0][-1] if isinstance(self.cell, nn.LSTM) else states[-1]
        return self.head(torch.cat((out[:, -1, :], last), 1))


class Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix, self.norm, self.head = (
            nn.MultiheadAttention(2, 2, batch_first=True),
            nn.LayerNorm(2),
            nn.Linear(6, 3),
        )
        self.register_buffer("mask", torch.ones(3, 3).triu(1) > 0)

    def forward(self, x: Tensor) -> Tensor:
        x = x.reshape(x.shape[0], 3, 2)
        mixed, _ = self.mix(x, x, x, attn_mask=self.mask, need_weights=False)
        return self.head(self.norm(x + mixed).flatten(1))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(torch.relu(self.inner(x))))


class Unused(nn.Module):
    """Goes on after what it gives back."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.other = nn.Linear(6, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        out = self.head(x)
        self.other(out)
        return out


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(torch.relu(self.first(x))))


class Branching(nn.Module):
    """Asks for values."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        out = self.head(x)
        return 2 * out if out.sum() > 0 else out


class Training(nn.Module):
    """Has another forward in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x if self.training else x / 2)


class Untraceable(nn.Module):
    """Goes through a tensor by hand; has frozen weights by hand, dropout of nothing, and products of activations."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(9, 12), nn.Linear(4, 3)
        self.filters = nn.Parameter(torch.randn(2, 1, 3, 3), requires_grad=False)
        self.turned = nn.Parameter(torch.randn(9, 4), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        rows = [functional.conv2d(part, self.filters).flatten(2) for part in x.split(1, dim=1)]
        rows = [self.inner(part) for part in rows]
        q, k, v = rows[0].chunk(3, dim=-1)
        mixed = torch.matmul(functional.softmax(q @ k.mT, dim=-1), v)
        first = torch.addmm(torch.ones(4, device=x.device), rows[0][:, 0, :9], self.turned)
        seen = functional.scaled_dot_product_attention(mixed[:, None], v[:, None], v[:, None], is_causal=True)
        return self.head(
            functional.gelu(mixed.mean(1) + first.pow(2) + functional.dropout(seen, 0.0).amax((1, 2)))
        )


class Summed(nn.Module):
    """Calls a function that is not known to keep examples apart."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.cumsum(1))


class Mixing(nn.Module):
    """Normalises by the batch, by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x - x.mean(0))


class FirstExample(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + x[0])


class Overwriting(nn.Module):
    """Uses what a layer has changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.relu, self.head = nn.Linear(6, 6), nn.ReLU(inplace=True), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        self.relu(x)
        return self.head(x)


class ByHand(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale, self.head = nn.Parameter(torch.tensor([2.0])), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.scale * x)


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.both, self.head = nn.Bilinear(3, 3, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.both(x[:, :3], x[:, 3:])))


class PooledTwice(nn.Module):
    """Needs what is before the maximum as well."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.pool, self.head = nn.ReLU(), nn.MaxPool2d(5), nn.Linear(26, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(x)
        return self.head(torch.cat([x.flatten(1), self.pool(x).flatten(1)], 1))


def frozen() -> nn.Module:
    module = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    module[0].weight.requires_grad_(False)
    return module


def head(*layers: nn.Module, width: int) -> nn.Module:
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width, 3))


IMAGE, FLAT = (1, 5, 5), (6,)

BATCHED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "nested": (
        lambda: nn.Sequential(nn.Sequential(nn.Linear(6, 4), nn.Sequential(nn.Tanh())), nn.Linear(4, 3)),
        FLAT,
    ),
    "residual": (lambda: head(nn.Conv2d(1, 2, 3), Residual(), Residual(), width=18), IMAGE),
    "in place": (lambda: head(nn.Conv2d(1, 2, 3), InPlace(), nn.MaxPool2d(2), width=2), IMAGE),
    "functional": (Functional, IMAGE),
    "means": (Means, IMAGE),
    "lstm": (lambda: Sequence(nn.LSTM), FLAT),
    "gru": (lambda: Sequence(nn.GRU), FLAT),
    "attention": (Attentive, FLAT),
    "used twice": (Twice, FLAT),
    "unused": (Unused, FLAT),
    "training": (Training, FLAT),
    "untraceable": (Untraceable, IMAGE),
    "frozen": (frozen, FLAT),
    "pooled twice": (PooledTwice, IMAGE),
    "batch norm": (
        lambda: head(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), width=2),
        IMAGE,
    ),
    "local batch norm": (
        lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 3)),
        FLAT,
    ),
}
"""Modules that are taken apart to the last layer."""

AS_ONE: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "tied": (Tied, FLAT, "the model (its layers share parameters)"),
    "branching": (Branching, FLAT, "the model (Branching has no batched form)"),
    "by hand": (ByHand, FLAT, "the model (ByHand has no batched form)"),
    "unknown": (Summed, FLAT, "the model (Summed has no batched form)"),
    "mixing": (Mixing, FLAT, "the model (its forward mixes examples, or depends on their number)"),
    "first example": (
        FirstExample,
        FLAT,
        "the model (its forward mixes examples, or depends on their number)",
    ),
    "overwriting": (Overwriting, FLAT, "the model (its forward mixes examples, or depends on their number)"),
    "bilinear": (Pair, FLAT, "both (Bilinear has no batched form)"),
    "transposed": (
        lambda: head(nn.ConvTranspose2d(1, 2, 2), width=72),
        IMAGE,
        "0 (ConvTranspose2d has no batched form)",
    ),
    "bare": (
        lambda: nn.Linear(6, 3),
        FLAT,
        "the model (it is a single layer; nn.Sequential around it helps)",
    ),
    "inner": (
        lambda: nn.Sequential(nn.Linear(6, 6), Branching()),
        FLAT,
        "1 (Branching has no batched form)",
    ),
}
"""Modules with something that goes through one client after the other, and how the note names it."""

EVERY = {**BATCHED, **{name: case[:2] for name, case in AS_ONE.items()}}


def build(name: str) -> tuple[nn.Module, SupervisedWorkload]:
    make, shape = EVERY[name]
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(5)
        module = make()
    return module, SupervisedWorkload(examples(shape, SIZES), module, BATCH)
