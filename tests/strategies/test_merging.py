"""Merging into the frozen weights is the transcription's, in explicit matrices; and nothing of the mean is missed."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import pytest
import torch
from merging_cases import (
    CLASSES,
    COHORTS,
    INPUTS,
    LAYERS,
    OUTPUTS,
    RANK,
    SCALE,
    SIZES,
    WIDTH,
    Matrices,
    effective,
    run,
)
from strategy_cases import assert_same_bits
from torch import Tensor
from torch.nn.functional import pad

from fedsparse import rng
from fedsparse.engine.faults import Faults
from fedsparse.errors import ConfigError
from fedsparse.protocol import Layout, State, Strategy
from fedsparse.simulation import Result
from fedsparse.strategies._merging import Stack
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.strategies.fedex_lora import FedExLora
from fedsparse.strategies.flora import FLora

LOCAL = {"lr": 0.3, "steps": 3, "momentum": 0.5}
EVERYBODY = [range(len(SIZES))] * 3
EVERY: Mapping[str, Strategy] = {
    "fedex_lora": FedExLora(**LOCAL),
    "flora": FLora(**LOCAL),
    "flora-ranks": FLora(ranks=(1, 2), **LOCAL),
}
CLOSE = 2e-5
"""Of weights around 1, of float32 runs against a transcription in float64."""


def weights(cohort: tuple[int, ...], weighting: str) -> list[float]:
    sizes = [SIZES[i] if weighting == "examples" else 1 for i in cohort]
    return [size / sum(sizes) for size in sizes]


def residual(ends: list[dict[str, Tensor]], p: list[float]) -> float:
    """|mean(B A) - mean(B) mean(A)| / |mean(B A)| over both layers; rows and columns that a client lacks are zero."""
    missed, whole, pairs = [], [], list(zip(p, ends, strict=True))
    for layer in LAYERS:
        a, b = f"{layer}.lora_A", f"{layer}.lora_B"
        mean_a = sum(w * pad(y[a], (0, 0, 0, RANK - len(y[a]))) for w, y in pairs)
        mean_b = sum(w * pad(y[b], (0, RANK - y[b].shape[1])) for w, y in pairs)
        mean = sum(w * y[b] @ y[a] for w, y in pairs)
        whole.append(mean.flatten())
        missed.append((mean - mean_b @ mean_a).flatten())
    return float(torch.cat(missed).norm() / torch.cat(whole).norm())


def fedex(weighting: str) -> Iterator[Matrices]:
    now = Matrices.start()
    for cohort in COHORTS:
        ends, p = [now.end(i, **LOCAL) for i in cohort], weights(cohort, weighting)
        mean = {name: sum(w * y[name] for w, y in zip(p, ends, strict=True)) for name in now.x}
        base = dict(now.base)
        for layer in LAYERS:
            a, b = f"{layer}.lora_A", f"{layer}.lora_B"
            exact = sum(w * y[b] @ y[a] for w, y in zip(p, ends, strict=True))
            base[f"{layer}.base.weight"] = base[f"{layer}.base.weight"] + SCALE * (exact - mean[b] @ mean[a])
        now = Matrices(base, mean, residual(ends, p))
        yield now


def stacking(ranks: tuple[int, ...]) -> Iterator[Matrices]:
    now = Matrices.start()
    for r, cohort in enumerate(COHORTS):
        draws = rng.stream(0, "shared:adapters", r)
        for layer, n in (("p", INPUTS), ("q", WIDTH)):
            drawn = draws.uniform(-(n**-0.5), n**-0.5, RANK * n).reshape(RANK, n)
            now.x[f"{layer}.lora_A"] = torch.from_numpy(drawn)
            now.x[f"{layer}.lora_B"] = torch.zeros_like(now.x[f"{layer}.lora_B"])
        ends = [now.end(i, rank=ranks[i % len(ranks)], **LOCAL) for i in cohort]
        p = weights(cohort, "examples")
        x, base = dict(now.x), dict(now.base)
        for layer in LAYERS:
            b = torch.cat([w * y[f"{layer}.lora_B"] for w, y in zip(p, ends, strict=True)], dim=1)
            a = torch.cat([y[f"{layer}.lora_A"] for y in ends])
            base[f"{layer}.base.weight"] = base[f"{layer}.base.weight"] + SCALE * b @ a
        for name in ("head.weight", "head.bias"):
            x[name] = sum(w * y[name] for w, y in zip(p, ends, strict=True))
        now = Matrices(base, x, residual(ends, p))
        yield now


def assert_models(result: Result, expected: Iterator[Matrices]) -> None:
    """The layers of every evaluated model, its head, and the residual that is recorded are the transcription's."""
    for r, (model, reference) in enumerate(zip(result.models, expected, strict=True)):
        assert result.history[r].scalars["residual"] == pytest.approx(reference.residual, rel=1e-4)
        for layer in LAYERS:
            torch.testing.assert_close(
                effective(model, layer),
                reference.effective(layer),
                rtol=0,
                atol=CLOSE,
                msg=lambda m, r=r: f"{r}: {m}",
            )
        head = torch.cat([reference.x[name].flatten() for name in ("head.weight", "head.bias")])
        at = sum(v.numel() for name, v in reference.x.items() if "lora" in name)
        torch.testing.assert_close(model[at : at + len(head)].double(), head, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("weighting", ["one", "examples"])
def test_averaging_with_the_residual_is_the_transcriptions(weighting: str):
    assert_models(run(FedExLora(weighting=weighting, **LOCAL)), fedex(weighting))


@pytest.mark.parametrize("ranks", [(), (1, 2)])
def test_stacking_is_the_transcriptions(ranks: tuple[int, ...]):
    assert_models(run(FLora(ranks=ranks, **LOCAL)), stacking(ranks or (RANK,)))


def missed(strategy: Strategy, layer: str) -> float:
    """|P + B A - mean(B_i A_i)| / |mean(B_i A_i)| after the first round."""
    start = Matrices.start()
    ends = [start.end(i, **LOCAL) for i in COHORTS[0]]
    mean = sum(SCALE * y[f"{layer}.lora_B"] @ y[f"{layer}.lora_A"] for y in ends) / len(ends)
    found = effective(run(strategy, COHORTS[:1]).models[0], layer) - start.base[f"{layer}.base.weight"]
    return float((found - mean).norm() / mean.norm())


@dataclass(frozen=True)
class ForgetsTheResidual(FedExLora):
    """What averaging A and B apart comes to."""

    def merged(
        self, server: State, x: Tensor, stacks: Iterable[Stack], averaged: Tensor, layout: Layout
    ) -> State:
        missed = super().merged(server, x, stacks, averaged, layout)["@residual"]
        return {**server, "x": x, "@residual": missed}


@pytest.mark.parametrize("layer", LAYERS)
def test_nothing_of_the_mean_product_is_missed(layer: str):
    assert missed(FedExLora(**LOCAL), layer) < 1e-5
    assert missed(ForgetsTheResidual(**LOCAL), layer) > 5e-3


def test_a_version_that_forgets_the_residual_is_found_out():
    with pytest.raises(AssertionError):
        assert_models(run(ForgetsTheResidual(**LOCAL)), fedex("one"))


def test_of_one_client_there_is_no_residual_and_nothing_more_is_sent():
    result = run(FedExLora(**LOCAL), [(1,), (1,)])
    assert not result.server["merged"].any()
    assert [record.scalars["residual"] for record in result.history] == [0, 0]
    plain = run(FedAvg(weighting="one", **LOCAL), [(1,), (1,)])
    ours, theirs = (found.history[1].traffic["down_payload_bytes"] for found in (result, plain))
    assert ours == theirs
    assert all(torch.equal(a[: len(b)], b) for a, b in zip(result.models, plain.models, strict=True))


def test_a_full_step_of_stacking_is_a_gradient_step_on_frozen_weights_times_a_a():
    """With B = 0 the slope of A is zero and that of B is s G A^T, G being the frozen weights' gradient.

    So W changes by -lr s² G A^T A, and as that is linear in G, the clients' mean is the step of the mean loss.
    """
    start, lr = Matrices.start(), 0.4
    result = run(FLora(lr=lr, steps=1, momentum=0.0), EVERYBODY[:1])
    draws = rng.stream(0, "shared:adapters", 0)
    for layer, n in (("p", INPUTS), ("q", WIDTH)):
        a = torch.from_numpy(draws.uniform(-(n**-0.5), n**-0.5, RANK * n).reshape(RANK, n))
        weight = start.base[f"{layer}.base.weight"].requires_grad_()
        total = sum(SIZES[i] * start.loss(start.x, i) for i in range(len(SIZES))) / sum(SIZES)
        (slope,) = torch.autograd.grad(total, weight)
        expected = weight.detach() - lr * SCALE**2 * slope @ a.T @ a
        start.base[f"{layer}.base.weight"] = weight.detach()
        torch.testing.assert_close(effective(result.models[0], layer), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "cohort", "rank"),
    [("fedex_lora", 3, 4), ("flora", 2, 4), ("flora", 3, 6), ("flora-ranks", 4, 6)],
)
def test_the_shorter_of_factors_and_matrix_is_what_is_charged(name: str, cohort: int, rank: int):
    """FedEx: (M - 1) r; stacking: the sum of ranks, of four clients 1 + 2 + 1 + 2.

    Heads are of three bytes, and of five where there are factors.
    """
    clients = tuple(range(cohort))
    result, shapes = run(EVERY[name], [clients, clients]), ((WIDTH, INPUTS), (OUTPUTS, WIDTH))
    products = sum(min(5 + 4 * rank * (m + n), 3 + 4 * m * n) for m, n in shapes)
    x = len(result.server["x"]) if name == "fedex_lora" else (OUTPUTS + 1) * CLASSES
    assert result.history[1].traffic["down_payload_bytes"] == cohort * (3 + 4 * x + products)


@pytest.mark.parametrize("name", EVERY)
def test_the_same_bits_for_blocks_workers_and_real_bytes_on_a_bad_line(name: str):
    line = Faults(uplink_loss=0.2, downlink_loss=0.2)
    assert_same_bits(
        run(EVERY[name], faults=line), run(EVERY[name], faults=line, block=1, workers=2, encode=True)
    )


def test_a_rank_below_one_is_refused():
    with pytest.raises(ConfigError, match=r"strategy\.ranks=\(2, 0\): each must be at least 1"):
        FLora(ranks=(2, 0))
