"""Random masks follow from 8 bytes, and from nothing else."""

import numpy as np
import pytest
import torch

from fedsparse.masks import counts_of, layers_of, new_seed, seeded_mask
from fedsparse.protocol import Context, Layout
from fedsparse.wire import k_subset

LAYOUT = Layout.of({"a": (4, 5), "bias": (3,), "b": (10, 10), "c": (7, 3)}, frozenset("abc"))
LAYERS = layers_of(LAYOUT, ends=True)


def circumstances(seed: int, round_: int) -> Context:
    return Context(seed, round_, "init", torch.arange(0), 3, 3, LAYOUT)


def test_a_seed_gives_the_same_mask_everywhere_and_another_another():
    one, two, other = (seeded_mask(seed, LAYOUT, LAYERS, [5, 20, 6]) for seed in (7, 7, 8))
    assert one.equal(two)
    assert not one.equal(other)


def test_each_layer_has_its_count_and_what_is_not_pruned_is_there():
    mask = seeded_mask(2**53 - 1, LAYOUT, LAYERS, [5, 20, 6])
    assert counts_of(mask, LAYERS) == [5, 20, 6]
    assert mask[LAYOUT["bias"].slice].all()


def test_an_average_of_models_on_two_random_masks_has_more_weights_than_either():
    """Both lack a weight with probability (1 - 0.1)^2, so 1 - 0.81 are there; the standard deviation is 0.0004."""
    layout = Layout.of({"w": (1000, 1000)}, frozenset("w"))
    one, other = (seeded_mask(seed, layout, tuple(layout), [100_000]) for seed in (1, 2))
    assert float(one.double().mean()) == 0.1
    assert float((one | other).double().mean()) == pytest.approx(1 - 0.9**2, abs=0.002)


def test_the_mask_of_a_seed_is_fixed_for_ever():
    """The draw is part of what travels: layer l has the k-subset of the key 1024 seed + l."""
    mask = seeded_mask(3, LAYOUT, LAYERS, [5, 20, 6])
    for number, (layer, count) in enumerate(zip(LAYERS, [5, 20, 6], strict=True)):
        expected = k_subset(3 * 1024 + number, count, layer.size)
        np.testing.assert_array_equal(np.flatnonzero(mask[layer.slice]), expected)


def test_seeds_travel_exactly_as_a_float64():
    seeds = [new_seed(circumstances(seed, 0)) for seed in range(50)]
    assert all(int(float(seed)) == seed for seed in seeds)
    assert len(set(seeds)) == 50
