"""DFedAvg mixes what local momentum SGD gives, and its quantised form moves models by mixed changes."""

import numpy as np
import pytest
import torch
from gossip_cases import (
    AWAY,
    MUTUAL,
    RING,
    TORUS,
    assert_any_blocks_and_wire,
    assert_same_bits,
    bowls,
    far,
    flat,
    line,
    rows,
    run,
    same_mean,
    scattered,
    weights,
)  # fmt: skip

from fedsparse.compress import QSGD, Identity, TopK
from fedsparse.errors import ConfigError
from fedsparse.mixing.lazy import Lazy
from fedsparse.strategies.dfedavg import DFedAvg
from fedsparse.strategies.dpsgd import DPSGD


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_with_models_it_is_dpsgd_that_adapts_first(momentum: float):
    same = {"lr": 0.05, "steps": 4, "momentum": momentum, "weight_decay": 0.01}
    problem = bowls(noise=0.3)
    assert_same_bits(run(DFedAvg(**same), problem), run(DPSGD(order="atc", **same), problem))


def test_momentum_is_that_of_the_paper():
    """z_{k+1} = z_k - η g(z_k) + θ (z_k - z_{k-1}) with z_{-1} = z_0, then X <- W Z."""
    problem, x = bowls(), scattered()
    before, z = x, x
    for _ in range(6):
        before, z = z, z - 0.05 * problem.gradients(z) + 0.8 * (z - before)
    found = run(DFedAvg(lr=0.05, steps=6, momentum=0.8), problem, rounds=1, starts=x)
    np.testing.assert_allclose(rows(found), weights(RING) @ z.numpy(), rtol=0, atol=1e-13)


def test_without_gradients_models_are_mixed():
    x = scattered()
    expected = np.linalg.matrix_power(weights(RING), 12) @ x.numpy()
    np.testing.assert_allclose(
        rows(run(DFedAvg(), flat(), rounds=12, starts=x)), expected, rtol=0, atol=1e-14
    )


@pytest.mark.parametrize(("lr", "worst", "mean"), [(0.1, 4.247443, 0.488758), (0.05, 3.288299, 0.372125)])
def test_one_step_ends_at_the_fixed_point_of_mixed_steps(lr: float, worst: float, mean: float):
    """(I - W (I - η A)) X = η W A b, as solved in closed form with an independent transcription."""
    result, problem = run(DFedAvg(lr=lr, steps=1), line(), rounds=400), line()
    assert far(result, problem) == pytest.approx(worst, abs=5e-6)
    assert abs(rows(result).mean() - float(problem.optimum)) == pytest.approx(mean, abs=5e-6)


@pytest.mark.parametrize("uplink", [Identity(), TopK(0.2), QSGD(4)], ids=lambda c: type(c).__name__)
def test_changes_move_the_mean_by_the_mean_of_what_was_sent(uplink: Identity | TopK | QSGD):
    """So the mean after one round is that of clients who hear nobody, whatever the graph."""
    strategy = DFedAvg(lr=0.05, steps=3, sends="change", uplink=uplink)
    ring, torus = (
        rows(run(strategy, bowls(), graph, rounds=1, starts=scattered())) for graph in (RING, TORUS)
    )
    same_mean(ring, torus)
    assert np.abs(ring - torus).max() > 1e-3


def test_exchanging_changes_clients_come_to_rest_at_optima_of_their_own():
    """W q = 0: all eigenvalues of the lazy W are positive."""
    problem = bowls()
    result = run(DFedAvg(lr=0.1, steps=5, sends="change"), problem, TORUS, 600, mixing=Lazy())
    np.testing.assert_allclose(rows(result), problem.b.numpy(), rtol=0, atol=1e-6)


def test_exchanging_changes_directions_of_a_negative_eigenvalue_grow():
    """The ring of 16 has the eigenvalue -1/3."""
    spread = [far(run(DFedAvg(sends="change"), bowls(), rounds=r), bowls()) for r in (10, 20, 40)]
    assert spread[0] < spread[1] < spread[2] / 10


@pytest.mark.parametrize("sends", ["model", "change"])
def test_same_bits_for_any_blocks_and_on_the_wire(sends: str):
    strategy = DFedAvg(sends=sends, uplink=QSGD(4) if sends == "change" else Identity())
    assert_any_blocks_and_wire(lambda **o: run(strategy, bowls(noise=0.1), rounds=3, faults=AWAY, **o))


def test_losses_leave_models_that_agree_as_they_are():
    first = torch.linspace(-1, 1, 20, dtype=torch.float64)
    result = run(DFedAvg(), flat(), rounds=20, starts=first.expand(16, -1), faults=AWAY)
    np.testing.assert_allclose(rows(result), first.expand(16, -1).numpy(), rtol=0, atol=1e-14)


def test_symmetric_losses_keep_the_mean():
    x = scattered()
    same_mean(rows(run(DFedAvg(), flat(), rounds=40, starts=x, faults=MUTUAL)), x.numpy())


def test_a_round_costs_a_vector_a_link():
    traffic = run(DFedAvg(), bowls(), rounds=1).history[-1].traffic
    assert traffic["up_dense_bytes"] == 2 * 16 * 20 * 8


def test_an_uplink_that_would_not_be_used_is_refused():
    with pytest.raises(
        ConfigError, match=r"strategy.sends=model sends models as they are; use strategy.sends=change"
    ):
        DFedAvg(uplink=TopK(0.1))
