"""Random subsampling: what is not sent is filled in by the receiver, and only one mask for all keeps the mean."""

import numpy as np
import pytest
import torch
from gossip_cases import (
    AWAY,
    MUTUAL,
    RING,
    TORUS,
    assert_any_blocks_and_wire,
    bowls,
    flat,
    rows,
    run,
    same_mean,
    scattered,
    spread,
    weights,
)  # fmt: skip

from fedsparse.compress import RandK
from fedsparse.protocol import Context, Layout
from fedsparse.strategies.dpsgd import DPSGD
from fedsparse.strategies.random_subsampling import RandomSubsampling
from fedsparse.topologies.complete import Complete

MASKS = pytest.mark.parametrize("masks", ["own", "shared"])


@MASKS
def test_with_all_coordinates_it_is_dpsgd(masks: str):
    same, problem = {"lr": 0.05, "steps": 3, "momentum": 0.5}, bowls(noise=0.5)
    whole = run(RandomSubsampling(fraction=1.0, masks=masks, **same), problem)
    np.testing.assert_allclose(rows(whole), rows(run(DPSGD(**same), problem)), rtol=0, atol=1e-13)


def test_a_round_is_the_formula_with_the_senders_masks():
    """x_i <- x_i + sum_j W_ij m_j (x_j - x_i), the masks drawn from the senders' own streams."""
    x = scattered().numpy()
    ctx = Context(0, 0, "train", torch.arange(16), 16, 16, Layout.of({"x": (20,)}))
    ones = torch.ones(16, 20, dtype=torch.float64)
    masks = RandK(0.3, unbiased=False).compress(ones, ctx, "mask").dense().numpy()
    assert (masks.sum(1) == 6).all()
    assert len({row.tobytes() for row in masks}) == 16
    expected = x + np.einsum("ij,jk,ijk->ik", weights(RING), masks, x[None] - x[:, None])
    found = rows(run(RandomSubsampling(fraction=0.3), flat(), rounds=1, starts=scattered()))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


def test_a_zero_that_is_sent_is_not_filled_in():
    x = torch.ones(16, 20, dtype=torch.float64)
    x[3] = 0
    found = rows(run(RandomSubsampling(fraction=1.0), flat(), rounds=1, starts=x))
    np.testing.assert_allclose(found, weights(RING) @ x.numpy(), rtol=0, atol=1e-15)


@pytest.mark.parametrize("faults", [None, MUTUAL], ids=["none", "mutual"])
def test_a_shared_mask_keeps_the_mean_and_own_masks_do_not(faults: object):
    x = scattered()
    found = {
        masks: rows(run(RandomSubsampling(masks=masks), flat(), rounds=40, starts=x, faults=faults))
        for masks in ("own", "shared")
    }
    same_mean(found["shared"], x.numpy())
    assert np.abs(found["own"].mean(0) - x.numpy().mean(0)).max() > 1e-3


@MASKS
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_slowest_difference_shrinks_on_average_as_derived(masks: str, share: float):
    """By 1 - α (1 - λ_2) a round, over 4000 coordinates that begin alike."""
    mode = torch.cos(2 * torch.pi * torch.arange(16, dtype=torch.float64) / 16)[:, None].expand(-1, 4000)
    result = run(RandomSubsampling(fraction=share, masks=masks), flat(size=4000), rounds=15, starts=mode)
    left = float((rows(result) * mode.numpy()).sum() / mode.square().sum())
    second = np.sort(np.linalg.eigvalsh(weights(RING)))[-2]
    assert left == pytest.approx((1 - share * (1 - second)) ** 15, rel=3e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("share", "rate"), [(0.1, 0.99015), (0.5, 0.95054), (1.0, 0.90108)])
def test_the_spread_shrinks_at_the_rate_of_the_oracle(share: float, rate: float):
    """Between rounds 100 and 160 on the ring of 16; computed with an independent NumPy transcription."""
    strategy, x = RandomSubsampling(fraction=share), scattered(size=1000)
    first, last = (spread(rows(run(strategy, flat(size=1000), rounds=r, starts=x))) for r in (100, 160))
    assert (last / first) ** (1 / 60) == pytest.approx(rate, abs=1e-3)


@MASKS
def test_models_that_agree_stay_as_they_are_whatever_gets_lost(masks: str):
    first = torch.linspace(-1, 1, 20, dtype=torch.float64)
    strategy = RandomSubsampling(masks=masks)
    result = run(strategy, flat(), TORUS, 20, starts=first.expand(16, -1), faults=AWAY)
    np.testing.assert_allclose(rows(result), first.expand(16, -1).numpy(), rtol=0, atol=1e-14)


def test_on_a_complete_graph_shared_coordinates_become_the_mean():
    """W = 1/16 everywhere: those of the mask agree, all others stay."""
    x = scattered()
    found = rows(run(RandomSubsampling(fraction=0.25, masks="shared"), flat(), Complete(), 1, starts=x))
    sent = np.abs(found - found.mean(0)).max(0) < 1e-14
    assert sent.sum() == 5
    np.testing.assert_array_equal(found[:, ~sent], x.numpy()[:, ~sent])


@MASKS
def test_same_bits_for_any_blocks_and_on_the_wire(masks: str):
    strategy = RandomSubsampling(masks=masks)
    assert_any_blocks_and_wire(lambda **o: run(strategy, bowls(noise=0.1), rounds=3, faults=AWAY, **o))


@MASKS
def test_a_message_is_its_values_and_twelve_bytes(masks: str):
    """Head 2, size 1, number of values 1, seed 8; two values of 8 bytes."""
    traffic = run(RandomSubsampling(masks=masks), bowls(), rounds=1).history[-1].traffic
    assert traffic["up_payload_bytes"] == 2 * 16 * (12 + 2 * 8)
