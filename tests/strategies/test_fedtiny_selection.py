"""FedTiny's selection by BatchNorm statistics, on a real network, against plain PyTorch."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from fedsparse import data, models, simulate
from fedsparse.aggregate import Inbox, Mean
from fedsparse.cohort.examples import Examples
from fedsparse.data.partition import partition
from fedsparse.message import Dense, Scalars
from fedsparse.protocol import Context, Layout
from fedsparse.simulation import Result
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.strategies.fedtiny import FedTiny

CLIENTS = 4
LOCAL = {"lr": 0.05, "steps": 2}


@pytest.fixture(scope="module")
def examples() -> Examples:
    found = data.load("digits")
    assert isinstance(found, data.Dataset)
    return Examples.of(found, partition("dirichlet", found, CLIENTS, seed=0, alpha=0.5))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return models.build("resnet", (1, 8, 8), 10, seed=0, norm="batch", width=4)


def run(strategy, examples: Examples, model: nn.Module, **options) -> Result:
    given = {"rounds": 1, "evaluate_every": 100, "keep_models": True} | options
    return simulate(strategy, examples=examples, model=model, **given)


def candidates(strategy: FedTiny, model: nn.Module, result: Result) -> list[nn.Module]:
    """The pruned copies of the model, by sorting the weights of each layer."""
    counts = result.server["counts"].view(strategy.pool, -1).int().tolist()
    names = [n for n, p in model.named_parameters() if p.dim() > 1][1:-1]
    found = []
    for row in counts:
        pruned = copy.deepcopy(model)
        weights = dict(pruned.named_parameters())
        with torch.no_grad():
            for name, count in zip(names, row, strict=True):
                flat = weights[name].view(-1)
                flat[np.argsort(-flat.abs().numpy(), kind="stable")[count:]] = 0
        found.append(pruned)
    return found


def loss(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    with torch.no_grad():
        return float(nn.functional.cross_entropy(module.eval()(x), y))


def norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]


@pytest.fixture(scope="module")
def chosen(examples: Examples, model: nn.Module) -> Result:
    return run(FedTiny(density=0.1, pool=4, share=0.0, **LOCAL), examples, model)


def test_the_candidate_with_the_least_loss_under_pooled_statistics_is_chosen(examples, model, chosen):
    """All of a client's examples are its minibatch here; w_i are its share of all examples."""
    own = [examples.own(i) for i in range(CLIENTS)]
    x = [examples.inputs(examples.x, at) for at in own]
    y = [torch.from_numpy(examples.y[at]).long() for at in own]
    shares = [len(at) / sum(map(len, own)) for at in own]
    losses, pools = [], []
    for module in candidates(FedTiny(pool=4), model, chosen):
        pooled = [torch.zeros(norm.num_features).repeat(2, 1) for norm in norms(module)]
        for inputs, share in zip(x, shares, strict=True):
            for norm in norms(module):
                norm.momentum = 1.0
            with torch.no_grad():
                module.train()(inputs)
            for total, norm in zip(pooled, norms(module), strict=True):
                total.add_(share * torch.stack([norm.running_mean, norm.running_var]))
        for norm, (mean, variance) in zip(norms(module), pooled, strict=True):
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
        losses.append(sum(p * loss(module, a, b) for p, a, b in zip(shares, x, y, strict=True)))
        pools.append(torch.cat([part.flatten() for part in pooled]))
    ours = chosen.server["pooled"].view(4, -1)
    for mine, reference in zip(ours, pools, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=1e-5)
    best = int(np.argmin(losses))
    counts = chosen.server["counts"].view(4, -1)[best]
    masks = chosen.server["mask"]
    layers = FedTiny().layers(layout_of(model))
    assert [int(masks[layer.slice].sum()) for layer in layers] == counts.int().tolist()


def layout_of(model: nn.Module) -> Layout:
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    return Layout.of(shapes, frozenset(name for name, shape in shapes.items() if len(shape) > 1))


def test_candidates_have_the_target_density_and_the_first_has_no_noise(chosen):
    counts = chosen.server["counts"].view(4, -1)
    assert len(set(counts.sum(1).tolist())) == 1
    assert len(counts.unique(dim=0)) == 4
    layers = [
        f.size
        for f in FedTiny().layers(layout_of(models.build("resnet", (1, 8, 8), 10, 0, norm="batch", width=4)))
    ]
    assert counts[0].tolist() == pytest.approx([0.1 * n for n in layers], abs=1)


def test_statistics_change_and_the_affine_parameters_do_not(examples, model):
    """After the selection alone: a step size below float32 moves nothing."""
    result = run(FedTiny(density=0.1, pool=3, share=0.0, lr=1e-60, steps=1), examples, model)
    before = torch.cat([torch.cat([n.running_mean, n.running_var]) for n in norms(model)])
    moved = ~torch.isclose(result.buffers, before)
    assert moved.float().mean() > 0.8  # a channel that is dead has mean zero as before
    layout = layout_of(model)
    for name, value in model.named_parameters():
        if value.dim() == 1:
            assert result.x[layout[name].slice].equal(value.detach())


def pooled(kind: str) -> list[float]:
    """Two clients with 1 and 3 examples, means 0 and 4, variances 1 and 1."""
    statistics = Dense(torch.tensor([[0.0, 1.0], [4.0, 1.0]]))
    sizes = Scalars(torch.tensor([[1.0], [3.0]]).double())
    ids = torch.tensor([0, 1])
    messages = [{"statistics": statistics, "size": sizes}]
    inbox = Inbox(ids, torch.tensor([1, 1]), torch.tensor([0.5, 0.5]).double(), messages, Mean())
    state = {"pooled": torch.zeros(2), "means": torch.tensor([-1, 0])}
    ctx = Context(0, 0, "statistics", ids, 2, 4, Layout(()))
    return FedTiny(pool=1, bn_pool=kind).aggregate(state, inbox, ctx)["pooled"].tolist()


def test_variances_are_pooled_as_a_mean_or_exactly():
    """Weights 1/4 and 3/4: mean 3; variance 1, and exactly 1 + 9/4 + 3/4 = 4."""
    assert pooled("mean") == [3.0, 1.0]
    assert pooled("exact") == [3.0, 4.0]


def test_exactly_pooled_statistics_are_those_of_all_examples_together():
    """With the variances' own denominators: biased ones, as a derivation has them."""
    draw = np.random.default_rng(0)
    groups = [draw.standard_normal(n) + n for n in (5, 9, 2)]
    sizes = Scalars(torch.tensor([[float(len(g))] for g in groups]).double())
    rows = torch.tensor([[g.mean(), g.var()] for g in groups], dtype=torch.float64)
    inbox = Inbox(
        torch.arange(3),
        torch.ones(3).long(),
        torch.ones(3).double() / 3,
        [{"statistics": Dense(rows), "size": sizes}],
        Mean(),
    )
    state = {"pooled": torch.zeros(2).double(), "means": torch.tensor([-1, 0])}
    ctx = Context(0, 0, "statistics", torch.arange(3), 3, 16, Layout(()))
    found = FedTiny(pool=1, bn_pool="exact").aggregate(state, inbox, ctx)["pooled"].numpy()
    every = np.concatenate(groups)
    np.testing.assert_allclose(found, [every.mean(), every.var()], rtol=0, atol=1e-12)


def test_a_density_of_one_is_fedavg_with_averaged_statistics(examples, model):
    tiny = run(FedTiny(density=1.0, pool=1, **LOCAL), examples, model, rounds=2)
    plain = run(FedAvg(**LOCAL), examples, model, rounds=2)
    torch.testing.assert_close(tiny.x, plain.x, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tiny.buffers, plain.buffers, rtol=1e-4, atol=1e-5)


def test_the_selection_sends_the_union_once_and_the_statistics_of_each_candidate(examples, model, chosen):
    """Per client: up C b statistics, C losses, twice a size; down the union with its positions, counts, statistics."""
    plain = run(FedTiny(density=0.1, pool=1, share=0.0, **LOCAL), examples, model)
    b, layers = len(chosen.buffers), 9
    extra = {
        way: chosen.history[0].traffic[f"{way}_payload_bytes"]
        - plain.history[0].traffic[f"{way}_payload_bytes"]
        for way in ("up", "down")
    }
    statistics, size, votes = 2 + 2 + 4 * 4 * b, 2 + 1 + 8, 2 + 1 + 8 * 4
    assert extra["up"] == CLIENTS * (statistics + 2 * size + votes)
    most = chosen.server["counts"].view(4, -1).amax(0).sum()
    values = 4 * (int(most) + int((~inside(model)).sum()))
    told = statistics + 2 + 1 + 8 * 4 * layers + values
    assert told * CLIENTS < extra["down"] < 1.2 * told * CLIENTS


def inside(model: nn.Module) -> torch.Tensor:
    """Which parameters are of pruned layers."""
    layout = layout_of(model)
    found = torch.zeros(layout.size, dtype=torch.bool)
    for layer in FedTiny().layers(layout):
        found[layer.slice] = True
    return found


@pytest.mark.parametrize("block", [1, 3])
def test_the_same_bits_however_clients_are_cut_into_blocks(examples, model, chosen, block: int):
    found = run(FedTiny(density=0.1, pool=4, share=0.0, **LOCAL), examples, model, block=block)
    assert found.x.equal(chosen.x)
    assert found.buffers.equal(chosen.buffers)
