"""The constants that compressors declare, against exact formulas, worst cases, and many draws."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from fedsparse.compress import (
    QSGD,
    BlockTopK,
    Compressor,
    Identity,
    LowBit,
    Natural,
    RandK,
    Scaled,
    Sign,
    Threshold,
    TopK,
)
from fedsparse.rng import Streams

DRAWS = 20_000


@dataclass
class Ids:
    """A context of n clients; hypothesis does not mix with function-scoped fixtures."""

    n: int

    def rng(self, purpose: str) -> Streams:
        return Streams(0, purpose, 0, range(self.n))


def error(compressor: Compressor, x: Tensor) -> float:
    """||C(x) - x||^2 / ||x||^2 of one draw for each row, averaged; in float64."""
    sent = compressor.compress(x, Ids(len(x))).dense().double()
    return float(((sent - x) ** 2).sum(1).mean() / (x[0].double() ** 2).sum())


def dithering_variance(x: Tensor, norm: float, s: int) -> float:
    f = torch.frac(s * x[0].abs() / norm)
    return float((f * (1 - f)).sum() * norm**2 / s**2 / (x[0] ** 2).sum())


UNBIASED = [
    (RandK(k=4), 9.0),
    (QSGD(levels=1), 4.01196),
    (QSGD(levels=4), 0.404533),
    (QSGD(levels=1, norm="max"), 1.33392),
    (Natural(), 0.0951573),
]


@lru_cache
def _draws(compressor: Compressor, x: tuple[float, ...]) -> Tensor:
    rows = torch.tensor(x, dtype=torch.float64).expand(DRAWS, -1)
    return compressor.compress(rows, Ids(DRAWS)).dense()


def draws_of(compressor: Compressor, x: Tensor) -> Tensor:
    """``[DRAWS, d]``, drawn once for all tests."""
    return _draws(compressor, tuple(x[0].tolist()))


@pytest.mark.parametrize(("compressor", "variance"), UNBIASED, ids=str)
def test_unbiased_compressors_have_the_right_mean(
    compressor: Compressor, variance: float, x40: Tensor
) -> None:
    draws = draws_of(compressor, x40)
    deviation = (draws.mean(0) - x40[0]).abs()
    assert bool((deviation <= 5 * draws.std(0) / math.sqrt(DRAWS) + 1e-14).all())


@pytest.mark.parametrize(("compressor", "variance"), UNBIASED, ids=str)
def test_unbiased_compressors_have_the_exact_variance(
    compressor: Compressor, variance: float, x40: Tensor
) -> None:
    squares = ((draws_of(compressor, x40) - x40) ** 2).sum(1).mean()
    assert float(squares / (x40**2).sum()) == pytest.approx(variance, rel=0.03)


@pytest.mark.parametrize(("compressor", "variance"), UNBIASED, ids=str)
def test_omega_is_at_least_the_variance(compressor: Compressor, variance: float) -> None:
    omega = compressor.omega(40)
    assert omega is not None
    assert omega >= variance


def test_the_known_variances_follow_from_the_formulas(x40: Tensor) -> None:
    two, top = float(x40.norm()), float(x40.abs().max())
    low = 2.0 ** torch.floor(torch.log2(x40.abs()))
    p = x40.abs() / low - 1
    assert dithering_variance(x40, two, 1) == pytest.approx(4.01196, rel=1e-5)
    assert dithering_variance(x40, two, 4) == pytest.approx(0.404533, rel=1e-5)
    assert dithering_variance(x40, top, 1) == pytest.approx(1.33392, rel=1e-5)
    assert float((p * (1 - p) * low**2).sum() / two**2) == pytest.approx(0.0951573, rel=1e-5)


@pytest.mark.parametrize("values", ["fp16", "bf16", "int8"])
def test_rounded_values_cost_randk_its_unbiasedness(values: str) -> None:
    assert RandK(values=values).omega(1000) is None
    assert RandK(values=values).delta(1000) is None


@pytest.mark.parametrize("values", ["same", "fp64", "fp32"])
def test_randk_in_full_precision_declares_d_over_k_minus_one(values: str) -> None:
    assert RandK(k=10, values=values).omega(1000) == 99


def test_randk_is_contractive_only_while_omega_is_below_one() -> None:
    assert RandK(k=50).delta(100) is None
    assert RandK(k=80).delta(100) == pytest.approx(0.75)
    assert RandK(k=100).delta(100) == 1


def test_unscaled_randk_loses_exactly_what_it_does_not_send(x40: Tensor) -> None:
    compressor = RandK(k=4, unbiased=False)
    assert compressor.omega(40) is None
    assert compressor.delta(40) == 0.1
    assert error(compressor, x40.expand(DRAWS, -1)) == pytest.approx(0.9, rel=0.03)


def test_natural_attains_an_eighth_at_a_third_of_the_way() -> None:
    x = 4 / 3 * torch.tensor([[1.0, -2.0, 0.25, 1024.0]], dtype=torch.float64)
    assert error(Natural(), x.expand(DRAWS, -1)) == pytest.approx(1 / 8, rel=0.03)


def test_natural_is_unbiased_below_the_smallest_exponent() -> None:
    x = torch.tensor([[1e-39, -(2.0**-128)]], dtype=torch.float64)
    mean = Natural().compress(x.expand(DRAWS, -1), Ids(DRAWS)).dense().mean(0)
    assert torch.allclose(mean, x[0], rtol=0.1, atol=0)


def test_natural_leaves_powers_of_two_alone() -> None:
    x = torch.tensor([[1.0, -2.0, 2.0**-126, 2.0**127, 0.0, -0.5]])
    assert torch.equal(Natural().compress(x, Ids(1)).dense(), x)


def test_terngrad_attains_its_bound() -> None:
    size, levels = 26, 1
    x = torch.full((1, size), 1 / (1 + math.sqrt(size)), dtype=torch.float64)
    x[0, 3] = 1
    bound = QSGD(levels=levels, norm="max").omega(size)
    assert bound == pytest.approx((math.sqrt(size) - 1) / 2)
    assert dithering_variance(x, 1.0, levels) == pytest.approx(bound, rel=1e-9)


@pytest.mark.parametrize("levels", [2, 5])
def test_max_dithering_attains_its_bound_with_more_levels(levels: int) -> None:
    size = 101
    omega = QSGD(levels=levels, norm="max").omega(size)
    assert omega is not None
    x = torch.full((1, size), 1 / (2 * levels * (1 + omega)), dtype=torch.float64)
    x[0, 0] = 1
    assert dithering_variance(x, 1.0, levels) == pytest.approx(omega, rel=1e-9)


@pytest.mark.parametrize(
    ("levels", "omega"), [(1, 1000), (4, 250), (16, 62.5), (64, 15.625), (256, 3.90625), (1000, 1)]
)
def test_qsgd_declares_the_known_bounds_for_a_million(levels: int, omega: float) -> None:
    assert QSGD(levels=levels).omega(10**6) == pytest.approx(omega)


@pytest.mark.parametrize("inner", [RandK(k=4), QSGD(levels=1), Natural()], ids=str)
def test_scaled_is_contractive_with_the_declared_constant(inner: Compressor, x40: Tensor) -> None:
    compressor, omega = Scaled(inner), inner.omega(40)
    assert omega is not None
    assert compressor.omega(40) is None
    assert compressor.delta(40) == pytest.approx(1 / (1 + omega))
    assert error(compressor, x40.expand(DRAWS, -1)) <= omega / (1 + omega) * 1.03


def test_scaled_randk_is_plain_x_on_the_subset(x40: Tensor) -> None:
    scaled = Scaled(RandK(k=4)).compress(x40, Ids(1)).dense()
    assert torch.allclose(scaled, RandK(k=4, unbiased=False).compress(x40, Ids(1)).dense(), rtol=1e-14)


def test_sign_loses_exactly_the_known_share(x40: Tensor) -> None:
    known = float(1 - x40.abs().sum() ** 2 / (40 * (x40**2).sum()))
    assert known == pytest.approx(0.372006, abs=1e-6)
    assert error(Sign(), x40) == pytest.approx(known, rel=1e-12)


CONTRACTIVE = [
    Identity(),
    Identity(values="fp16"),
    Identity(values="int8"),
    TopK(k=2),
    TopK(0.5, values="fp32"),
    TopK(0.5, values="fp16"),
    TopK(0.5, values="bf16"),
    TopK(0.5, values="int8"),
    BlockTopK(0.25, block=5),
    BlockTopK(k=3, block=4, values="int8"),
    Threshold(0.3),
    Threshold(1.0, values="int8"),
    Sign(),
    Sign(block=4),
    LowBit(2),
    LowBit(4),
]

entry = st.just(0.0) | st.floats(2**-10, 1e4) | st.floats(-1e4, -(2**-10))
vectors = hnp.arrays(np.float64, st.tuples(st.just(1), st.integers(2, 23)), elements=entry)


@pytest.mark.parametrize("compressor", CONTRACTIVE, ids=str)
@given(vectors)
@settings(max_examples=100)
def test_no_vector_loses_more_than_delta_allows(compressor: Compressor, x: np.ndarray) -> None:
    row = torch.from_numpy(x)
    delta = compressor.delta(row.shape[1])
    assert delta is not None
    assert 0 < delta <= 1
    lost = float(((compressor.compress(row, Ids(1)).dense() - row) ** 2).sum())
    whole = float((row**2).sum())
    assert lost <= (1 - delta + 1e-12) * whole


def test_topk_attains_its_delta_on_constant_vectors() -> None:
    x = torch.full((1, 40), -1.5, dtype=torch.float64)
    assert error(TopK(k=4), x) == pytest.approx(0.9, rel=1e-14)
    assert TopK(k=4).delta(40) == 0.1


def test_relative_threshold_nearly_attains_its_delta_just_below_the_level() -> None:
    x = torch.full((1, 40), 0.5 - 1e-12, dtype=torch.float64)
    x[0, 7] = 1
    assert error(Threshold(0.5), x) == pytest.approx(1 - 1 / (1 + 39 / 4), rel=1e-9)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_lowbit_attains_its_delta_at_half_a_step(bits: int) -> None:
    compressor = LowBit(bits)
    x = torch.full((1, 40), 0.5, dtype=torch.float64)
    x[0, 7] = compressor.levels
    delta = compressor.delta(40)
    assert delta is not None
    assert delta > 1 / 40
    assert error(compressor, x) == pytest.approx(1 - delta, rel=1e-12)


def test_int8_values_attain_the_declared_share_at_half_a_step() -> None:
    x = torch.full((1, 40), 0.5, dtype=torch.float64)
    x[0, 7] = 127
    delta = Identity(values="int8").delta(40)
    assert delta is not None
    assert error(Identity(values="int8"), x) == pytest.approx(1 - delta, rel=1e-12)


def test_absolute_threshold_declares_no_class() -> None:
    assert Threshold(absolute=0.1).omega(10) is None
    assert Threshold(absolute=0.1).delta(10) is None


def test_absolute_threshold_keeps_its_absolute_bound(x40: Tensor) -> None:
    payload = Threshold(absolute=0.5).compress(x40, Ids(1))
    lost = float(((payload.dense() - x40) ** 2).sum())
    assert 0 < lost <= 0.25 * (40 - int(payload.counts[0]))


GAUSSIAN = [
    (TopK(), 1 - 0.08462, 1e-3),
    (Sign(), 1 - 0.63668, 1e-3),
    (Natural(), 0.0817, 1e-2),
    (QSGD(levels=4), 198, 0.05),
    (QSGD(levels=16), 48.9, 0.03),
    (QSGD(levels=64), 11.5, 0.02),
    (QSGD(levels=256), 2.12, 0.02),
    (QSGD(levels=1000), 0.167, 0.02),
]


@pytest.mark.parametrize(("compressor", "known", "within"), GAUSSIAN, ids=str)
def test_errors_on_a_million_gaussian_entries_are_the_known_ones(
    compressor: Compressor, known: float, within: float, gaussian: Tensor
) -> None:
    assert error(compressor, gaussian) == pytest.approx(known, rel=within)


@pytest.mark.parametrize(("bits", "known"), [(2, 0.959), (3, 0.231), (4, 0.0424), (8, 1.29e-4)])
def test_lowbit_errors_on_a_million_gaussian_entries_up_to_five_are_the_known_ones(
    bits: int, known: float, gaussian: Tensor
) -> None:
    x = gaussian.clone()
    x[0, 0] = 4.997  # the error depends on the largest entry, which differs from draw to draw
    assert error(LowBit(bits), x) == pytest.approx(known, rel=5e-3)


@pytest.mark.parametrize(
    ("levels", "expected"), [(1, 798), (4, 3192), (16, 12_767), (64, 51_067), (256, 204_262)]
)
def test_qsgd_sends_the_known_number_of_entries(levels: int, expected: int, gaussian: Tensor) -> None:
    codes = QSGD(levels=levels).compress(gaussian, Ids(1)).codes
    assert abs(int(codes.count_nonzero()) - expected) < 5 * math.sqrt(expected)
