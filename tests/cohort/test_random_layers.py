"""Dropout draws from keyed streams: the same mask at two points, another one for each step, round and client."""

import pytest
import torch
from cohort_cases import SEED, examples
from torch import Tensor, nn

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


def net(*middle: nn.Module) -> SupervisedWorkload:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SupervisedWorkload(SAME, nn.Sequential(nn.Linear(6, 40), *middle, nn.Linear(40, 3)), 0)


def gradient(work: SupervisedWorkload, step: int = 0, round_: int = 0) -> Tensor:
    return work.task(torch.arange(2), SEED, round_, work.start.buffers[None]).grad(work.start.x[None], step)


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), Block(), nn.Dropout(0.5, inplace=True)])
def test_a_step_has_one_dropout_mask(layer: nn.Module):
    work = net(layer)
    assert gradient(work).equal(gradient(work))
    assert not gradient(work).equal(gradient(work, step=1))
    assert not gradient(work).equal(gradient(work, round_=1))
    assert not gradient(work).equal(gradient(net()))


def test_no_global_generator_is_touched():
    work = net(nn.Dropout(0.5))
    before = torch.random.get_rng_state()
    task = work.task(torch.arange(2), SEED, 0, work.start.buffers[None])
    task.sgd(work.start.x[None], lr=0.1, steps=2)
    task.full_grad(work.start.x[None])
    task.loss(work.start.x[None])
    task.forward(work.start.x[None], task.batch(0)[0])
    assert torch.random.get_rng_state().equal(before)


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
