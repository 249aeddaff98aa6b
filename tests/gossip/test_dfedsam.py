"""DFedSAM steps along the gradient ahead, of the same minibatch, and mixes as often as it is told."""

import numpy as np
import pytest
import torch
from gossip_cases import (
    AWAY,
    MUTUAL,
    RING,
    TORUS,
    Bowls,
    assert_any_blocks_and_wire,
    assert_same_bits,
    bowls,
    flat,
    rows,
    run,
    same_mean,
    scattered,
    weights,
)  # fmt: skip

from fedsparse import rng
from fedsparse.strategies.dfedavg import DFedAvg
from fedsparse.strategies.dfedsam import DFedSAM


def test_without_a_radius_it_is_dfedavg_bit_for_bit():
    problem = bowls(noise=0.5)
    assert_same_bits(
        run(DFedSAM(rho=0.0, lr=0.05, steps=4), problem), run(DFedAvg(lr=0.05, steps=4), problem)
    )


@pytest.mark.parametrize("mixings", [1, 2, 4])
def test_mixings_are_powers_of_the_matrix(mixings: int):
    x = scattered()
    expected = np.linalg.matrix_power(weights(RING), mixings) @ x.numpy()
    found = rows(run(DFedSAM(mixings=mixings), flat(), rounds=1, starts=x))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-15)


def test_four_mixings_shrink_the_slowest_difference_to_its_fourth_power():
    """λ_2^4 = 0.8119475 of the ring of 16."""
    mode = torch.cos(2 * torch.pi * torch.arange(16, dtype=torch.float64) / 16)[:, None].expand(-1, 20)
    found = rows(run(DFedSAM(mixings=4), flat(), rounds=1, starts=mode))
    np.testing.assert_allclose(found, 0.8119475 * mode.numpy(), rtol=0, atol=5e-8)


def test_trains_once_a_round_however_often_it_mixes():
    one, four = (run(DFedSAM(mixings=q, steps=3), bowls(), rounds=2) for q in (1, 4))
    assert [r.gradient_calls for r in one.history] == [r.gradient_calls for r in four.history] == [16 * 6] * 2


def test_on_a_round_bowl_the_step_is_that_of_the_formula():
    """F = a ||x||² / 2: x - η a (x + ρ x / ||x||)."""
    x, a = scattered(), 1.5
    problem = Bowls(torch.full_like(x, a), torch.zeros_like(x))
    expected = x - 0.1 * a * (x + 0.3 * x / x.norm(dim=1, keepdim=True))
    found = rows(run(DFedSAM(rho=0.3, steps=1), problem, rounds=1, starts=x))
    np.testing.assert_allclose(found, weights(RING) @ expected.numpy(), rtol=0, atol=1e-12)


def test_both_points_see_the_same_minibatch():
    """Noise ξ of a step is in both gradients: z - η (a (z + ρ g / ||g|| - b) + ξ) with g = a (z - b) + ξ."""
    problem, z = bowls(noise=2.0), scattered()
    x = z
    for step in range(3):
        noise = 2.0 * rng.Streams(0, f"batches:{step}", 0, range(16)).normal(20, torch.float64)
        g = problem.gradients(z) + noise
        z = z - 0.1 * (problem.gradients(z + 0.5 * g / g.norm(dim=1, keepdim=True)) + noise)
    found = rows(run(DFedSAM(rho=0.5, steps=3), problem, rounds=1, starts=x))
    np.testing.assert_allclose(found, weights(RING) @ z.numpy(), rtol=0, atol=1e-12)


def test_a_gradient_of_zero_moves_nothing():
    x = scattered()
    found = rows(run(DFedSAM(rho=1.0), flat(), rounds=1, starts=x))
    np.testing.assert_allclose(found, weights(RING) @ x.numpy(), rtol=0, atol=1e-15)


def test_symmetric_losses_keep_the_mean():
    x = scattered()
    same_mean(rows(run(DFedSAM(mixings=3), flat(), TORUS, 20, starts=x, faults=MUTUAL)), x.numpy())


def test_same_bits_for_any_blocks_and_on_the_wire():
    strategy = DFedSAM(mixings=2, steps=2)
    assert_any_blocks_and_wire(lambda **o: run(strategy, bowls(noise=0.1), rounds=3, faults=AWAY, **o))


def test_a_round_costs_a_vector_a_link_for_each_mixing():
    traffic = run(DFedSAM(mixings=3), bowls(), rounds=2).history[-1].traffic
    assert traffic["up_dense_bytes"] == 3 * 2 * 16 * 20 * 8
