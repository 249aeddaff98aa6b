"""Clients are judged one by one on test examples of their own; nothing is sent for it, and nothing stays of it."""

import numpy as np
import pytest
import torch
from torch import nn

from fedsparse import data, models, simulate
from fedsparse.cohort.examples import Examples
from fedsparse.cohort.supervised import SupervisedWorkload
from fedsparse.data.partition import partition
from fedsparse.data.personal import set_aside
from fedsparse.engine.blocks import spread_of
from fedsparse.engine.sampling import Uniform
from fedsparse.errors import ConfigError
from fedsparse.masks import blocks_of, most
from fedsparse.protocol import Layout
from fedsparse.simulation import Result
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.strategies.local_only import LocalOnly
from fedsparse.strategies.lotteryfl import LotteryFL
from fedsparse.strategies.pfedgate import PFedGate

CLIENTS = 6


@pytest.fixture(scope="module")
def examples() -> Examples:
    found = data.load("digits")
    assert isinstance(found, data.Dataset)
    held = partition("dirichlet", found, CLIENTS, seed=0, alpha=0.3)
    return Examples.of(found, *set_aside(held, 0.25, seed=0))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return models.build("mlp", (1, 8, 8), 10, seed=0, hidden=(16,))


def run(strategy, examples: Examples, model: nn.Module, **options) -> Result:
    return simulate(strategy, examples=examples, model=model, **({"rounds": 4, "batch": 20} | options))


def test_every_client_sets_its_share_aside_and_trains_on_the_rest():
    found = data.load("digits")
    held = partition("dirichlet", found, CLIENTS, seed=0, alpha=0.3)
    kept, tested = set_aside(held, 0.25, seed=3)
    for client in range(CLIENTS):
        own = held.examples(client)
        parts = kept.examples(client), tested.examples(client)
        assert len(parts[1]) == min(round(0.25 * len(own)), len(own) - 1)
        np.testing.assert_array_equal(np.sort(np.concatenate(parts)), own)
    again = set_aside(held, 0.25, seed=3)[1]
    assert all(np.array_equal(again.examples(c), tested.examples(c)) for c in range(CLIENTS))


def test_accuracies_are_those_of_the_clients_own_test_examples(examples, model):
    result = run(FedAvg(), examples, model)
    accuracies = []
    weights = dict(zip(dict(model.named_parameters()), _split(result.x, model), strict=True))
    for client in range(CLIENTS):
        at = examples.own_test.examples(client)
        out = torch.func.functional_call(model, weights, (examples.inputs(examples.x, at),))
        accuracies.append(float((out.argmax(1).numpy() == examples.y[at]).mean()))
    metrics = result.history[-1].metrics
    assert metrics["personal_accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-6)
    assert metrics["personal_accuracy_worst"] == pytest.approx(min(accuracies), abs=1e-6)
    assert metrics["personal_accuracy_spread"] == pytest.approx(np.std(accuracies), abs=1e-6)


def _split(x: torch.Tensor, model: nn.Module) -> list[torch.Tensor]:
    shapes = [p.shape for p in model.parameters()]
    return [part.view(s) for part, s in zip(x.split([s.numel() for s in shapes]), shapes, strict=True)]


def test_without_test_examples_of_their_own_nobody_is_judged(model):
    found = data.load("digits")
    plain = Examples.of(found, partition("iid", found, CLIENTS, seed=0))
    assert set(run(FedAvg(), plain, model).history[-1].metrics) == {"accuracy", "loss"}


@pytest.mark.parametrize(
    "strategy",
    [FedAvg(tune=2), PFedGate(tune=2), LotteryFL(threshold=0.1, share=0.4), LocalOnly()],
    ids=["tuned", "gates", "tickets", "alone"],
)
def test_judging_costs_nothing_and_changes_nothing(examples, model, strategy):
    often, once = (run(strategy, examples, model, evaluate_every=n, cohort=3) for n in (1, 4))
    assert often.x.equal(once.x)
    assert often.history[-1].traffic_total == once.history[-1].traffic_total
    assert all(often.clients[name].equal(once.clients[name]) for name in once.clients)
    assert often.history[-1].metrics == once.history[-1].metrics


def test_a_tuned_model_is_what_local_steps_make_of_the_common_one(examples, model):
    """By hand: full gradients, so that minibatches do not matter; before the steps it is the common model."""
    result = run(FedAvg(lr=0.5, steps=1, tune=3), examples, model, batch=0, rounds=1)
    metrics, accuracies = result.history[-1].metrics, []
    for client in range(CLIENTS):
        weights = [w.clone().requires_grad_() for w in _split(result.x, model)]
        for _ in range(3):
            out = _outputs(model, weights, examples, examples.held.examples(client))
            loss = nn.functional.cross_entropy(out, _labels(examples, examples.held.examples(client)))
            slopes = torch.autograd.grad(loss, weights)
            weights = [(w - 0.5 * g).detach().requires_grad_() for w, g in zip(weights, slopes, strict=True)]
        at = examples.own_test.examples(client)
        right = _outputs(model, weights, examples, at).argmax(1) == _labels(examples, at)
        accuracies.append(float(right.double().mean()))
    assert metrics["tuned_accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-6)
    untuned = run(FedAvg(lr=0.5, steps=1), examples, model, batch=0, rounds=1).history[-1].metrics
    assert metrics["personal_accuracy"] == untuned["personal_accuracy"] != metrics["tuned_accuracy"]
    assert "tuned_accuracy" not in untuned


def _outputs(model: nn.Module, weights, examples: Examples, at) -> torch.Tensor:
    named = dict(zip(dict(model.named_parameters()), weights, strict=True))
    return torch.func.functional_call(model, named, (examples.inputs(examples.x, at),))


def _labels(examples: Examples, at) -> torch.Tensor:
    return torch.from_numpy(examples.y[at]).long()


def test_own_examples_are_judged_with_the_statistics_that_are_given(examples):
    """Those of a BatchNorm model, one row for all or each client's own, are what its module would be given."""
    normed = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))
    workload = SupervisedWorkload(examples, normed, batch=20)
    start, generator = workload.start, torch.Generator().manual_seed(0)
    task = workload.task(torch.arange(CLIENTS), 0, 0, start.buffers[None])
    statistics = torch.rand(CLIENTS, len(start.buffers), generator=generator) + 0.1
    found = task.own_accuracy(start.x[None], statistics)
    for client in range(CLIENTS):
        named = dict(normed.named_parameters()) | start.buffer_layout.split(statistics[client])
        at = examples.own_test.examples(client)
        out = torch.func.functional_call(normed.eval(), named, (examples.inputs(examples.x, at),))
        expected = (out.argmax(1) == _labels(examples, at)).float().mean()
        assert float(found[client]) == pytest.approx(float(expected), abs=1e-6)
    assert task.own_accuracy(start.x[None]).equal(task.own_accuracy(start.x[None], start.buffers[None]))
    assert not found.equal(task.own_accuracy(start.x[None], statistics[:1]))


def test_a_run_says_that_it_measures_nothing_of_models_that_are_only_the_clients_own(examples, model):
    found = data.load("digits")
    common = Examples.of(found, partition("iid", found, CLIENTS, seed=0))
    said: dict[str, list[str]] = {}
    for name, strategy, held in (
        ("missing", LocalOnly(), common),
        ("there", LocalOnly(), examples),
        ("common", FedAvg(), common),
    ):
        run(strategy, held, model, rounds=1, note=said.setdefault(name, []).append)
    assert [len(notes) for notes in said.values()] == [1, 0, 0]
    assert "strategy=local_only" in said["missing"][0]
    assert "personal=0.2" in said["missing"][0]


def test_alone_a_client_is_fedavg_with_itself(examples, model):
    """One client that takes part in every round of FedAvg hears its own model back."""
    alone = run(LocalOnly(lr=0.1, momentum=0.5), examples, model, cohort=1, sampler=Uniform(novel=0.9))
    common = run(FedAvg(lr=0.1, momentum=0.5), examples, model, cohort=1, sampler=Uniform(novel=0.9))
    torch.testing.assert_close(alone.clients["x"][0], common.x, rtol=0, atol=1e-6)
    assert alone.history[-1].metrics["personal_accuracy"] == common.history[-1].metrics["personal_accuracy"]


def test_alone_nothing_of_the_model_travels(examples, model):
    """Down nothing; up a word of three bytes from each of six clients in each of four rounds: head 2, size 1."""
    result = run(LocalOnly(), examples, model)
    total = result.history[-1].traffic_total
    assert (total["down_payload_bytes"], total["up_payload_bytes"]) == (0, 3 * 6 * 4)


@pytest.mark.parametrize("strategy", [FedAvg(tune=5), PFedGate(tune=5)], ids=["tuned", "gates"])
def test_clients_old_and_new_are_judged_before_and_after_their_own_steps(examples, model, strategy):
    metrics = run(strategy, examples, model, sampler=Uniform(novel=0.4), cohort=2).history[-1].metrics
    every = {
        f"{who}{what}_accuracy{of}"
        for who in ("", "novel_")
        for what in ("personal", "tuned")
        for of in ("", "_worst", "_spread")
    }
    assert every <= metrics.keys()
    assert metrics["novel_tuned_accuracy"] != metrics["novel_personal_accuracy"]


@pytest.mark.parametrize("options", [{"block": 1}, {"block": 2, "workers": 2}], ids=["alone", "two threads"])
def test_metrics_do_not_depend_on_blocks_and_workers(examples, model, options):
    one, other = (run(PFedGate(tune=2), examples, model, cohort=3, **o) for o in ({"block": 3}, options))
    assert one.history[-1].metrics == other.history[-1].metrics


def test_tickets_are_what_clients_are_judged_with(examples, model):
    """At the end a client keeps half of its hidden weights or fewer, and the common model all."""
    result = run(LotteryFL(threshold=0.0, share=0.6, density=0.3, ends=True), examples, model)
    assert result.history[-1].scalars["kept"] < 0.5
    metrics = result.history[-1].metrics
    assert metrics["personal_accuracy"] != pytest.approx(metrics["accuracy"], abs=1e-3)


def test_novel_clients_never_take_part_and_are_told_apart(examples, model):
    result = run(FedAvg(), examples, model, sampler=Uniform(novel=0.4), cohort=2, rounds=8)
    metrics = result.history[-1].metrics
    assert result.ids.tolist() == [0, 1, 2, 3]
    assert {"personal_accuracy", "novel_personal_accuracy"} <= metrics.keys()


def test_more_clients_than_ever_take_part_are_refused():
    with pytest.raises(ConfigError, match="cohort=9"):
        Uniform(novel=0.4).draw(0, 0, 10, 9)


@pytest.mark.parametrize("budget", [0.5, 0.3])
def test_nobody_keeps_more_than_can_be_kept(examples, model, budget: float):
    """What is told is what was counted, in training and in judging."""
    result = run(PFedGate(budget=budget, tune=2), examples, model)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    blocks = blocks_of(Layout.of(shapes, frozenset(n for n in shapes if n.endswith("weight"))), 5)
    room = float(most(blocks, torch.tensor([budget]).double(), torch.tensor([0.2]).double()))
    assert room < budget
    told = result.history[-1]
    for kept in (told.scalars["kept"], told.metrics["personal_kept"], told.metrics["tuned_kept"]):
        assert 0.2 < kept <= room + 1e-12


def test_the_worst_tenth_ends_at_the_clients_tenth():
    """Of twenty numbers it has two: the third smallest is the first outside, as K // 10 counts from zero."""
    found = spread_of({"a": np.arange(20.0), "none": np.full(3, np.nan)})
    assert found == {"a": 9.5, "a_worst": 2.0, "a_spread": pytest.approx(np.std(np.arange(20)))}


def test_clients_without_a_number_do_not_count():
    assert spread_of({"a": np.array([1.0, np.nan, 3.0])})["a"] == 2.0


@pytest.mark.slow
def test_gates_make_personal_models_better_than_the_common_one(examples, model):
    """Clients of few classes each; the whole budget against FedAvg, both with the best of a few step sizes."""
    plain = run(FedAvg(lr=0.3), examples, model, rounds=60, evaluate_every=60)
    gated = run(PFedGate(lr=1.0, gate_lr=1.0, budget=1.0), examples, model, rounds=60, evaluate_every=60)
    ours, theirs = (r.history[-1].metrics for r in (gated, plain))
    for name in ("personal_accuracy", "personal_accuracy_worst"):
        assert ours[name] > theirs[name] + 0.01
