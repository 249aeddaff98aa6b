"""Blocks of parameters, and which of them a budget allows."""

import numpy as np
import pytest
import torch

from fedsparse.masks import Gate, allowed, blocks_of, most
from fedsparse.protocol import Layout

SHAPES = {
    "conv1.weight": (32, 1, 5, 5),
    "conv1.bias": (32,),
    "conv2.weight": (64, 32, 5, 5),
    "conv2.bias": (64,),
    "fc1.weight": (2048, 1024),
    "fc1.bias": (2048,),
    "fc2.weight": (62, 2048),
    "fc2.bias": (62,),
}
LEAF = Layout.of(SHAPES, frozenset(name for name in SHAPES if name.endswith("weight")))
BLOCKS = blocks_of(LEAF, 5)


def test_a_tensor_is_cut_into_equal_blocks_the_last_taking_the_rest():
    """The CNN of LEAF: 2,278,334 parameters, 40 blocks; 800 weights are 5 x 160, 32 biases 4 x 7 and 4."""
    assert (LEAF.size, BLOCKS.count) == (2_278_334, 40)
    assert BLOCKS.sizes[:10].tolist() == [160] * 5 + [7, 7, 7, 7, 4]
    assert int(BLOCKS.sizes.sum()) == LEAF.size
    assert BLOCKS.of.bincount().tolist() == BLOCKS.sizes.tolist()
    assert BLOCKS.first.nonzero()[:, 0].tolist() == list(range(0, 40, 5))
    assert BLOCKS.linear.tolist() == [False] * 20 + [True] * 20


def test_small_tensors_have_fewer_blocks():
    layout = Layout.of({"weight": (2, 3), "bias": (2,)}, frozenset({"weight"}))
    assert blocks_of(layout, 4).sizes.tolist() == [2, 2, 2, 1, 1]


def test_norms_are_in_no_block():
    layout = Layout.of({"a.weight": (4, 2), "n.weight": (4,), "n.bias": (4,)}, frozenset({"a.weight"}))
    blocks = blocks_of(layout, 2)
    assert blocks.sizes.tolist() == [4, 4]
    factors = blocks.spread(torch.tensor([[0.5, 0.0]]))
    assert factors.tolist() == [[0.5] * 4 + [0.0] * 4 + [1.0] * 8]
    assert blocks.sums(torch.ones(1, 16)).tolist() == [[4, 4]]
    assert blocks.share(torch.tensor([[True, False]])).tolist() == [12 / 16]


def test_a_gate_of_that_network_has_the_papers_size():
    """SwitchableNorm 8, 784 x 40 + 40, BatchNorm 80: 31,488."""
    assert Gate((1, 28, 28), BLOCKS.count).parameters.size == 31_488


def greedy(importance, budget, least):
    """One client: the knapsacks item by item."""
    kept = BLOCKS.first.tolist()
    for linear in (True, False):
        items = [b for b in range(40) if bool(BLOCKS.linear[b]) == linear and not BLOCKS.first[b]]
        left = round(sum(int(BLOCKS.sizes[b]) for b in items) * (budget - least))
        for b in sorted(items, key=lambda b: (-round(10 * float(importance[b])), b)):
            if BLOCKS.sizes[b] <= left:
                left -= int(BLOCKS.sizes[b])
                kept[b] = True
    return kept


@pytest.mark.parametrize("budget", [0.25, 0.3, 0.5, 0.8])
def test_what_is_kept_is_the_greedy_choice_of_every_client(budget: float):
    importance = torch.from_numpy(np.random.default_rng(int(100 * budget)).uniform(0.2, 1, (6, 40)))
    share, least = torch.full((6,), budget).double(), torch.full((6,), 0.2).double()
    found = allowed(importance, BLOCKS, share, least)
    assert found.tolist() == [greedy(row, budget, 0.2) for row in importance]


@pytest.mark.parametrize(("budget", "cap"), [(0.5, 0.44), (0.3, 0.28), (0.25, 0.24)])
def test_less_is_kept_than_the_budget_says(budget: float, cap: float):
    """s_min + (1 - s_min)(s - s_min), the first blocks being a fifth; the official code reports without these."""
    importance = torch.from_numpy(np.random.default_rng(1).uniform(0.2, 1, (50, 40)))
    share, least = torch.full((50,), budget).double(), torch.full((50,), 0.2).double()
    kept = allowed(importance, BLOCKS, share, least)
    real = BLOCKS.share(kept)
    reported = BLOCKS.share(kept & ~BLOCKS.first)
    assert float(real.max()) <= cap + 1e-4
    assert torch.allclose(real - reported, torch.tensor(0.2).double(), atol=1e-4)


def test_a_budget_of_one_keeps_everything():
    importance = torch.full((2, 40), 0.2)
    kept = allowed(importance, BLOCKS, torch.tensor([1.0, 0.5]).double(), torch.tensor([0.2, 0.2]).double())
    assert kept.all(1).tolist() == [True, False]


def test_equal_importances_go_by_place():
    """All alike: of fc1.weight's four blocks of 419,431 in the knapsack of 1,779,506 * 0.3 the first one fits."""
    alike = torch.full((1, 40), 0.5)
    kept = allowed(alike, BLOCKS, torch.tensor([0.5]).double(), torch.tensor([0.2]).double())[0]
    assert kept[20:25].tolist() == [True, True, False, False, False]


def test_only_tenths_of_importance_count():
    draw = np.random.default_rng(2).uniform(0.26, 0.94, (1, 40)).round(1)
    one, other = (torch.from_numpy(draw + shift) for shift in (0.04, -0.04))
    budget = (torch.tensor([0.5]).double(), torch.tensor([0.2]).double())
    assert allowed(one, BLOCKS, *budget).equal(allowed(other, BLOCKS, *budget))


@pytest.mark.parametrize(
    ("budget", "real", "reported"), [(0.5, 0.434, 0.234), (0.3, 0.246, 0.046), (0.25, 0.234, 0.034)]
)
def test_a_fresh_gate_keeps_what_the_official_code_keeps_and_not_what_it_reports(
    budget: float, real: float, reported: float
):
    """All importances are in one tenth: oracle numbers of the official code, whose report has no first blocks."""
    alike = torch.full((1, 40), 0.5)
    kept = allowed(alike, BLOCKS, torch.tensor([budget]).double(), torch.tensor([0.2]).double())
    assert round(float(BLOCKS.share(kept)), 3) == real
    assert round(float(BLOCKS.share(kept & ~BLOCKS.first)), 3) == reported


@pytest.mark.parametrize(("budget", "cap"), [(0.5, 0.44), (0.3, 0.28), (0.25, 0.24), (1.0, 1.0)])
def test_what_can_be_kept_of_large_tensors_is_the_formulas(budget: float, cap: float):
    """s_min + (1 - s_min)(s - s_min) with s_min = 0.2; at a budget of 1 everything."""
    found = most(BLOCKS, torch.tensor([budget]).double(), torch.tensor([0.2]).double())
    assert float(found) == pytest.approx(cap, abs=1e-4)


@pytest.mark.parametrize("parts", [2, 3, 5])
@pytest.mark.parametrize("shares", [(0.1, 0.3, 0.5), (0.7, 0.9, 1.0)])
def test_no_client_keeps_more_than_can_be_kept(parts: int, shares: tuple[float, ...]):
    blocks = blocks_of(LEAF, parts)
    budget = torch.tensor(shares).double().repeat(20)
    least = budget.clamp(max=max(1 / parts, 0.1))
    importance = torch.from_numpy(np.random.default_rng(parts).uniform(0.2, 1, (60, blocks.count)))
    kept = blocks.share(allowed(importance, blocks, budget, least))
    assert bool((kept <= most(blocks, budget, least) + 1e-12).all())


def test_first_blocks_and_norms_can_make_up_more_than_the_budget():
    """Of 16 parameters 8 of the norm and 4 of the first block, whatever the budget of 0.3; nothing else fits."""
    layout = Layout.of({"a.weight": (4, 2), "n.weight": (4,), "n.bias": (4,)}, frozenset({"a.weight"}))
    blocks, budget = blocks_of(layout, 2), torch.tensor([0.3]).double()
    kept = allowed(torch.ones(1, 2), blocks, budget, budget)
    assert blocks.share(kept).tolist() == most(blocks, budget, budget).tolist() == [12 / 16]
