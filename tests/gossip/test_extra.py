"""EXTRA is exact on a graph that stays, and its corrections sum to zero."""

import numpy as np
import pytest
from gossip_cases import (
    AWAY,
    LOSSY,
    MUTUAL,
    RING,
    TORUS,
    assert_any_blocks_and_wire,
    bowls,
    far,
    line,
    rows,
    run,
    same_mean,
    scattered,
    weights,
)  # fmt: skip

from fedsparse.engine.faults import Faults
from fedsparse.errors import ConfigError
from fedsparse.strategies.extra import Extra
from fedsparse.topologies.exponential import Exponential
from fedsparse.topologies.one_peer_exponential import OnePeerExponential


def test_is_the_recursion_of_two_steps():
    """X' = W x - η g;  x'' = (I + W) x' - (I + W) x / 2 - η (g' - g)."""
    problem, W = bowls(), weights(RING)
    old = scattered().numpy()
    both = np.eye(16) + W
    gradient = lambda x: problem.a.numpy() * (x - problem.b.numpy())  # noqa: E731
    x = W @ old - 0.05 * gradient(old)
    for t in range(1, 30):
        found = rows(run(Extra(lr=0.05), problem, rounds=t, starts=scattered())) if t % 7 == 1 else x
        np.testing.assert_allclose(found, x, rtol=0, atol=1e-12)
        old, x = x, both @ x - both @ old / 2 - 0.05 * (gradient(x) - gradient(old))


@pytest.mark.parametrize("faults", [Faults(), MUTUAL], ids=["none", "mutual"])
def test_the_corrections_sum_to_zero(faults: Faults):
    p = rows(run(Extra(), bowls(noise=1.0), rounds=100, faults=faults), "p")
    same_mean(p, np.zeros_like(p))
    assert np.abs(p).max() > 0.1


@pytest.mark.parametrize("faults", [Faults(), MUTUAL], ids=["none", "mutual"])
def test_reaches_the_optimum(faults: Faults):
    problem = line()
    assert far(run(Extra(), problem, TORUS, 500, faults=faults), problem) < 1e-9


def test_one_way_losses_move_the_limit():
    """So that nobody relies on it: their corrections do not sum to zero."""
    problem = line()
    result = run(Extra(), problem, TORUS, 500, faults=LOSSY)
    assert far(result, problem) > 0.05
    assert abs(rows(result, "p").mean()) > 0.005


@pytest.mark.slow
def test_is_as_exact_as_the_oracle_after_3000_rounds():
    """1e-11 on the scalar ring of 16 with η = 0.1, computed with an independent NumPy transcription."""
    problem = line()
    assert far(run(Extra(lr=0.1), problem, rounds=3000), problem) < 1e-11


@pytest.mark.parametrize(("graph", "why"), [(Exponential(), "symmetric"), (OnePeerExponential(), "changes")])
def test_refuses_graphs_without_its_theory(graph: Exponential | OnePeerExponential, why: str):
    with pytest.raises(ConfigError, match=why):
        run(Extra(), bowls(), graph, rounds=1)


def test_same_bits_for_any_blocks_and_on_the_wire():
    assert_any_blocks_and_wire(lambda **o: run(Extra(), bowls(noise=0.1), rounds=3, faults=AWAY, **o))


def test_a_round_costs_a_vector_a_link():
    traffic = run(Extra(), bowls(), rounds=2).history[-1].traffic
    assert traffic["up_dense_bytes"] == 2 * 16 * 20 * 8
