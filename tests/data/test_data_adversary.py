"""Saddle problems over examples: robust linear models, and a small network against a bounded perturbation."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from fedsparse import recorded, rng, run
from fedsparse.compress import TopK
from fedsparse.config import parse
from fedsparse.data import Dataset, Divisible, load
from fedsparse.data.__main__ import main
from fedsparse.data.adversarial import AdversarialTraining
from fedsparse.data.holdings import Stored
from fedsparse.data.partition import partition
from fedsparse.data.robust import RobustLinear
from fedsparse.errors import ConfigError
from fedsparse.protocol import Strategy
from fedsparse.runfolder import read_summary
from fedsparse.simulation import Result, simulate
from fedsparse.strategies.extragradient import Extragradient
from fedsparse.strategies.masha import Masha

LINEAR = ["robust_logistic", "robust_regression"]
NAMES = [*LINEAR, "adversarial"]
ON = {"robust_logistic": "logistic", "robust_regression": "logistic", "adversarial": "digits"}


def made(
    name: str, batch: int = 0, clients: int = 10, **options: object
) -> RobustLinear | AdversarialTraining:
    """The problem without files, sorted by the norm of the inputs."""
    found = load(name, on=ON[name], **options)
    assert isinstance(found, Divisible)
    return found.over(partition("norm", found.dataset, clients, 0), batch)


def somewhere(problem: RobustLinear | AdversarialTraining, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return problem.start + 0.1 * torch.randn(problem.start.shape, dtype=problem.start.dtype, generator=draw)


@pytest.mark.parametrize("name", LINEAR)
def test_the_operator_is_the_gradient_in_w_and_minus_that_in_the_scaled_perturbation(name: str) -> None:
    problem = made(name, l2=0.05, beta=3.0)
    data = load("logistic")
    held = partition("norm", data, 10, 0).examples(4)
    a, y = torch.from_numpy(data.x[held]).double(), 2.0 * torch.from_numpy(data.y[held]) - 1
    z = somewhere(problem)
    w, rho = (part.clone().requires_grad_() for part in z.chunk(2))
    r = problem.scale * rho
    t = (a + r) @ w
    losses = softplus(-y * t) if name == "robust_logistic" else (t - y).square() / 2
    value = losses.mean() + 0.025 * w @ w - 1.5 * r @ r
    in_w, in_rho = torch.autograd.grad(value, (w, rho))
    found = problem.full_gradient(torch.tensor([4]), z[None])[0]
    torch.testing.assert_close(found, torch.cat([in_w, -in_rho]))
    torch.testing.assert_close(problem.loss(torch.tensor([4]), z[None])[0], losses.mean().detach())


@pytest.mark.parametrize("name", LINEAR)
def test_the_two_blocks_have_comparable_curvature_and_the_operator_is_strongly_monotone(name: str) -> None:
    """At the start the slope's derivative is its bound, so that the largest curvatures are equal to the digit."""
    problem = made(name, l2=0.05, beta=3.0)
    jacobian = torch.autograd.functional.jacobian(problem.operator, problem.start)
    symmetric = (jacobian + jacobian.T) / 2
    size = len(symmetric) // 2
    in_w, in_r = (torch.linalg.eigvalsh(symmetric[s, s]) for s in (slice(size), slice(size, None)))
    assert float(in_w[-1]) == pytest.approx(float(in_r[-1]))
    assert float(in_w[0]) >= 0.05
    assert float(torch.linalg.eigvalsh(symmetric)[0]) >= 0.05 - 1e-12


def test_a_network_is_trained_against_a_bounded_perturbation() -> None:
    problem = made("adversarial", radius=0.3, speed=4.0)
    z = somewhere(problem)
    assert isinstance(problem, AdversarialTraining)
    assert float(problem.perturbation(1000 * z).abs().max()) <= 0.3 + 1e-6
    leaf = z.clone().requires_grad_()
    inputs, targets = problem._own[3]
    (plain,) = torch.autograd.grad(problem.loss_of(leaf, inputs, targets), leaf)
    found = problem.full_gradient(torch.tensor([3]), z[None])[0]
    cut = len(z) - 64  # the perturbation of an image of 8x8 comes last
    torch.testing.assert_close(found[:cut], plain[:cut])
    torch.testing.assert_close(found[cut:], -plain[cut:])
    assert found[cut:].abs().max() > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_mean_of_minibatches_is_the_whole(name: str) -> None:
    """Of 400 draws of 20 examples, within five standard errors in every coordinate."""
    problem, whole = made(name, batch=20), made(name)
    ids = torch.tensor([2])
    z = somewhere(problem)[None]
    draws = torch.cat([problem.gradient(ids, z, rng.Streams(0, "batches:0", t, [2])) for t in range(400)])
    error = (draws.mean(0) - whole.full_gradient(ids, z)[0]).abs()
    assert bool((error <= 5 * draws.std(0) / 20 + 1e-6).all())


@pytest.mark.parametrize("name", NAMES)
def test_one_step_names_one_minibatch_at_any_point(name: str) -> None:
    problem = made(name, batch=5)
    ids, z = torch.tensor([1, 6]), torch.stack([somewhere(problem)] * 2)

    def draw(step: int) -> Tensor:
        return problem.gradient(ids, z, rng.Streams(0, f"batches:{step}", 0, [1, 6]))

    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))


@pytest.mark.parametrize("name", NAMES)
def test_blocks_do_not_change_a_bit(name: str) -> None:
    problem = made(name, batch=7)
    one, other = (
        simulate(Masha(lr=0.1, sync=0.3, uplink=TopK(0.1)), problem, rounds=4, block=b, keep_models=True)
        for b in (1, 10)
    )
    assert all(torch.equal(a, b) for a, b in zip(one.models, other.models, strict=True))


def test_a_client_without_examples_says_nothing() -> None:
    found = load("robust_logistic", on="logistic")
    count = len(found.dataset.x)
    held = Stored(np.arange(count), np.array([0, count, count]))
    problem = found.over(held, 0)
    z = somewhere(problem).expand(2, -1)
    assert not problem.full_gradient(torch.arange(2), z)[1].any()
    assert float(problem.loss(torch.arange(2), z)[1]) == 0


def test_metrics_of_a_network_are_those_of_its_task() -> None:
    problem = made("adversarial")
    found = problem.evaluate(problem.start)
    assert found["operator_norm"] == 1
    assert set(found) == {"accuracy", "robust_accuracy", "operator_norm", "loss"}
    # No perturbation at the start.
    assert found["accuracy"] == found["robust_accuracy"]


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("robust_logistic", {"on": "digits"}, "must be a LIBSVM file, or a data set of two classes"),
        ("robust_logistic", {"on": "logistic", "beta": 0.0}, "beta=0.0"),
        ("robust_regression", {"on": "logistic", "l2": -1.0}, "l2=-1.0"),
        ("adversarial", {"on": "logistic"}, "must be a data set of images"),
        ("adversarial", {"on": "quadratic"}, "must be a data set of images"),
        ("adversarial", {"radius": 0.0}, "radius=0.0"),
    ],
)
def test_absurd_options_are_refused(name: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(name, **options)


def test_the_partition_by_norm_sorts() -> None:
    data = load("logistic")
    held = partition("norm", data, 7, 0)
    norms = [np.linalg.norm(data.x[held.examples(c)].astype(np.float64), axis=1) for c in range(7)]
    assert all(a.max() <= b.min() for a, b in pairwise(norms))
    assert set(held.sizes().tolist()) == {285, 286}


def test_the_partition_by_norm_draws_the_order_of_equal_norms() -> None:
    x = np.ones((60, 2), dtype=np.float32)
    data = Dataset("equal", x, np.arange(60) % 2, x, np.arange(60) % 2, classes=2)
    held, again, other = (partition("norm", data, 2, seed).examples(0).tolist() for seed in (0, 0, 1))
    assert held == again
    assert held not in (other, list(range(30)))


def test_a_run_divides_its_examples_and_shows_the_operator_norm(tmp_path: Path, capsys: Any) -> None:
    words = (
        "strategy=masha data=robust_logistic data.on=logistic partition=norm clients=10 rounds=3 engine=local"
    )
    assert run.main([*words.split(), f"runs={tmp_path}", "name=robust", "target=0.99"]) == 0
    text = capsys.readouterr().out
    assert "data=robust_logistic is given by formulas: model has no meaning here" in text
    assert "operator_norm" in text
    summary = read_summary(tmp_path / "robust")
    assert summary["metric"] == "operator_norm"
    with pytest.raises(ConfigError, match="device=cuda"):
        recorded.run(parse([*words.split(), "device=cuda", f"runs={tmp_path}"]))


def test_the_command_sums_up_who_holds_what(capsys: Any) -> None:
    assert main(["robust_regression", "data.on=logistic", "partition=norm", "clients=20"]) == 0
    assert "examples                              2,000" in capsys.readouterr().out


def course(strategy: Strategy, problem: RobustLinear, rounds: int) -> list[float]:
    """The operator norm ten times on the way."""
    found: Result = simulate(strategy, problem, rounds=rounds, block=20, evaluate_every=rounds // 10)
    return [record.metrics["operator_norm"] for record in found.history if record.metrics]


@pytest.mark.slow
@pytest.mark.parametrize("name", LINEAR)
def test_masha_solves_it_and_compressed_extragradient_stalls(name: str) -> None:
    problem = made(name, clients=20, l2=0.1)
    exact = course(Masha(lr=0.3, oracle="full", uplink=TopK(0.1)), problem, 700)
    naive = course(Extragradient(lr=0.3, uplink=TopK(0.1)), problem, 700)
    assert exact[-1] < 1e-4
    assert min(naive) > 1e-2


@pytest.mark.slow
def test_minibatches_do_not_keep_masha_from_the_solution() -> None:
    """Variance reduction: the same minibatch at both points, all examples at the anchor."""
    problem = made("robust_logistic", batch=20, clients=20, l2=0.1)
    assert course(Masha(lr=0.2, uplink=TopK(0.1)), problem, 1000)[-1] < 1e-3
    assert min(course(Extragradient(lr=0.2), problem, 1000)) > 1e-2


@pytest.mark.slow
def test_on_mushrooms_masha_is_three_decades_below_extragradient(real_data: Callable[[str], str]) -> None:
    """Of the squared norm, with 10 % top-k."""
    found = load("robust_logistic", real_data("libsvm"), on="mushrooms", l2=0.1)
    problem = found.over(partition("norm", found.dataset, 20, 0), 0)
    exact = course(Masha(lr=0.15, oracle="full", uplink=TopK(0.1)), problem, 1000)
    naive = course(Extragradient(lr=0.15, uplink=TopK(0.1)), problem, 1000)
    assert exact[-1] ** 2 < 1e-3 * min(naive) ** 2


@pytest.mark.parametrize("file", ["a9a", "w8a", "mushrooms", "phishing"])
def test_the_libsvm_files_make_problems(real_data: Callable[[str], str], file: str) -> None:
    found = load("robust_regression", real_data("libsvm"), on=file)
    problem = found.over(partition("shards", found.dataset, 20, 0, per_client=1), 20)
    z = problem.start.expand(20, -1)
    first = problem.gradient(torch.arange(20), z, rng.Streams(0, "batches:0", 0, list(range(20))))
    assert bool(first.isfinite().all())
    assert bool(first.any(1).all())


def test_threads_do_not_share_a_networks_weights():
    problem, strategy = made("adversarial", clients=8), Extragradient(lr=0.1)
    alone, together = (
        simulate(strategy, problem, rounds=4, block=1, workers=workers).x for workers in (1, 4)
    )
    assert torch.equal(alone, together)
