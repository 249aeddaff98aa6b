"""A user's module is taken apart into batched steps and does what it did; where it cannot be, a note says so."""

import copy
import re
import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from cohort_cases import BATCH, batch_of, examples
from torch import Tensor, nn
from torch.nn import functional

from fedsparse import models
from fedsparse.cohort.batched import Batched
from fedsparse.cohort.supervised import SupervisedWorkload
from fedsparse.cohort.tracing import traced
from fedsparse.errors import ConfigError

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
        first = torch.addmm(torch.ones(4), rows[0][:, 0, :9], self.turned)
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


def train(
    module: nn.Module, work: SupervisedWorkload, client: int, steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Plain PyTorch: parameters after SGD with momentum, the first gradient, statistics."""
    module = copy.deepcopy(module).train()
    trained = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(trained, lr=0.1, momentum=0.5)
    first = torch.zeros(0)
    for step in range(steps):
        inputs, targets = batch_of(work, client, step)
        optimiser.zero_grad()
        functional.cross_entropy(module(inputs.clone()), targets).backward()
        if step == 0:
            first = torch.cat(
                [torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in trained]
            )
        optimiser.step()
    statistics = [b.flatten() for b in module.buffers() if b.is_floating_point()]
    return nn.utils.parameters_to_vector(trained).detach(), first, torch.cat([*statistics, torch.zeros(0)])


@pytest.mark.parametrize("name", EVERY)
def test_gradients_and_training_are_those_of_the_module_itself(name: str):
    module, work = build(name)
    task = work.task(torch.arange(len(SIZES)), 3, 2, work.start.buffers[None])
    gradients = task.grad(work.start.x[None])
    task = work.task(torch.arange(len(SIZES)), 3, 2, work.start.buffers[None])
    trained = task.sgd(work.start.x[None], lr=0.1, steps=2, momentum=0.5)
    for client in np.flatnonzero(SIZES):
        x, gradient, statistics = train(module, work, int(client), 2)
        torch.testing.assert_close(gradients[client], gradient, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(trained.x[client], x, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(trained.buffers[client], statistics, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_evaluation_is_that_of_the_module_itself(name: str):
    module, work = build(name)
    x = torch.from_numpy(work.examples.x[:6])
    statistics = work.start.buffers.expand(2, -1)
    found = work.model.outputs(work.start.x.expand(2, -1), statistics, x.view(2, 3, *x.shape[1:]))
    for part, rows in zip(found, x.split(3), strict=True):
        torch.testing.assert_close(part, module.eval()(rows.clone()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_a_client_trains_to_the_same_bits_alone_and_in_a_block(name: str):
    _, work = build(name)
    starts = work.start.buffers[None]
    whole = work.task(torch.arange(len(SIZES)), 3, 2, starts).sgd(
        work.start.x[None], lr=0.1, steps=3, momentum=0.5
    )
    for client in range(len(SIZES)):
        own = work.task(torch.tensor([client]), 3, 2, starts).sgd(
            work.start.x[None], lr=0.1, steps=3, momentum=0.5
        )
        assert own.x[0].equal(whole.x[client])
        assert own.buffers[0].equal(whole.buffers[client])


@pytest.mark.parametrize("name", BATCHED)
def test_nothing_goes_one_client_at_a_time(name: str):
    assert build(name)[1].notes == []


@pytest.mark.parametrize("name", AS_ONE)
def test_a_note_names_what_goes_one_client_at_a_time_and_why(name: str):
    assert build(name)[1].notes == [f"model: clients go one at a time through {AS_ONE[name][2]}"]


def test_mixing_is_found_out_where_all_examples_are_alike_and_weights_are_zero():
    module = Mixing()
    nn.init.zeros_(module.head.weight)
    nn.init.zeros_(module.head.bias)
    assert len(Batched(module, torch.zeros(6, 6)).notes) == 1


def test_a_maximum_goes_before_the_relu_with_the_same_values_and_gradients():
    module = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.ReLU(), nn.MaxPool2d(2))
    program = traced(module)
    assert [type(step.module).__name__ for step in program.steps] == [
        "Conv2d", "MaxPool2d", "ReLU", "MaxPool2d", "ReLU",
    ]  # fmt: skip
    model = Batched(module, torch.zeros(2, 1, 10, 10))
    inputs = torch.randn(1, 4, 1, 10, 10)
    x = model.start.x[None].clone().requires_grad_()
    out = model.outputs(x, model.start.buffers[None], inputs, [0])
    out.square().sum().backward()
    expected = module(inputs[0])
    expected.square().sum().backward()
    torch.testing.assert_close(out[0], expected)
    assert x.grad is not None
    torch.testing.assert_close(x.grad[0], torch.cat([p.grad.flatten() for p in module.parameters()]))


def test_noise_from_the_global_generator_is_refused_with_the_way_out():
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x) * torch.rand(3) if self.training else self.head(x)

    with pytest.raises(
        ConfigError, match=re.escape("use dropout, as layers or functions, which gets keyed streams")
    ):
        SupervisedWorkload(examples(FLAT, SIZES), Noisy(), BATCH)


class NormedByMode(nn.Module):
    """Cannot be traced, and has statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.BatchNorm1d(6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(x) if self.training else 2 * self.norm(x))


def test_statistics_of_inputs_alone_are_found_in_a_forward_that_cannot_be_traced():
    x = torch.randn(1, 5, 6)
    model = Batched(NormedByMode(), x[0])
    _, found = model.calibrated(model.start.x[None], model.start.buffers[None], x, torch.tensor([5]), [0])
    assert model.notes == []
    torch.testing.assert_close(found[0], torch.cat([x[0].mean(0), x[0].var(0)]))


SHIPPED: dict[str, tuple[str, tuple[int, ...], dict[str, object]]] = {
    "linear": ("linear", (4,), {}),
    "mlp": ("mlp", (1, 4, 4), {"hidden": (5, 4)}),
    "lenet5": ("lenet5", (1, 12, 12), {}),
    "cnn": ("cnn", (1, 8, 8), {"width": 2, "hidden": 4}),
    "resnet, group": ("resnet", (3, 8, 8), {"width": 4}),
    "resnet, batch": ("resnet", (3, 8, 8), {"width": 4, "norm": "batch", "depth": 2}),
    "charmodel, gru": ("charmodel", (5,), {"hidden": 4}),
    "charmodel, lstm": ("charmodel", (5,), {"hidden": 4, "cell": "lstm", "layers": 2}),
    "transformer": ("transformer", (5,), {"width": 8, "layers": 1}),
    "vit": ("vit", (3, 4, 4), {"width": 8, "layers": 1}),
    "lora, text": ("lora", (5,), {"base": "transformer", "targets": "linear"}),
    "lora, images": ("lora", (1, 4, 4), {"base": "vit", "dropout": 0.1}),
}


def test_every_model_that_comes_along_is_looked_at():
    assert {name for name, _, _ in SHIPPED.values()} == set(models.names()) - {
        "saved"
    }  # which is one of the others


@pytest.mark.parametrize("case", SHIPPED)
def test_the_models_that_come_along_go_with_all_clients_at_once(case: str):
    name, shape, options = SHIPPED[case]
    module = models.build(name, shape, 3, seed=0, **options)
    inputs = torch.randint(3, (2, *shape)) if len(shape) == 1 and name != "linear" else torch.randn(2, *shape)
    model = Batched(module, inputs)
    assert model.notes == []
    assert all(not step.alone for step in model.program.steps)


def test_modules_that_run_while_another_thread_traces_are_left_alone() -> None:
    started, done = threading.Event(), threading.Event()

    class Waits(nn.Sequential):
        """Its forward is in the middle of being traced until told."""

        def forward(self, x: Tensor) -> Tensor:
            started.set()
            assert done.wait(60)
            return super().forward(x)

    other, x = nn.Sequential(nn.Linear(3, 2), nn.ReLU()), torch.randn(4, 3)
    expected = other(x)
    tracing = threading.Thread(target=traced, args=[Waits(nn.Linear(3, 2), nn.Tanh())])
    tracing.start()
    try:
        assert started.wait(60)
        found = other(x)
    finally:
        done.set()
        tracing.join()
    assert found.equal(expected)
