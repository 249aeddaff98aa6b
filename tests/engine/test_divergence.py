"""A run whose server is no longer finite ends, and says so."""

import pytest

from fedsparse import simulate
from fedsparse.data.quadratic import Quadratics
from fedsparse.errors import Diverged
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.strategies.fedopt import FedOpt


def test_a_run_whose_clients_all_diverge_ends_instead_of_skipping_every_round() -> None:
    problem = Quadratics.drawn(clients=4, size=3, spread=1.0, noise=0.0, seed=0)
    with pytest.raises(Diverged, match=r"FedAvg: all 4 messages of round 1 are not finite.*strategy.lr"):
        simulate(FedAvg(lr=1e200), problem, rounds=20)


def test_a_diverging_run_ends_and_names_what_to_lower() -> None:
    problem = Quadratics.drawn(clients=4, size=3, spread=1.0, noise=0.0, seed=0)
    with pytest.raises(Diverged, match=r"FedOpt: server state .* not finite after round \d+.*strategy.lr"):
        simulate(FedOpt(optimizer="momentum", lr=0.1, server_lr=1e150), problem, rounds=20)
