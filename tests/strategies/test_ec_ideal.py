"""EC-Ideal is the reference's EC-Ideal, exact, and refused where the optimum is not known."""

import numpy as np
import pytest
import torch
from feedback_cases import ALL, arrived, path
from strategy_cases import EXACT, ToyProblem, assert_same_run, error, rows, run

from fedsparse.cohort.analytic import AnalyticWorkload
from fedsparse.compress import TopK
from fedsparse.config import parse
from fedsparse.engine.faults import Faults
from fedsparse.errors import ConfigError, ProtocolError
from fedsparse.recorded import run as recorded
from fedsparse.simulation import simulate
from fedsparse.strategies.ec_ideal import ECIdeal
from tests.reference import Trace, ec_ideal
from tests.reference.oracle import Q, everybody, top4

OPTIMAL = Q.gradients(Q.x_star)
IDEAL = ECIdeal(lr=0.1, uplink=TopK(0.1))


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_every_iterate_is_the_references_whatever_is_lost(loss: float):
    faults = Faults(uplink_loss=loss)
    given = {"lr": 0.1, "compress": top4(), "optimal": OPTIMAL}
    expected = ec_ideal(Q.gradient, Q.x0, Q.clients, arrived(faults, 60), **given)
    turned = Trace(expected.x, {}, {"e": -0.1 * expected.clients["e"]})
    assert_same_run(run(IDEAL, ALL, faults=faults), turned, {"e": "memory"})


def test_the_virtual_iterate_moves_by_plain_sgd():
    result = run(IDEAL, ALL)
    virtual = result.x.numpy() + rows(result, "memory").mean(0)
    np.testing.assert_allclose(virtual, path(result, 0.1), rtol=0, atol=EXACT)


def test_is_exact():
    """1.8e-16 after 2000 rounds, by an independent NumPy transcription."""
    assert error(run(IDEAL, everybody(400))) < 1e-12


class Lost(ToyProblem):
    """The toy, whose optimum nobody knows."""

    optimum = None


def test_a_problem_whose_optimum_is_not_known_is_refused_before_a_gradient_is_taken():
    problem = Lost()
    problem.full_gradient = None  # type: ignore[assignment, method-assign]
    with pytest.raises(ConfigError, match=r"strategy=ec_ideal.*optimum.*data=quadratic.*econtrol"):
        simulate(IDEAL, problem, rounds=1)


def test_a_task_does_not_make_an_optimum_up():
    task = AnalyticWorkload(Lost()).task(torch.arange(2), 0, 0, torch.zeros(1, 0))
    with pytest.raises(ProtocolError, match="needs_optimum"):
        _ = task.optimum


def test_a_data_set_is_refused_before_a_run_has_a_folder(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="ec_ideal"):
        recorded(parse(["strategy=ec_ideal", "data=digits", "engine=local", "name=mine", "quiet=true"]))
    assert not (tmp_path / "runs" / "mine").exists()
