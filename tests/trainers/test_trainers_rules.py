"""Numbers of the papers' formulas."""

import pytest
import torch

from fedsparse import models
from fedsparse.cohort.analytic import AnalyticWorkload
from fedsparse.cohort.batched import layouts
from fedsparse.cohort.trainer import Moment, Trainer
from fedsparse.engine.sparse import SparseWorkload
from fedsparse.masks import layer_counts, layers_of
from fedsparse.protocol import Field, Layout
from fedsparse.trainers.gmp import GMP
from fedsparse.trainers.rigl import RigL
from fedsparse.trainers.srste import SRSTE

LAYERS = [
    Field("conv1", 0, (32, 1, 5, 5)),
    Field("conv2", 0, (64, 32, 5, 5)),
    Field("fc1", 0, (2048, 1024)),
    Field("fc2", 0, (62, 2048)),
]
TOTAL = sum(layer.size for layer in LAYERS)


def moment(number: int) -> Moment:
    """Of a hundred rounds, without a model."""
    return Moment(0, number, 100, Layout(()), torch.zeros(0))


@pytest.mark.parametrize(
    ("density", "expected"),
    [
        (0.1, [1.0, 0.0888, 0.0628, 0.7127]),
        (0.05, [1.0, 0.0442, 0.0313, 0.3551]),
        (0.01, [0.2295, 0.0088, 0.0063, 0.0709]),
    ],
)
def test_erk_densities_are_eps_times_the_sum_of_the_sides_over_their_product(density, expected) -> None:
    """At 0.1 conv1 is dense; eps = (0.1 * 2,276,128 - 800) / (106 + 3072 + 2110) = 42.89; conv2: 106 eps / 51,200."""
    counts = layer_counts(LAYERS, density, "erk")
    assert sum(counts) == int(density * TOTAL + 0.5)
    found = [count / layer.size for count, layer in zip(counts, LAYERS, strict=True)]
    assert found == pytest.approx(expected, abs=6e-4 if density == 0.01 else 6e-5)


def test_er_leaves_the_sides_of_kernels_out_and_uniform_all() -> None:
    """ER of two layers: (n_in + n_out) / (n_in n_out) times their sizes is 96 * 25 and 3072, so 2400 : 3072."""
    pair = LAYERS[1:3]
    assert layer_counts(pair, 5472 / sum(p.size for p in pair), "er") == [2400, 3072]
    uniform = layer_counts(LAYERS, 0.1, "uniform")
    assert uniform == [round(0.1 * layer.size) for layer in LAYERS]


@pytest.mark.parametrize(
    ("name", "dense", "wide"),
    [
        ("mlp", {"hidden": (20, 30, 24)}, {"hidden": (40, 60, 48)}),
        ("cnn", {"width": 4, "hidden": 16}, {"width": 8, "hidden": 32}),
        ("resnet", {"width": 4}, {"width": 8}),
    ],
)
def test_twice_as_wide_at_a_quarter_a_model_has_as_many_weights_in_each_layer(name, dense, wide) -> None:
    """Sparse wide of Sparse-IFT: k = (1 / (1 - s))^(1/2) is 2 at s = 0.75, and k n_in k n_out (1 - s) = n_in n_out."""
    layers = [
        layers_of(layouts(models.build(name, (1, 8, 8), 10, seed=0, **options))[0])
        for options in (dense, wide)
    ]
    assert len(layers[1]) > 1
    assert layer_counts(layers[1], 0.25, "uniform") == [layer.size for layer in layers[0]]


def test_the_schedule_of_gradual_pruning_is_cubic() -> None:
    """Sparsity 0.9 - 0.9 (1 - t/100)^3."""
    trainer = GMP(density=0.1, stop=1.0)
    sparsities = [1 - trainer.density_at(moment(t)) for t in (0, 10, 25, 50, 75, 100, 120)]
    assert sparsities == pytest.approx([0, 0.2439, 0.5203125, 0.7875, 0.8859375, 0.9, 0.9], abs=1e-12)


def test_the_share_that_moves_falls_along_half_a_cosine() -> None:
    """0.15 (1 + cos(pi t / 75)): 0.3, 0.15 half-way, 0."""
    shares = [RigL().share(moment(t)) for t in (0, 25, 50, 75)]
    assert shares == pytest.approx([0.3, 0.225, 0.075, 0.0], abs=1e-12)


class Slope:
    """A gradient of 0.1 everywhere."""

    clients = 1
    start = torch.tensor([0.9, -0.1, 0.5, 0.2], dtype=torch.float64)

    def gradient(self, ids: torch.Tensor, x: torch.Tensor, draw: object) -> torch.Tensor:
        return torch.full_like(x, 0.1)


def slope_task(trainer: Trainer):
    workload = SparseWorkload(AnalyticWorkload(Slope()), trainer, 0, 1)  # type: ignore[arg-type]
    return workload.task(torch.arange(1), 0, 0, torch.zeros(1, 0))


def test_a_step_of_srste_pulls_what_is_not_used_to_zero() -> None:
    """-0.1 and 0.2 are not used: -0.1 - 0.1 (0.1 - 0.05) = -0.105, 0.2 - 0.1 (0.1 + 0.1) = 0.18."""
    task = slope_task(SRSTE(n=2, m=4, decay=0.5))
    found = task.sgd(Slope.start[None], lr=0.1, steps=1)
    expected = torch.tensor([[0.89, -0.105, 0.49, 0.18]], dtype=torch.float64)
    torch.testing.assert_close(found.x, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(task.grad(Slope.start[None]), (Slope.start - expected) / 0.1)
    torch.testing.assert_close(task.full_grad(Slope.start[None]), (Slope.start - expected) / 0.1)


def test_srste_groups_the_channels_of_a_convolution_at_each_place_of_the_kernel() -> None:
    layout = Layout.of({"c": (2, 4, 3, 3)}, frozenset({"c"}))
    x = torch.randn(3, layout.size, generator=torch.Generator().manual_seed(0))
    kept = SRSTE(n=1, m=4).model(x, layout).view(3, 2, 4, 3, 3)
    assert (kept.ne(0).sum(2) == 1).all()
    assert torch.equal(kept.abs().amax(2), x.view(3, 2, 4, 3, 3).abs().amax(2))


@pytest.mark.parametrize(("n", "m"), [(1, 2), (2, 4), (5, 8), (4, 4)])
def test_of_equal_weights_of_a_group_srste_uses_the_first(n: int, m: int) -> None:
    layout = Layout.of({"w": (3, 16)}, frozenset({"w"}))
    x = torch.randint(-3, 4, (5, layout.size), generator=torch.Generator().manual_seed(0)).float()
    order = x.view(5, -1, m).abs().sort(dim=-1, descending=True, stable=True).indices
    expected = torch.zeros(order.shape, dtype=torch.bool).scatter_(-1, order[..., :n], True)
    assert torch.equal(SRSTE(n=n, m=m).used(x, layout), expected.view(5, -1))


def test_a_move_of_rigl_costs_one_more_gradient() -> None:
    workload = SparseWorkload(AnalyticWorkload(Slope()), RigL(density=0.5, every=2), 0, 8)  # type: ignore[arg-type]
    calls = []
    for number in range(4):
        task = workload.task(torch.arange(1), 0, number, torch.zeros(1, 0))
        task.sgd(workload.start.x[None], lr=0.1, steps=3)
        calls.append(int(task.gradient_calls))
    assert calls == [3, 3, 4, 3]
