"""A user's module is taken apart into batched steps and does what it did; where it cannot be, a note says so."""

import copy
import re
import threading

import numpy as np
import pytest
import torch
from cohort_cases import BATCH, batch_of, examples
from torch import Tensor, nn
from torch.nn import functional
from tracing_cases import AS_ONE, BATCHED, EVERY, FLAT, SIZES, Mixing, build

from fedsparse import models
from fedsparse.cohort.batched import Batched
from fedsparse.cohort.supervised import SupervisedWorkload
from fedsparse.cohort.tracing import traced
from fedsparse.errors import ConfigError


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
