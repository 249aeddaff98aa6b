"""Push-sum: exact means on directed graphs, whatever gets lost, and SGD on top of it."""

from dataclasses import dataclass
from typing import ClassVar

import networkx as nx
import numpy as np
import pytest
from gossip_cases import AWAY, LOSSY, RING, assert_any_blocks_and_wire, bowls, flat, rows, run, scattered

from fedsparse.engine.faults import Faults
from fedsparse.errors import ConfigError
from fedsparse.graphs import Topology
from fedsparse.mixing.push_sum import PushSum as Weights
from fedsparse.simulation import Result
from fedsparse.strategies.dpsgd import DPSGD
from fedsparse.strategies.push_sum import PushSum
from fedsparse.topologies.epidemic import Epidemic


@dataclass(frozen=True)
class Arcs(Topology):
    """A random directed graph; of 8 clients with a probability of 0.35."""

    rule: ClassVar[str] = "push_sum"

    def graph(self, clients: int, seed: int = 0, t: int = 0) -> nx.Graph:
        return nx.gnp_random_graph(clients, 0.35, seed=4, directed=True)


def models(result: Result) -> np.ndarray:
    return rows(result, "s") / rows(result, "w")


@pytest.mark.parametrize("faults", [Faults(), LOSSY, AWAY], ids=["none", "lossy", "away"])
def test_averages_exactly_on_directed_graphs(faults: Faults):
    x = scattered(8)
    result = run(PushSum(steps=0), flat(8), Arcs(), 300, starts=x, faults=faults)
    np.testing.assert_allclose(models(result), np.tile(x.numpy().mean(0), (8, 1)), rtol=0, atol=1e-13)
    assert rows(result, "w").sum() == pytest.approx(8, abs=1e-12)
    assert np.abs(rows(result, "s") - x.numpy().mean(0)).max() > 0.1  # the weights are needed


@pytest.mark.parametrize("faults", [Faults(), LOSSY, AWAY], ids=["none", "lossy", "away"])
def test_what_is_lost_stays_with_its_sender(faults: Faults):
    """So the sum of s moves by what clients add to it, and by nothing else: here by nothing at all."""
    x = scattered(8)
    for rounds in (1, 2, 7):
        s = rows(run(PushSum(steps=0), flat(8), Arcs(), rounds, starts=x, faults=faults), "s")
        np.testing.assert_allclose(s.sum(0), x.numpy().sum(0), rtol=0, atol=1e-13)


def test_where_rows_sum_to_one_as_well_it_is_dpsgd():
    same, problem = {"lr": 0.05, "steps": 3, "momentum": 0.5}, bowls(noise=0.5)
    np.testing.assert_allclose(
        models(run(PushSum(**same), problem, RING)),
        rows(run(DPSGD(**same), problem, RING)),
        rtol=0,
        atol=1e-13,
    )


def test_gradients_are_taken_at_the_model_and_applied_to_the_sum():
    """Three times s <- P (s - η g(s / w)) and w <- P w."""
    problem, P = bowls(8), nx.to_numpy_array(Arcs().graph(8)).T + np.eye(8)
    P /= P.sum(0)
    s, w = scattered(8).numpy(), np.ones((8, 1))
    for _ in range(3):
        s, w = P @ (s - 0.1 * problem.a.numpy() * (s / w - problem.b.numpy())), P @ w
    result = run(PushSum(), problem, Arcs(), 3, starts=scattered(8))
    np.testing.assert_allclose(rows(result, "s"), s, rtol=0, atol=1e-13)
    np.testing.assert_allclose(rows(result, "w"), w, rtol=0, atol=1e-14)


@pytest.mark.slow
def test_the_distance_from_the_optimum_is_of_the_order_of_the_step():
    """A quarter of the step, about a quarter of the distance: 0.118 and 0.031 in the oracle, a ratio of 3.8."""
    problem = bowls(8)
    wide, close = (
        float(np.abs(models(run(PushSum(lr=lr), problem, Arcs(), 400)) - problem.optimum.numpy()).max())
        for lr in (0.05, 0.0125)
    )
    assert 3 < wide / close < 4.5


def test_the_model_is_the_sum_over_its_weight():
    result = run(PushSum(), bowls(8), Arcs(), 5)
    np.testing.assert_allclose(result.x.numpy(), models(result).mean(0), rtol=0, atol=1e-14)


def test_works_on_graphs_that_change():
    x = scattered()
    result = run(PushSum(steps=0), flat(), Epidemic(), 100, starts=x, mixing=Weights())
    np.testing.assert_allclose(models(result), np.tile(x.numpy().mean(0), (16, 1)), rtol=0, atol=1e-12)


def test_refuses_weights_whose_columns_do_not_sum_to_one():
    with pytest.raises(ConfigError, match="column"):
        run(PushSum(), bowls(), Epidemic(), 1)


def test_same_bits_for_any_blocks_and_on_the_wire():
    assert_any_blocks_and_wire(lambda **o: run(PushSum(), bowls(noise=0.1), rounds=3, faults=AWAY, **o))


def test_a_round_costs_a_vector_and_a_number_a_link():
    traffic = run(PushSum(), bowls(8), Arcs(), 1).history[-1].traffic
    assert traffic["up_dense_bytes"] == Arcs().graph(8).number_of_edges() * 21 * 8
