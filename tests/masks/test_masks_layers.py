"""Which layers are pruned, and how many weights each keeps."""

import math

import pytest
import torch

from fedsparse.errors import ConfigError
from fedsparse.masks import (
    RATIOS,
    counts_of,
    everywhere,
    in_blocks,
    layer_counts,
    layers_of,
    top_among,
    top_each,
)
from fedsparse.protocol import Layout

SHAPES = {
    "conv1.weight": (8, 1, 3, 3),
    "conv1.bias": (8,),
    "conv2.weight": (16, 8, 3, 3),
    "conv3.weight": (32, 16, 3, 3),
    "fc1.weight": (100, 128),
    "fc2.weight": (10, 100),
}
LAYOUT = Layout.of(SHAPES, frozenset(name for name in SHAPES if name.endswith("weight")))
LAYERS = layers_of(LAYOUT)


def names(layers):
    return [layer.name.partition(".")[0] for layer in layers]


def test_the_first_and_the_last_layer_are_left_alone_unless_asked_for():
    assert names(LAYERS) == ["conv2", "conv3", "fc1"]
    assert names(layers_of(LAYOUT, ends=True)) == ["conv1", "conv2", "conv3", "fc1", "fc2"]


def test_with_nothing_between_them_the_ends_are_pruned():
    two = Layout.of({"a": (3, 2), "b": (2, 3)}, frozenset("ab"))
    assert names(layers_of(two)) == ["a", "b"]


def test_a_model_without_weights_to_prune_is_refused():
    with pytest.raises(ConfigError, match="nothing to prune"):
        layers_of(Layout.of({"bias": (3,)}))


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("density", [0.001, 0.02, 0.3, 0.77, 1.0])
def test_layers_together_keep_the_density_and_each_at_least_one(ratio: str, density: float):
    counts = layer_counts(LAYERS, density, ratio)
    assert sum(counts) == max(3, math.floor(density * sum(layer.size for layer in LAYERS) + 0.5))
    assert all(1 <= n <= layer.size for n, layer in zip(counts, LAYERS, strict=True))


def test_uniform_densities_are_equal():
    densities = [
        n / layer.size for n, layer in zip(layer_counts(LAYERS, 0.1, "uniform"), LAYERS, strict=True)
    ]
    assert densities == pytest.approx([0.1] * 3, abs=1 / 1152)


@pytest.mark.parametrize(
    ("ratio", "raw"),
    [
        # (n_in + n_out) / (n_in n_out): 24/128, 48/512, 228/12800.
        ("er", [24 / 128, 48 / 512, 228 / 12800]),
        # (n_in + n_out + h + w) / (n_in n_out h w): 30/1152, 54/4608; linear as above.
        ("erk", [30 / 1152, 54 / 4608, 228 / 12800]),
    ],
)
def test_erdos_renyi_densities_have_the_papers_proportions(ratio: str, raw: list[float]):
    density, sizes = 0.05, [1152, 4608, 12800]
    scale = density * sum(sizes) / sum(r * n for r, n in zip(raw, sizes, strict=True))
    counts = layer_counts(LAYERS, density, ratio)
    assert counts == pytest.approx([scale * r * n for r, n in zip(raw, sizes, strict=True)], abs=1)


def test_a_layer_that_would_be_overfull_is_dense_and_the_others_share_the_rest():
    """ERK at 0.8: 14848 * 30/312 is more than conv2's 1152; conv3 and fc1 share 13696 as 54 to 228."""
    assert layer_counts(LAYERS, 0.8, "erk") == [1152, 2623, 11073]


def test_uniform_plus_has_a_dense_first_layer_and_a_fifth_of_the_last():
    """Of 1,400 weights 72 and a fifth of 1,000 are the ends'; 1,128 of the 18,560 others: 70.0, 280.1 and 777.9."""
    ends = layers_of(LAYOUT, ends=True)
    sizes = [layer.size for layer in ends]
    assert sizes == [72, 1152, 4608, 12800, 1000]
    counts = layer_counts(ends, 1400 / sum(sizes), "uniform_plus")
    assert counts == [72, 70, 280, 778, 200]


def test_uniform_plus_gives_the_last_layer_more_where_all_others_have_more():
    ends = layers_of(LAYOUT, ends=True)
    counts = layer_counts(ends, 0.5, "uniform_plus")
    rest = [n / layer.size for n, layer in zip(counts, ends, strict=True)][1:]
    assert counts[0] == 72
    assert rest == pytest.approx([(9816 - 72) / 19560] * 4, abs=1e-3)
    assert layer_counts(ends, 1.0, "uniform_plus") == [layer.size for layer in ends]


def test_uniform_plus_is_refused_where_the_ends_alone_have_more():
    with pytest.raises(ConfigError, match="272 weights, and the density leaves 196"):
        layer_counts(layers_of(LAYOUT, ends=True), 0.01, "uniform_plus")


def test_what_is_not_pruned_is_everywhere_there():
    mask = everywhere(LAYOUT, LAYERS)
    assert counts_of(mask, LAYERS) == [0, 0, 0]
    assert int(mask.sum()) == 72 + 8 + 1000
    assert mask.dtype == torch.bool


@pytest.mark.parametrize(("blocks", "sizes"), [(1, [5]), (2, [3, 2]), (4, [2, 1, 1, 1]), (9, [1] * 5)])
def test_blocks_are_layers_in_order_of_nearly_equal_number(blocks: int, sizes: list[int]):
    layers = layers_of(LAYOUT, ends=True)
    found = in_blocks(layers, blocks)
    assert [len(block) for block in found] == sizes
    assert [layer for block in found for layer in block] == list(layers)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
def test_among_what_is_not_zero_the_largest_are_those_of_all(share: float):
    """Also where fewer are not zero than are wanted, and where magnitudes are equal."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randint(-4, 5, (3, LAYOUT.size), generator=draw) * (
        torch.rand(3, LAYOUT.size, generator=draw) < share
    )
    counts = layer_counts(LAYERS, 0.3)
    found = top_among(x.float(), x != 0, LAYERS, [torch.full((3,), count) for count in counts])
    assert torch.equal(found, top_each(x.float(), LAYERS, counts))
