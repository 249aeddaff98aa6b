"""Strategies whose mask does not change: it is the rule's, every iterate the transcription's, zeros stay zero."""

import numpy as np
import pytest
import torch
from sparse_cases import (
    ALWAYS,
    LAYOUT,
    LR,
    PROBLEM,
    SHARES,
    SLICES,
    START,
    STEPS,
    State,
    assert_same,
    averaged,
    gradient,
    iterates,
    magnitude,
    run,
)
from torch import nn

from fedsparse.cohort.batched import Batched
from fedsparse.masks import counts_of, layers_of
from fedsparse.protocol import Context, Start
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.strategies.fl_pqsu import FLPQSU
from fedsparse.strategies.magnitude import Magnitude
from fedsparse.strategies.random_mask import RandomMask
from fedsparse.strategies.snip import Snip
from fedsparse.strategies.synflow import SynFlow

LOCAL = {"lr": LR, "steps": STEPS, "density": 0.5, "ratio": "uniform"}


def still(mask):
    """FedAvg on this mask."""
    return iterates(State(START * mask, mask), lambda state, _: State(averaged(state)[0], state.mask))


def somewhere(layout=LAYOUT) -> Context:
    return Context(0, 0, "init", torch.arange(0), 8, 8, layout)


def test_magnitude_is_the_transcription():
    """Half of six weights in each of the two layers."""
    assert_same(run(Magnitude(**LOCAL)), still(magnitude([3, 3])))


def test_a_random_mask_is_fedavg_on_it():
    result = run(RandomMask(**LOCAL))
    mask = result.server["mask"].numpy()
    assert [int(mask[where].sum()) for where in SLICES] == [3, 3]
    assert_same(result, still(mask))


def test_another_seed_draws_another_random_mask():
    one, other = (run(RandomMask(**LOCAL), seed=seed).server["mask"] for seed in (0, 1))
    assert not one.equal(other)


def test_snip_is_the_transcription():
    scores = START * sum(p * gradient(i, START) for i, p in enumerate(SHARES))
    mask = ALWAYS.copy()
    order = sorted(np.flatnonzero(~ALWAYS), key=lambda j: -abs(scores[j]))
    mask[order[:6]] = True
    assert_same(run(Snip(**LOCAL)), still(mask))


@pytest.mark.parametrize("strategy", [Magnitude, RandomMask, Snip, SynFlow, FLPQSU])
def test_a_density_of_one_is_fedavg(strategy):
    ours = run(strategy(lr=LR, steps=STEPS, density=1.0))
    plain = run(FedAvg(lr=LR, steps=STEPS))
    for one, other in zip(ours.models, plain.models, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("strategy", [Magnitude, RandomMask, Snip, SynFlow, FLPQSU])
def test_what_is_pruned_is_exactly_zero_after_every_round_also_with_momentum(strategy):
    result = run(strategy(momentum=0.9, weight_decay=0.01, **LOCAL))
    assert all((model[~result.server["mask"]] == 0).all() for model in result.models)
    assert int((~result.server["mask"]).sum()) == (5 if strategy is FLPQSU else 6)


def test_filters_are_kept_or_pruned_as_wholes_by_their_l1_norm():
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3), nn.Flatten(), nn.Linear(96, 3))
    start = Batched(module, torch.zeros(2, 1, 8, 8)).start
    mask = FLPQSU(density=0.5).first_mask(start, somewhere(start.layout))
    field = start.layout["1.weight"]
    kept = mask[field.slice].view(6, -1)
    norms = start.x[field.slice].view(6, -1).abs().sum(1)
    assert kept.all(1).tolist() == kept.any(1).tolist()
    assert set(kept.all(1).nonzero()[:, 0].tolist()) == set(norms.topk(3).indices.tolist())
    assert int((~mask).sum()) == 3 * 36


def flow(weights, biases):
    """|w| dR/dw of each layer of a network of positive linear layers, R the sum of its outputs for an input of ones."""
    before, h = [], np.ones(weights[0].shape[1])
    for w, b in zip(weights, biases, strict=True):
        before.append(h)
        h = w @ h + b
    after, back = np.ones(len(h)), []
    for w in reversed(weights):
        back.append(after)
        after = w.T @ after
    return [w * np.outer(s, h) for w, s, h in zip(weights, back[::-1], before, strict=True)]


def test_synflow_is_the_transcription():
    """Three linear layers with ReLUs, all pruned: 100 steps to a density of 0.05."""
    module = nn.Sequential(nn.Linear(7, 9), nn.ReLU(), nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 4))
    start = Batched(module, torch.zeros(2, 7)).start
    strategy = SynFlow(density=0.05, ends=True)
    mask = strategy.first_mask(start, somewhere(start.layout))
    weights = [np.abs(layer.weight.detach().double().numpy()) for layer in module if hasattr(layer, "weight")]
    biases = [np.abs(layer.bias.detach().double().numpy()) for layer in module if hasattr(layer, "weight")]
    total, marks = 63 + 72 + 32, [np.ones_like(w) for w in weights]
    end = sum(strategy.counts(start.layout))
    for step in range(1, 101):
        scores = flow([w * m for w, m in zip(weights, marks, strict=True)], biases)
        flat = np.concatenate([s.ravel() for s in scores])
        keep = np.zeros(total)
        keep[np.argsort(-flat, kind="stable")[: max(end, round(total * (end / total) ** (step / 100)))]] = 1
        parts = np.split(keep, [63, 135])
        marks = [part.reshape(w.shape) for part, w in zip(parts, weights, strict=True)]
    layers = layers_of(start.layout, ends=True)
    for layer, expected in zip(layers, marks, strict=True):
        np.testing.assert_array_equal(mask[layer.slice].numpy(), expected.ravel() == 1)
    assert sum(counts_of(mask, layers)) == end == 8


def test_synflow_leaves_no_layer_without_weights_where_magnitude_over_all_layers_does():
    """Two wide layers of small weights between large ones: no path would be left."""
    module = nn.Sequential(*[nn.Linear(12, 12, bias=False) for _ in range(4)])
    with torch.no_grad():
        for scale, layer in zip((1, 0.01, 0.01, 1), module, strict=True):
            layer.weight.mul_(scale)
    start = Batched(module, torch.zeros(2, 12)).start
    mask = SynFlow(density=0.1, ends=True).first_mask(start, somewhere(start.layout))
    assert min(counts_of(mask, layers_of(start.layout, ends=True))) > 0


def test_without_a_network_synflow_goes_by_magnitude():
    start = Start(torch.from_numpy(START), LAYOUT)
    mask = SynFlow(density=0.5).first_mask(start, somewhere()).numpy()
    order = sorted(np.flatnonzero(~ALWAYS), key=lambda j: -abs(START[j]))[:6]
    assert set(np.flatnonzero(mask & ~ALWAYS)) == set(order)


def test_both_ways_the_values_on_the_mask_travel_and_the_mask_once():
    """Head 2, length 1, and k = 18 values of 8 bytes; the mask of 24 entries is a bitmap of 3 bytes behind 5 others."""
    result = run(Magnitude(**LOCAL))
    first, last = result.history[0].traffic, result.history[-1].traffic
    assert last["up_payload_bytes"] == last["down_payload_bytes"] == 8 * (2 + 1 + 18 * 8)
    assert first["down_payload_bytes"] - last["down_payload_bytes"] == 8 * (5 + 3)


def test_a_seeded_mask_costs_its_seed_and_nothing_at_first():
    """The seed is one number of 8 bytes behind a head of 3."""
    for record in run(RandomMask(**LOCAL)).history:
        assert record.traffic["down_payload_bytes"] == 8 * (2 + 1 + 18 * 8 + 3 + 8)


def test_a_client_that_was_away_pays_for_the_values_once():
    """Three of eight clients a round: each pays for its values, and for the mask at its first time."""
    result = run(Magnitude(**LOCAL), cohort=3)
    total = result.history[-1].traffic_total["down_payload_bytes"]
    seen = 8  # everybody was drawn in twelve rounds
    assert total == 12 * 3 * (2 + 1 + 18 * 8) + seen * (5 + 3)
    assert len(PROBLEM.sizes) == seen


def test_arithmetic_and_memory_are_recorded():
    """Six of twelve weights and the ten of the ends: 16 multiplications; 8 bytes, weights and gradients of 18."""
    scalars = run(Magnitude(**LOCAL)).history[-1].scalars
    examples = STEPS * float(PROBLEM.sizes.double().mean())
    assert scalars["flops"] == pytest.approx(3 * 2 * 16 * examples)
    assert scalars["device_bytes"] == 8 * 2 * 18
