"""Arithmetic and memory by formulas, checked by hand."""

import pytest
import torch
from torch import nn

from fedsparse import models
from fedsparse.cohort.batched import Batched
from fedsparse.masks import Cost, device_bytes, forward_flops, layers_of
from fedsparse.protocol import Layout


class Done:
    """A task after it trained on 40 and 64 examples."""

    def __init__(self, layout: Layout) -> None:
        self.layout, self.examples = layout, torch.tensor([40, 64])


@pytest.fixture(scope="module")
def lenet() -> Layout:
    return Batched(models.build("lenet5", (1, 28, 28), 10, seed=0), torch.zeros(2, 1, 28, 28)).layout


def test_a_weight_is_multiplied_at_every_position(lenet: Layout):
    """LeNet-5 on 28x28: convolutions give 28x28 and 10x10 positions, linear layers one."""
    found = {field.name: field.positions for field in lenet if field.prunable}
    assert list(found.values()) == [784, 100, 1, 1, 1]


def test_the_dense_forward_pass_has_twice_the_multiplications(lenet: Layout):
    """C_in k² C_out H W and in x out: 117600 + 240000 + 48000 + 10080 + 840."""
    mask = torch.ones(1, lenet.size, dtype=torch.bool)
    assert forward_flops(lenet, mask).tolist() == [2 * (117600 + 240000 + 48000 + 10080 + 840)]


def test_operations_are_those_of_the_weights_that_are_there(lenet: Layout):
    mask = torch.zeros(2, lenet.size, dtype=torch.bool)
    mask[0, lenet["conv2.weight"].start] = mask[1, lenet["fc1.weight"].start] = True
    mask[1, lenet["conv1.bias"].slice] = True
    assert forward_flops(lenet, mask).tolist() == [200, 2]


def test_a_layer_that_is_used_twice_counts_twice():
    shared = nn.Linear(6, 6)
    layout = Batched(nn.Sequential(shared, nn.ReLU(), nn.Linear(6, 2)), torch.zeros(2, 6)).layout
    assert [field.positions for field in layout if field.prunable] == [1, 1]
    rows = Batched(nn.Sequential(nn.Linear(6, 3)), torch.zeros(2, 5, 6)).layout
    assert rows["0.weight"].positions == 5


def test_training_is_three_forward_passes_for_each_example(lenet: Layout):
    mask = torch.ones(1, lenet.size, dtype=torch.bool)
    cost = Cost.of(Done(lenet), mask, torch.tensor([[4.0], [8.0]]))
    assert cost.flops.tolist() == [3 * n * float(forward_flops(lenet, mask)) for n in (40, 64)]


def test_memory_is_weights_gradients_and_a_minibatch_of_activations(lenet: Layout):
    mask = torch.zeros(1, lenet.size, dtype=torch.bool)
    mask[0, :1000] = True
    for momentum, each in ((0.0, 2), (0.9, 3)):
        cost = Cost.of(Done(lenet), mask, torch.tensor([[4.0], [8.0]]), momentum)
        expected = [4 * (each * 1000 + 10 * lenet.activations), 4 * (each * 1000 + 8 * lenet.activations)]
        assert cost.bytes.tolist() == expected


def test_numbers_of_eight_bytes_take_twice_the_memory(lenet: Layout):
    mask = torch.ones(1, lenet.size, dtype=torch.bool)
    short, long = (
        device_bytes(lenet, mask, torch.tensor([1.0]), itemsize=size, velocity=False) for size in (4, 8)
    )
    assert long.equal(2 * short)


def test_a_gradient_costs_a_dense_product_in_its_layers_only(lenet: Layout):
    """Forward and the activations' gradient on the mask, and fc1's weights: 2 * 48000 for each of 16 examples."""
    mask = torch.zeros(1, lenet.size, dtype=torch.bool)
    mask[0, lenet["conv2.weight"].slice] = True
    layers = [layer for layer in layers_of(lenet) if layer.name == "fc1.weight"]
    plain = Cost(torch.zeros(1).double(), torch.zeros(1).double())
    cost = plain.with_gradient(lenet, mask, layers, torch.tensor([16]), 800)
    assert cost.flops.tolist() == [16 * (2 * 2 * 240000 + 2 * 48000)]
    assert cost.bytes.tolist() == [800]
