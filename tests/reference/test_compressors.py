"""The reference compressors have their exact error."""

import numpy as np
import pytest

from . import (
    compressors,
)
from .oracle import printed, top4


def relative_error(compress: compressors.Compress, x: np.ndarray, draws: int = 20_000) -> float:
    return float(np.mean([((compress(0, 0, x) - x) ** 2).sum() for _ in range(draws)]) / (x @ x))


@pytest.mark.parametrize(
    ("compress", "exact"),
    [
        (compressors.rand_k(4, seed=1), 9.0),
        (compressors.rand_k(4, seed=1, unbiased=False), 0.9),
        (compressors.dithering(1, seed=1), 4.01196),
        (compressors.dithering(4, seed=1), 0.404533),
        (compressors.dithering(1, seed=1, norm=np.inf), 1.33392),
        (compressors.natural(seed=1), 0.0951573),
    ],
)
def test_random_compressors_have_the_exact_variance(compress: compressors.Compress, exact: float):
    x = np.random.default_rng(0).standard_normal(40)
    assert relative_error(compress, x) == pytest.approx(exact, rel=0.03)


def test_scaled_sign_has_the_exact_error():
    x = np.random.default_rng(0).standard_normal(40)
    assert relative_error(compressors.scaled_sign, x, draws=1) == printed("0.372006")


def test_top_k_keeps_the_lowest_index_on_ties():
    assert list(compressors.top_k(2)(0, 0, np.array([1.0, -3.0, 3.0, 3.0]))) == [0.0, -3.0, 3.0, 0.0]


def test_top_k_reaches_its_contraction_bound_on_a_constant_vector():
    assert relative_error(top4(), np.ones(40), draws=1) == pytest.approx(0.9)


@pytest.mark.parametrize(
    "compress",
    [compressors.top_k(2), compressors.dithering(1, 0), compressors.natural(0), compressors.scaled_sign],
)
def test_zero_stays_zero(compress: compressors.Compress):
    assert not compress(0, 0, np.zeros(5)).any()
