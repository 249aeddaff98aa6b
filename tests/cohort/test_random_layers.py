"""Dropout draws from keyed streams: the same mask at two points, another one for each step, round and client."""

from typing import Any

import pytest
import torch
from cohort_cases import SEED, examples
from torch import Tensor, nn

from fedsparse.cohort.layers.dropout import KeyedFunctions
from fedsparse.cohort.supervised import SupervisedWorkload
from fedsparse.errors import ConfigError
from fedsparse.protocol import Strategy

SAME = examples(sizes=[8, 8])


class Block(nn.Module):
    """A layer that keeps its dropout under the usual name."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(x)


class ByFunctions(nn.Module):
    """Attention that drops weights by a function, beside a layer that says how many: as models of other libraries."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        heads, share = x.view(len(x), 2, 4, 5), self.dropout.p if self.training else 0.0
        mixed = nn.functional.scaled_dot_product_attention(heads, heads, heads, dropout_p=share)
        return nn.functional.dropout(mixed.flatten(1), 0.5, self.training)


def net(*middle: nn.Module) -> SupervisedWorkload:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SupervisedWorkload(SAME, nn.Sequential(nn.Linear(6, 40), *middle, nn.Linear(40, 3)), 0)


def gradient(work: SupervisedWorkload, step: int = 0, round_: int = 0) -> Tensor:
    return work.task(torch.arange(2), SEED, round_, work.start.buffers[None]).grad(work.start.x[None], step)


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), Block(), ByFunctions(), nn.Dropout(0.5, inplace=True)])
def test_a_step_has_one_dropout_mask(layer: nn.Module):
    work = net(layer)
    assert gradient(work).equal(gradient(work))
    assert not gradient(work).equal(gradient(work, step=1))
    assert not gradient(work).equal(gradient(work, round_=1))
    assert not gradient(work).equal(gradient(net()))


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), ByFunctions()])
def test_no_global_generator_is_touched(layer: nn.Module):
    work = net(layer)
    before = torch.random.get_rng_state()
    task = work.task(torch.arange(2), SEED, 0, work.start.buffers[None])
    task.sgd(work.start.x[None], lr=0.1, steps=2)
    task.full_grad(work.start.x[None])
    task.loss(work.start.x[None])
    task.forward(work.start.x[None], task.batch(0)[0])
    assert torch.random.get_rng_state().equal(before)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"is_causal": True, "scale": 0.3},
        {"attn_mask": torch.ones(6, 6, dtype=torch.bool).tril(2)},
        {"attn_mask": torch.linspace(-1, 1, 36).view(6, 6), "enable_gqa": True},
    ],
)
def test_attention_whose_dropout_leaves_everything_is_that_without(options: dict[str, Any]):
    draw = torch.Generator().manual_seed(0)
    heads = 2 if "enable_gqa" in options else 4
    query, key, value = (torch.randn(3, count, 6, 5, generator=draw) for count in (4, heads, heads))
    attend = nn.functional.scaled_dot_product_attention
    with KeyedFunctions(draw):
        found = attend(query, key, value, dropout_p=1e-9, **options)
    torch.testing.assert_close(found, attend(query, key, value, **options))


def test_attention_drops_weights_of_the_given_generator_and_scales_the_others():
    """With the same value 1 everywhere an output is the sum of the weights, 1/6 each, that are kept, over 1 - p."""
    query, value = torch.zeros(1, 2, 6, 5), torch.ones(1, 2, 6, 5)
    with KeyedFunctions(torch.Generator().manual_seed(1)):
        found = nn.functional.scaled_dot_product_attention(query, query, value, dropout_p=0.25)
    kept = torch.empty(1, 2, 6, 6).bernoulli_(0.75, generator=torch.Generator().manual_seed(1)).sum(-1)
    assert kept.unique().numel() > 1
    torch.testing.assert_close(found, (kept / 6 / 0.75)[..., None].expand_as(found))


def test_forward_has_the_mask_of_the_minibatch_that_was_taken():
    work = net(nn.Dropout(0.5))
    task = work.task(torch.arange(2), SEED, 0, work.start.buffers[None])
    inputs, targets, _ = task.batch(3)
    x = work.start.x.expand(2, -1).clone().requires_grad_()
    outputs = task.forward(x, inputs)
    nn.functional.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="sum").div(8).backward()
    torch.testing.assert_close(x.grad, gradient(work, step=3), rtol=1e-4, atol=1e-6)
    assert task.forward(x, inputs).equal(outputs)


def test_evaluation_uses_no_dropout():
    work = net(nn.Dropout(0.5))
    assert work.evaluate(work.start.x, work.start.buffers, 0, Strategy().predict) == net().evaluate(
        work.start.x, work.start.buffers, 0, Strategy().predict
    )
    task = work.task(torch.arange(2), SEED, 0, work.start.buffers[None])
    inputs = task.batch(0)[0]
    assert task.forward(work.start.x[None], inputs, train=False).equal(
        net().task(torch.arange(2), SEED, 0, work.start.buffers[None]).forward(work.start.x[None], inputs)
    )


def test_whole_channels_are_dropped_together():
    pictures = examples((1, 4, 4), sizes=[8, 8])
    layers = nn.Sequential(nn.Conv2d(1, 5, 3), nn.Dropout2d(0.5), nn.Flatten(), nn.Linear(20, 3))
    work = SupervisedWorkload(pictures, layers, 0)
    assert gradient(work).equal(gradient(work))


@pytest.mark.parametrize(
    "layer", [nn.RReLU(), nn.AlphaDropout(0.5), nn.TransformerEncoderLayer(40, 2, 8, 0.1)]
)
def test_layers_that_draw_from_the_global_generator_are_refused(layer: nn.Module):
    with pytest.raises(ConfigError, match=r"draws from PyTorch's global random generator.*nn\.Dropout"):
        net(layer)
