"""What is evaluated without a server: the clients' own models and the mean of all."""

import math

import numpy as np
import pytest
from engine_cases import Quadratics, gaussian, gossip, idle, line, rows

from fedsparse.engine.faults import Faults
from fedsparse.strategies.dpsgd import DPSGD
from fedsparse.topologies.complete import Complete
from fedsparse.topologies.ring import Ring


def test_metrics_are_those_of_the_clients_and_of_the_mean_model() -> None:
    x = gaussian(6, 3)
    problem = Quadratics(np.ones((6, 3)), np.zeros((6, 3)))
    found = (
        gossip(DPSGD(lr=1e-12), problem, Complete(), 1, x, faults=Faults(link_loss=1.0)).history[-1].metrics
    )
    own = np.linalg.norm(x, axis=1)
    assert found["distance"] == pytest.approx(own.mean(), rel=1e-9)
    assert found["distance_std"] == pytest.approx(own.std(), rel=1e-9)
    assert found["distance_worst"] == pytest.approx(own.max(), rel=1e-9)
    assert found["distance_of_average"] == pytest.approx(np.linalg.norm(x.mean(0)), rel=1e-9)
    assert found["consensus"] == pytest.approx(math.sqrt(np.square(x - x.mean(0)).sum() / 6), rel=1e-9)


def test_evaluating_changes_nothing_of_the_run() -> None:
    x = gaussian(6, 3)
    often, once = (
        rows(gossip(DPSGD(), line(6), Ring(), 9, x[:, :1], evaluate_every=every)) for every in (1, 9)
    )
    np.testing.assert_array_equal(often, once)


def test_the_result_has_the_mean_model_and_all_clients() -> None:
    x = gaussian(6, 3)
    run = gossip(DPSGD(), idle(6, 3), Ring(), 2, x)
    np.testing.assert_allclose(run.x.numpy(), x.mean(0), rtol=0, atol=1e-15)
    assert rows(run).shape == (6, 3)


def test_a_part_of_the_clients_can_be_judged() -> None:
    x = gaussian(9, 3)
    problem = Quadratics(np.ones((9, 3)), np.zeros((9, 3)))
    options = {"faults": Faults(link_loss=1.0), "judged": 3}
    found = gossip(DPSGD(lr=1e-12), problem, Complete(), 1, x, **options).history[-1].metrics
    assert found["distance_worst"] == pytest.approx(np.linalg.norm(x, axis=1)[[0, 4, 8]].max(), rel=1e-9)
