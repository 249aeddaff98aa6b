"""The gating layer is that of PyTorch's own layers."""

import numpy as np
import pytest
import torch
from torch import nn

from fedsparse.masks import Gate

GATE = Gate((2, 4, 4), 6)


def start() -> tuple[torch.Tensor, torch.Tensor]:
    x, statistics = GATE.start(np.random.default_rng(0))
    noise = torch.from_numpy(np.random.default_rng(1).normal(0, 0.3, tuple(x.shape))).float()
    return x + noise, statistics


def reference(x: torch.Tensor, norm: nn.BatchNorm1d, images: torch.Tensor) -> torch.Tensor:
    """Of one client in training mode; switchable normalisation as its paper has it."""
    own = GATE.parameters.split(x)
    flat = images.flatten(2)
    kinds = []
    variance, mean = torch.var_mean(
        flat, 2
    )  # of each example and channel; unbiased, as in the published code
    kinds.append((mean, variance))
    square = variance + mean**2
    kinds.append(
        tuple(v.expand_as(mean) for v in (mean.mean(1, True), square.mean(1, True) - mean.mean(1, True) ** 2))
    )
    kinds.append(
        tuple(v.expand_as(mean) for v in (mean.mean(0, True), square.mean(0, True) - mean.mean(0, True) ** 2))
    )
    a, b = own["mean_mix"].softmax(0), own["variance_mix"].softmax(0)
    centre = sum(w * kind[0] for w, kind in zip(a, kinds, strict=True))
    spread = sum(w * kind[1] for w, kind in zip(b, kinds, strict=True))
    h = (flat - centre[..., None]) / (spread[..., None] + 1e-5).sqrt()
    h = h * own["scale"][:, None] + own["shift"][:, None]
    z = norm(nn.functional.linear(h.flatten(1), own["weight"], own["bias"]))
    return torch.sigmoid(z * own["norm_scale"] + own["norm_shift"]).mean(0)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(2).normal(1, 2, (3, 8, 2, 4, 4))).float()


def test_values_gradients_and_statistics_are_those_of_pytorch(images):
    x, statistics = start()
    leaf, other = x.clone().requires_grad_(), x[0].clone().requires_grad_()
    norm = nn.BatchNorm1d(6, affine=False)
    ours, moved = GATE(leaf, statistics, images[:1], torch.tensor([8]), train=True)
    theirs = reference(other, norm, images[0])
    torch.testing.assert_close(ours[0], theirs)
    weights = torch.arange(6.0)
    (ours[0] @ weights).backward()
    (theirs @ weights).backward()
    torch.testing.assert_close(leaf.grad[0], other.grad)
    running = GATE.statistics.split(moved)
    torch.testing.assert_close(running["norm_mean"][0], norm.running_mean)
    torch.testing.assert_close(running["norm_variance"][0], norm.running_var)


def test_padding_and_other_clients_change_no_bit(images):
    x, statistics = start()
    padded = torch.cat([images, 100 * torch.ones(3, 2, 2, 4, 4)], 1)
    together, _ = GATE(x.expand(3, -1), statistics.expand(3, -1), padded, torch.tensor([8, 5, 8]), train=True)
    alone, _ = GATE(x, statistics, images[1:2, :5], torch.tensor([5]), train=True)
    assert together[1].equal(alone[0])


def test_in_evaluation_mode_the_running_statistics_count_and_stay(images):
    x, statistics = start()
    for _ in range(200):
        _, statistics = GATE(x, statistics, images[:1], torch.tensor([8]), train=True)
    values, after = GATE(x, statistics, images[:1], torch.tensor([8]), train=False)
    trained, _ = GATE(x, statistics, images[:1], torch.tensor([8]), train=True)
    assert after.equal(statistics)
    torch.testing.assert_close(values, trained, rtol=0, atol=0.02)  # but for n / (n - 1) in the variance


def test_whoever_has_no_examples_leaves_the_statistics_alone(images):
    x, statistics = start()
    _, moved = GATE(x, statistics, images[:1], torch.tensor([0]), train=True)
    assert moved.equal(statistics)


def test_without_inputs_a_gate_is_its_shift():
    gate = Gate((0,), 3)
    x, statistics = gate.start(np.random.default_rng(0))
    gate.parameters.split(x)["norm_shift"].copy_(torch.tensor([[0.0, 1.0, -1.0]]))
    values, _ = gate(x, statistics, torch.zeros(1, 1, 0), torch.tensor([1]), train=True)
    torch.testing.assert_close(values[0], torch.tensor([0.0, 1.0, -1.0]).sigmoid())
