"""What moving the mask brings on a real task: digits, a network with BatchNorm, a two-hundredth of its weights."""

from collections import OrderedDict
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
import torch
from torch import nn

from fedsparse import data, rng, simulate
from fedsparse.cohort.examples import Examples
from fedsparse.data.partition import partition
from fedsparse.protocol import Strategy
from fedsparse.strategies.fedtiny import FedTiny
from fedsparse.strategies.magnitude import Magnitude

LOCAL = {"density": 0.005, "ratio": "uniform", "lr": 0.05, "steps": 3}
ROUNDS = 16


def network(seed: int) -> nn.Sequential:
    """Three convolutions, of which the second and the third are pruned, and a linear layer."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number, (fan_in, fan_out) in enumerate([(1, 32), (32, 64), (64, 64)]):
            layers[f"conv{number}"] = nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False)
            layers[f"norm{number}"] = nn.BatchNorm2d(fan_out)
            layers[f"relu{number}"] = nn.ReLU()
            if number:
                layers[f"pool{number}"] = nn.MaxPool2d(2)
        layers |= {"flatten": nn.Flatten(), "head": nn.Linear(256, 10)}
    return nn.Sequential(layers)


def setting(seed: int) -> tuple[Examples, nn.Module]:
    """Clients, and a network that was trained on 200 examples of the server's."""
    found = data.load("digits")
    assert isinstance(found, data.Dataset)
    order = rng.stream(seed, "public").permutation(len(found.x))
    public, private = order[:200], np.sort(order[200:])
    own = replace(found, x=found.x[private], y=found.y[private])
    examples = Examples.of(own, partition("dirichlet", own, 10, seed, alpha=0.5))
    model, x = network(seed), examples.inputs(found.x, public)
    y = torch.from_numpy(found.y[public]).long()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for epoch in range(5):
        for at in np.array_split(rng.stream(seed, "pretraining", epoch).permutation(200), 10):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x[at]), y[at]).backward()
            optimiser.step()
    return examples, model


def accuracy(strategy: Strategy, seed: int) -> float:
    examples, model = setting(seed)
    result = simulate(
        strategy, examples=examples, model=model, batch=32, rounds=ROUNDS, evaluate_every=ROUNDS
    )
    return result.history[-1].metrics["accuracy"]


@pytest.mark.slow
def test_progressive_pruning_beats_the_fixed_mask_by_a_point():
    """At a density of 0.005, mean of three networks; both start from the largest weights of the same one.

    In short training, 16 rounds of three steps: +2.9 points when this was written. With two passes a round instead both
    come near the dense model, and there is no difference.
    """
    moving = FedTiny(pool=1, every=2, stop=10, **LOCAL)
    gains = [accuracy(moving, seed) - accuracy(Magnitude(**LOCAL), seed) for seed in range(3)]
    assert fmean(gains) >= 0.01
