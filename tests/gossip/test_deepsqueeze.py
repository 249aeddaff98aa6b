"""DeepSqueeze keeps the mean, and what compression leaves out."""

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
    rms,
    rows,
    run,
    same_mean,
    scattered,
)  # fmt: skip

from fedsparse.compress import Compressor, Identity, RandK, TopK
from fedsparse.engine.faults import Faults
from fedsparse.errors import ConfigError
from fedsparse.strategies.beer import Beer
from fedsparse.strategies.deepsqueeze import DeepSqueeze
from fedsparse.strategies.dpsgd import DPSGD

TOP2 = TopK(0.1)


def test_without_compression_it_is_dpsgd():
    same, problem = {"lr": 0.05, "steps": 3, "momentum": 0.5}, bowls(noise=0.5)
    squeezed = run(DeepSqueeze(gamma=1.0, uplink=Identity(), **same), problem)
    np.testing.assert_allclose(rows(squeezed), rows(run(DPSGD(**same), problem)), rtol=0, atol=1e-13)
    assert not rows(squeezed, "e").any()


@pytest.mark.parametrize("faults", [Faults(), MUTUAL], ids=["none", "mutual"])
@pytest.mark.parametrize("uplink", [TOP2, RandK(0.1, unbiased=False)], ids=["topk", "randk"])
def test_the_mean_is_kept(uplink: Compressor, faults: Faults):
    x = scattered()
    result = run(DeepSqueeze(uplink=uplink), flat(), rounds=40, starts=x, faults=faults)
    same_mean(rows(result), x.numpy())


def test_what_was_not_sent_is_remembered():
    """All that was left out in T rounds is in e: with equal models, which do not move, T x = e + all that was sent."""
    first = torch.linspace(0.1, 2, 20, dtype=torch.float64)
    result = run(DeepSqueeze(uplink=TOP2), flat(), rounds=3, starts=first.expand(16, -1))
    expected, memory = first.numpy(), np.zeros(20)
    for _ in range(3):
        memory = memory + expected
        memory[np.argsort(np.abs(memory))[-2:]] = 0
    np.testing.assert_allclose(rows(result, "e"), np.tile(memory, (16, 1)), rtol=0, atol=1e-14)


def test_losses_leave_models_that_agree_as_they_are():
    first = torch.linspace(-1, 1, 20, dtype=torch.float64)
    result = run(
        DeepSqueeze(uplink=TOP2), flat(), rounds=20, starts=first.expand(16, -1), faults=Faults(link_loss=0.3)
    )
    np.testing.assert_allclose(rows(result), first.expand(16, -1).numpy(), rtol=0, atol=1e-13)


@pytest.mark.slow
def test_stays_away_from_the_optimum_where_clients_differ():
    """Smaller steps do not help, and BEER with the same messages has no such distance."""
    problem = bowls()
    for lr in (0.05, 0.0125):
        assert rms(run(DeepSqueeze(lr=lr, gamma=0.4, uplink=TOP2), problem, TORUS, 300), problem) > 0.1
    assert rms(run(Beer(uplink=TOP2), problem, TORUS, 300), problem) < 0.005


def test_refuses_an_uplink_that_may_enlarge_what_it_leaves_out():
    with pytest.raises(ConfigError, match="contractive"):
        run(DeepSqueeze(uplink=RandK(0.1)), bowls(), rounds=1)


def test_same_bits_for_any_blocks_and_on_the_wire():
    assert_any_blocks_and_wire(lambda **o: run(DeepSqueeze(), bowls(noise=0.1), rounds=3, faults=AWAY, **o))


def test_a_round_costs_a_compressed_vector_a_link():
    traffic = run(DeepSqueeze(uplink=TOP2), bowls(), RING, 2).history[-1].traffic
    assert traffic["up_dense_bytes"] == 2 * 16 * 20 * 8
    assert traffic["up_payload_bytes"] <= 2 * 16 * 24
