"""JWINS: partial exchange in the space of wavelets, of a share that is drawn."""

import numpy as np
import pytest
import torch
from gossip_cases import (
    AWAY,
    RING,
    assert_any_blocks_and_wire,
    bowls,
    flat,
    rows,
    run,
    scattered,
    weights,
)  # fmt: skip

from fedsparse.errors import ConfigError
from fedsparse.strategies.dpsgd import DPSGD
from fedsparse.strategies.jwins import JWINS
from fedsparse.strategies.partial_model import PartialModel

WAVELETS = pytest.mark.parametrize("wavelet", ["haar", "sym2"])

SQUARES = {
    "haar": [
        15, 87, 211.5, -10, -26, -30.5, -2.12132034, -4.94974747, -7.77817459, -10.60660172, -13.43502884, 0,
    ],
    "sym2": [
        2.47487373, 3.77577058, 18.67578097, 44.88949985, 82.41692724, 134.23448214, 171.58920072,
        -1.83711731, -1.22474487, -1.22474487, -1.22474487, -1.22474487, 9.88340213, 1.75167415,
    ],
}  # fmt: skip
"""``pywt.wavedec`` of 1, 4, ..., 121: two levels of haar, one of sym2. PyWavelets 1.8.0."""


@WAVELETS
def test_coefficients_are_those_of_pywavelets(wavelet: str):
    x = torch.arange(1, 12, dtype=torch.float64)[None] ** 2
    found = JWINS(wavelet=wavelet, level=2 if wavelet == "haar" else 1).forth(x)
    np.testing.assert_allclose(found[0].numpy(), SQUARES[wavelet], rtol=0, atol=1e-8)


@WAVELETS
@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 37, 100, 1001])
def test_the_way_back_is_exact(wavelet: str, size: int):
    strategy, x = JWINS(wavelet=wavelet), scattered(3, size)
    sent = strategy.forth(x)
    assert size <= sent.shape[1] <= size + 12
    np.testing.assert_allclose(strategy.back(sent, size).numpy(), x.numpy(), rtol=0, atol=1e-14)


@WAVELETS
def test_a_row_is_transformed_by_itself(wavelet: str):
    strategy, x = JWINS(wavelet=wavelet), scattered(5, 101)
    assert torch.equal(strategy.forth(x)[2:3], strategy.forth(x[2:3]))


@WAVELETS
def test_with_all_coefficients_it_is_dpsgd(wavelet: str):
    same, problem = {"lr": 0.05, "steps": 3, "momentum": 0.5}, bowls(noise=0.5)
    whole = run(JWINS(shares=(1.0,), wavelet=wavelet, **same), problem)
    np.testing.assert_allclose(rows(whole), rows(run(DPSGD(**same), problem)), rtol=0, atol=1e-12)
    assert not rows(whole, "since").any()


@WAVELETS
def test_a_round_is_the_formula_in_coefficients(wavelet: str):
    problem, x = bowls(), scattered()
    strategy = JWINS(shares=(0.2,), wavelet=wavelet)
    change = -0.1 * problem.gradients(x)
    moved, y = strategy.forth(change).numpy(), strategy.forth(x + change).numpy()
    masks, count = np.zeros_like(y), int(0.2 * y.shape[1] + 0.5)
    np.put_along_axis(masks, np.argsort(-np.abs(moved), axis=1)[:, :count], 1, axis=1)
    mixed = y + np.einsum("ij,jk,ijk->ik", weights(RING), masks, y[None] - y[:, None])
    result = run(strategy, problem, rounds=1, starts=x)
    expected = strategy.back(torch.from_numpy(mixed), 20).numpy()
    np.testing.assert_allclose(rows(result), expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(rows(result, "since"), np.where(masks == 1, 0, moved), rtol=0, atol=1e-13)


def test_each_client_draws_a_share_in_each_round():
    """Of 16 clients, each sends 10 % or 40 % of the coefficients: V is zero there, and nowhere else."""
    problem = bowls(size=100, noise=1.0)
    seen = [(rows(run(JWINS(shares=(0.1, 0.4)), problem, rounds=r), "since") == 0).sum(1) for r in (1, 2)]
    size = JWINS().forth(torch.zeros(1, 100)).shape[1]
    few, many = (int(share * size + 0.5) for share in (0.1, 0.4))
    assert set(seen[0].tolist()) == {few, many}
    assert {*(seen[1] < many)} == {True, False}
    assert ((seen[0] == many) != (seen[1] >= many)).any()


def test_from_the_cap_on_all_is_sent():
    result = run(JWINS(shares=(0.5,), cap=0.5), bowls(), rounds=3)
    assert not rows(result, "since").any()
    assert rows(run(JWINS(shares=(0.5,), cap=0.6), bowls(), rounds=3), "since").any()


def test_without_division_it_is_partial_model():
    """A model of one or two parameters has no room for sym2."""
    problem = bowls(size=2, noise=1.0)
    plain, same = PartialModel(fraction=0.4), JWINS(shares=(0.4,))
    np.testing.assert_allclose(rows(run(same, problem)), rows(run(plain, problem)), rtol=0, atol=1e-13)


@pytest.mark.parametrize("shares", [(), (0.0, 0.5), (1.5,), 0.3])
def test_refuses_shares_that_are_none(shares: object):
    with pytest.raises(ConfigError, match=r"strategy\.shares"):
        JWINS(shares=shares)


def test_models_that_agree_stay_as_they_are_whatever_gets_lost():
    first = torch.linspace(-1, 1, 20, dtype=torch.float64)
    result = run(JWINS(), flat(), rounds=20, starts=first.expand(16, -1), faults=AWAY)
    np.testing.assert_allclose(rows(result), first.expand(16, -1).numpy(), rtol=0, atol=1e-13)


@WAVELETS
def test_same_bits_for_any_blocks_and_on_the_wire(wavelet: str):
    strategy = JWINS(wavelet=wavelet, averaging=True)
    assert_any_blocks_and_wire(lambda **o: run(strategy, bowls(noise=0.1), rounds=3, faults=AWAY, **o))
