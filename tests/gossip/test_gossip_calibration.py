"""BatchNorm statistics after a merge: of the merged model, estimated by all clients."""

import numpy as np
import torch
from engine_cases import rows
from torch import nn

from fedsparse.cohort.examples import Examples
from fedsparse.data.holdings import Stored
from fedsparse.simulation import Result, simulate
from fedsparse.strategies.single_merging import SingleMerging
from fedsparse.topologies.ring import Ring

CLIENTS, EACH = 4, 8
DRAW = np.random.default_rng(0)
X = DRAW.standard_normal((CLIENTS * EACH, 6)).astype(np.float32)
Y = DRAW.integers(0, 3, len(X))


def seeded(*layers: nn.Module) -> nn.Sequential:
    """A model with the same parameters each time."""
    model, draw = nn.Sequential(*layers), torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = torch.empty_like(parameter).normal_(generator=draw)
    return model


def network() -> nn.Sequential:
    return seeded(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))


def merged(calibration: int, model: nn.Sequential | None = None, **given: int) -> Result:
    """Clients that train apart and merge in the last round; a minibatch is all that a client has, unless said."""
    examples = Examples(X, Y, X[:8], Y[:8], Stored(np.arange(len(X)), np.arange(CLIENTS + 1) * EACH))
    strategy = SingleMerging(gossip=False, calibration=calibration)
    return simulate(strategy, examples=examples, model=model or network(), topology=Ring(), rounds=2, **given)


def expected(x: torch.Tensor) -> np.ndarray:
    """The mean over the clients of PyTorch's statistics of their examples, at the merged model ``x [d]``."""
    module = network()
    nn.utils.vector_to_parameters(x, module.parameters())
    linear, norm = module[0], nn.BatchNorm1d(5, momentum=1.0)
    found = []
    for client in range(CLIENTS):
        norm(linear(torch.from_numpy(X[client * EACH : (client + 1) * EACH])))
        found.append(torch.cat([norm.running_mean, norm.running_var]).numpy())
    return np.mean(found, axis=0)


def test_calibrated_statistics_are_those_of_the_merged_model_on_all_clients_examples() -> None:
    run = merged(1)
    wanted = expected(run.clients["x"][0])
    found = rows(run, "buffers")[:, :10]
    np.testing.assert_allclose(found, np.tile(wanted, (CLIENTS, 1)), rtol=0, atol=1e-6)
    # Averaged statistics are of other models, and have what they started from in them.
    assert abs(rows(merged(0), "buffers")[:, :10] - wanted).max() > 0.1


def test_calibration_changes_no_model_and_is_paid_for() -> None:
    plain, calibrated = merged(0), merged(2, batch=4)
    assert torch.equal(merged(0, batch=4).clients["x"], calibrated.clients["x"])
    sent = [run.history[-1].traffic["up_messages"] for run in (plain, calibrated)]
    assert sent == [CLIENTS, 2 * CLIENTS]
    assert calibrated.history[0].traffic["up_messages"] == 0


def test_calibrated_runs_have_the_same_bits_for_any_blocks_workers_and_wire() -> None:
    whole = merged(2, batch=4)
    for other in (merged(2, batch=4, block=1), merged(2, batch=4, block=2, workers=2, encode=True)):
        assert all(torch.equal(whole.clients[name], other.clients[name]) for name in whole.clients)


def test_a_model_without_statistics_is_merged_as_it_is_without_calibration() -> None:
    plain, calibrated = (merged(k, model=seeded(nn.Linear(6, 3))) for k in (0, 1))
    assert torch.equal(plain.clients["x"], calibrated.clients["x"])
