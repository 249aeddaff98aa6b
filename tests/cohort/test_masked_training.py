"""Local training on a mask: what is not there has neither a value nor a velocity, and the rest is PyTorch's."""

import copy

import pytest
import torch
from torch import nn

from fedsparse import data, models
from fedsparse.cohort.examples import Examples
from fedsparse.cohort.rule import Rule
from fedsparse.cohort.supervised import SupervisedTask, SupervisedWorkload
from fedsparse.data.partition import partition


def test_the_velocity_of_what_is_masked_stays_exactly_zero() -> None:
    rule = Rule(0.1, momentum=0.9, weight_decay=0.1, prox=0.5)
    mask = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    centre = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    y, velocity = centre * mask, torch.zeros(1, 4)
    for step in range(5):
        rule.move(y, torch.full((1, 4), 1.0 + step), velocity, None, centre, [(1.0, torch.ones(1, 4))], mask)
    assert y[0, [1, 3]].tolist() == velocity[0, [1, 3]].tolist() == [0, 0]
    assert (velocity[0, [0, 2]] != 0).all()


def built(name: str, shape: tuple[int, ...]) -> nn.Module:
    """Wide is a perceptron with a layer whose product of a client is a call of its own."""
    options = {"hidden": (500, 500)} if name == "wide" else {}
    return models.build("mlp" if name == "wide" else name, shape, 10, seed=0, **options)


@pytest.fixture(scope="module", params=["mlp", "lenet5", "wide"])
def workload(request: pytest.FixtureRequest) -> SupervisedWorkload:
    found = data.load("digits")
    assert isinstance(found, data.Dataset)
    if request.param == "lenet5":
        x = torch.rand(60, 1, 16, 16, generator=torch.Generator().manual_seed(0)).numpy()
        y = torch.arange(60).numpy() % 10
        found = data.Dataset("images", x, y, x[:5], y[:5], classes=10)
    held = partition("iid", found, 3, seed=0)
    model = built(request.param, found.example_shape)
    return SupervisedWorkload(Examples.of(found, held), model, batch=10)


def masks(size: int) -> torch.Tensor:
    return (torch.rand(3, size, generator=torch.Generator().manual_seed(1)) < 0.3).float()


def task(workload: SupervisedWorkload) -> SupervisedTask:
    return workload.task(torch.arange(3), 0, 0, workload.start.buffers[None])


def test_each_client_may_have_a_mask_of_its_own_and_trains_as_pytorch_does(
    workload: SupervisedWorkload,
) -> None:
    start, mask = workload.start, masks(workload.start.x.numel())
    ours = task(workload).sgd(start.x[None], lr=0.05, steps=4, momentum=0.9, weight_decay=0.01, mask=mask)
    source = task(workload)
    for client in range(3):
        x, velocity, total = start.x * mask[client], torch.zeros_like(start.x), 0
        for step in range(4):
            gradient = source.grad(x.expand(3, -1), step)[client]
            total = total + gradient
            velocity = 0.9 * velocity + mask[client] * (gradient + 0.01 * x)
            x = x - 0.05 * velocity
        torch.testing.assert_close(ours.x[client], x, rtol=1e-4, atol=1e-6)
        assert (ours.x[client][mask[client] == 0] == 0).all()
        torch.testing.assert_close(ours.change[client], x - start.x, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(ours.mean_grad[client], total / 4, rtol=1e-4, atol=1e-6)


def test_on_a_mask_a_client_has_the_same_bits_in_any_company(workload: SupervisedWorkload) -> None:
    """Also where it takes other numbers of steps than they do."""
    x, mask = workload.start.x[None], masks(workload.start.x.numel())
    options = {"lr": 0.05, "epochs": 1, "momentum": 0.9, "prox": 0.1}
    together = task(workload).sgd(x, mask=mask, **options)
    for client in range(3):
        alone = workload.task(torch.tensor([client]), 0, 0, workload.start.buffers[None])
        found = alone.sgd(x, mask=mask[client : client + 1], **options)
        for name in ("x", "change", "mean_grad"):
            assert (
                getattr(found, name)[0].numpy().tobytes() == getattr(together, name)[client].numpy().tobytes()
            )


@pytest.mark.parametrize("steps", [2, 9])
def test_mean_gradients_on_a_mask_are_those_of_the_minibatches_in_long_trainings_too(
    workload: SupervisedWorkload, steps: int
) -> None:
    """Without a step size all gradients are at one point, on the mask."""
    x, mask = workload.start.x[None], masks(workload.start.x.numel())[:1]
    found = task(workload).sgd(x, lr=0.0, steps=steps, mask=mask)
    source = task(workload)
    mean = sum(source.grad(x * mask, step) for step in range(steps)) / steps
    torch.testing.assert_close(found.mean_grad, mean, rtol=1e-4, atol=1e-6)


def test_a_mask_of_ones_is_none_but_for_rounding(workload: SupervisedWorkload) -> None:
    x = workload.start.x[None]
    plain = task(workload).sgd(x, lr=0.05, steps=4)
    masked = task(workload).sgd(x, lr=0.05, steps=4, mask=torch.ones_like(x))
    torch.testing.assert_close(plain.x, masked.x, rtol=1e-4, atol=1e-6)


def test_steps_from_a_number_on_take_the_minibatches_of_these_numbers(workload: SupervisedWorkload) -> None:
    x = workload.start.x[None]
    whole = task(workload).sgd(x, lr=0.05, steps=4)
    early = task(workload).sgd(x, lr=0.05, steps=1)
    late = task(workload).sgd(early.x, lr=0.05, steps=3, first=1)
    torch.testing.assert_close(whole.x, late.x, rtol=1e-4, atol=1e-6)


def test_accuracy_and_loss_are_those_of_the_module(workload: SupervisedWorkload) -> None:
    ours, examples = task(workload), workload.examples
    module = copy.deepcopy(_module(workload)).eval()
    for client in range(3):
        at = examples.own(client)
        with torch.no_grad():
            out = module(examples.inputs(examples.x, at))
        y = torch.from_numpy(examples.y[at]).long()
        x = workload.start.x[None]
        assert float(ours.accuracy(x)[client]) == pytest.approx(
            float((out.argmax(1) == y).float().mean()), abs=1e-6
        )
        assert float(ours.loss(x)[client]) == pytest.approx(
            float(nn.functional.cross_entropy(out, y)), rel=1e-5
        )


def _module(workload: SupervisedWorkload) -> nn.Module:
    wide = workload.start.layout.size > 250_000
    name = (
        "lenet5" if "conv1.weight" in {f.name for f in workload.start.layout} else "wide" if wide else "mlp"
    )
    return built(name, workload.examples.x.shape[1:])


def test_the_loss_of_a_minibatch_is_that_of_its_examples(workload: SupervisedWorkload) -> None:
    ours = task(workload)
    inputs, counts = ours.inputs(2)
    assert counts.tolist() == [10, 10, 10]
    x = workload.start.x[None]
    parts = torch.stack([ours.loss(x, step=step) for step in range(2)])
    assert not torch.allclose(parts[0], parts[1])
    assert inputs.shape[:2] == (3, 10)
