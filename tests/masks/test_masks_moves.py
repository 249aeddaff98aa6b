"""Masks move as an independent NumPy transcription moves them, and as the worked examples say."""

import numpy as np
import pytest
import torch

from fedsparse.errors import ProtocolError
from fedsparse.masks import best, largest_inactive, layers_of, moved, prune_and_grow, share_at, top_overall
from fedsparse.protocol import Layout

TOY = Layout.of({"w": (8,)}, frozenset("w"))
W = torch.tensor([[0.9, -0.05, 0.3, 0, 0, 0, 0.2, 0]])
M = torch.tensor([[1, 1, 1, 0, 0, 0, 1, 0]]).bool()
G = torch.tensor([[9, 9, 9, 0.1, -0.7, 0.4, 9, 0.5]])


def reference(weights, mask, gradient, counts, slices):
    """One row: in each layer the largest |gradient| of the zeros grow, the smallest |weight| of the ones go."""
    new = mask.copy()
    for where, count in zip(slices, counts, strict=True):
        places = np.arange(len(mask))[where]
        inactive = [j for j in places if not mask[j] and gradient[j] != 0]
        active = [j for j in places if mask[j]]
        grow = sorted(inactive, key=lambda j: (-abs(gradient[j]), j))[:count]
        prune = sorted(active, key=lambda j: (abs(weights[j]), j))[: len(grow)]
        new[grow], new[prune] = True, False
    return new


def test_the_toy_grows_4_and_7_and_prunes_1_and_6():
    """Growing first: pruning first could grow {1, 6} again, whose gradients are larger, and nothing would change."""
    move = prune_and_grow(W, M, G, layers_of(TOY), [2])
    assert move.grown[0].nonzero()[:, 0].tolist() == [4, 7]
    assert move.pruned[0].nonzero()[:, 0].tolist() == [1, 6]
    new = moved(M, move.grown, move.pruned)
    assert new[0].int().tolist() == [1, 0, 1, 0, 1, 0, 0, 1]
    assert torch.where(new, W, 0)[0].tolist() == pytest.approx([0.9, 0, 0.3, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("seed", range(5))
def test_moves_are_those_of_the_transcription(seed: int):
    draw = np.random.default_rng(seed)
    layout = Layout.of({"a": (6, 7), "b": (5,), "c": (9, 4)}, frozenset("abc"))
    layers, size = layers_of(layout, ends=True), layout.size
    mask = draw.random((3, size)) < 0.5
    weights = np.where(mask, draw.standard_normal((3, size)).round(1), 0)  # rounded: some are equal
    gradient = draw.standard_normal((3, size)).round(1)
    gradient[0, layout["b"].slice] = 0
    counts = [4, 1, 5]
    mask[:, layout["b"].start] = True
    move = prune_and_grow(*map(torch.from_numpy, (weights, mask, gradient)), layers, counts)
    found = moved(torch.from_numpy(mask), move.grown, move.pruned).numpy()
    slices = [layer.slice for layer in layers]
    for row in range(3):
        expected = reference(weights[row], mask[row], gradient[row], counts, slices)
        np.testing.assert_array_equal(found[row], expected)


def test_a_move_keeps_the_number_of_weights_of_each_layer():
    draw = np.random.default_rng(3)
    layers = layers_of(TOY)
    for a in range(4):
        g = torch.from_numpy(draw.standard_normal((1, 8)))
        move = prune_and_grow(W, M, g, layers, [a])
        assert int(moved(M, move.grown, move.pruned).sum()) == 4
        assert int(move.grown.sum()) == a


def test_nothing_grows_where_gradients_are_zero_and_so_nothing_is_pruned():
    assert not prune_and_grow(W, M, torch.zeros_like(W), layers_of(TOY), [2]).any


def test_telling_a_move_twice_changes_nothing_more():
    move = prune_and_grow(W, M, G, layers_of(TOY), [2])
    once = moved(M, move.grown, move.pruned)
    assert moved(once, move.grown, move.pruned).equal(once)


def test_pruning_more_than_there_is_is_refused():
    with pytest.raises(ProtocolError, match="has fewer"):
        prune_and_grow(W, M, G, layers_of(TOY), [5])


@pytest.mark.parametrize(("round_", "moves"), [(0, 300), (10, 292), (50, 150), (90, 7), (100, 0), (150, 0)])
def test_the_share_that_moves_falls_along_a_cosine(round_: int, moves: int):
    """0.15 (1 + cos(π r / 100)) of 1000 weights, rounded down."""
    assert int(share_at(0.3, round_, 100) * 1000) == moves


@pytest.mark.parametrize(("round_", "moves"), [(0, 200), (10, 195), (50, 100), (90, 4), (100, 0)])
def test_the_schedule_with_another_start_is_the_librarys(round_: int, moves: int):
    """0.1 (1 + cos(π r / 100)) of 1000 weights."""
    assert int(share_at(0.2, round_, 100) * 1000) == moves


def test_devices_keep_the_largest_entries_where_there_is_no_weight():
    sent = largest_inactive(G, M, layers_of(TOY), [2])
    assert sent.indices.tolist() == [4, 7]
    assert sent.values.tolist() == pytest.approx([-0.7, 0.5])
    assert sent.size == 8


def test_devices_do_not_keep_zeros():
    sent = largest_inactive(torch.tensor([[9.0, 9, 9, 0, 0, 0.4, 9, 0]]), M, layers_of(TOY), [3])
    assert sent.indices.tolist() == [5]


def test_equal_gradients_of_all_clients_grow_as_the_dense_mean_does():
    """The buffers of clients with one gradient hold all of its a largest entries."""
    draw = np.random.default_rng(5)
    layout = Layout.of({"w": (2000,)}, frozenset("w"))
    g, mask = torch.from_numpy(draw.standard_normal((1, 2000))), torch.zeros(1, 2000, dtype=torch.bool)
    dense = top_overall(g, layers_of(layout), 100)
    sparse = top_overall(largest_inactive(g, mask, layers_of(layout), [100]).dense(), layers_of(layout), 100)
    assert dense.equal(sparse)


@pytest.mark.parametrize(("noise", "overlap", "union"), [(0.5, 0.93, 353), (1, 0.75, 582), (3, 0.41, 785)])
def test_noise_of_clients_makes_buffers_miss_what_the_dense_mean_has(
    noise: float, overlap: float, union: int
):
    """Ten clients, a = 100 of 2000: oracle numbers, computed with an independent NumPy transcription of one seed."""
    found = []
    layout = Layout.of({"w": (2000,)}, frozenset("w"))
    layers, mask = layers_of(layout), torch.zeros(1, 2000, dtype=torch.bool)
    for seed in range(5):
        draw = np.random.default_rng(seed)
        g = torch.from_numpy(draw.standard_normal(2000) + noise * draw.standard_normal((10, 2000)))
        buffers = largest_inactive(g, mask, layers, [100]).dense()
        ours, dense = (top_overall(rows.mean(0)[None], layers, 100) for rows in (buffers, g))
        found.append([int((ours & dense).sum()) / 100, int((buffers != 0).any(0).sum())])
    mean = np.mean(found, 0)
    assert mean[0] == pytest.approx(overlap, abs=0.06)
    assert mean[1] == pytest.approx(union, abs=25)


def test_the_best_are_the_largest_of_those_allowed_and_the_first_of_equal_ones():
    scores = torch.tensor([3.0, 0, 5, 3, 9, 0])
    allowed = torch.tensor([1, 1, 1, 1, 0, 1]).bool()
    assert best(scores, allowed, 2).nonzero()[:, 0].tolist() == [0, 2]
    assert best(scores, allowed, 4).nonzero()[:, 0].tolist() == [0, 1, 2, 3]
    assert best(scores, allowed, 9).equal(allowed)
