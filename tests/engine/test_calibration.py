"""An evaluated model gets BatchNorm statistics of its own; nothing is sent for it, and nothing stays of it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from fedsparse import config, data, models, simulate
from fedsparse.cohort.calibration import Calibration
from fedsparse.cohort.examples import Examples
from fedsparse.cohort.supervised import SupervisedWorkload
from fedsparse.data.partition import partition
from fedsparse.data.personal import set_aside
from fedsparse.errors import ConfigError
from fedsparse.protocol import Forward, Strategy
from fedsparse.recorded import run as recorded
from fedsparse.simulation import Result
from fedsparse.strategies.dpsgd import DPSGD
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.strategies.fedtiny import FedTiny
from fedsparse.strategies.single_merging import SingleMerging
from fedsparse.topologies.ring import Ring
from fedsparse.trainers.srste import SRSTE

CLIENTS, COUNT = 4, 600


def divided(name: str = "shards", clients: int = CLIENTS, personal: float = 0.3) -> Examples:
    found = data.load("digits")
    assert isinstance(found, data.Dataset)
    held = partition(name, found, clients, seed=0)
    return Examples.of(found, *set_aside(held, personal, seed=0))


def network() -> nn.Sequential:
    """Two BatchNorm layers: the statistics of the second depend on those of the first."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first = [nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten()]
        return nn.Sequential(*first, nn.Linear(108, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))


def play(strategy: Strategy | None = None, calibration: int = COUNT, **options) -> Result:
    given = {"model": network(), "examples": divided(), "rounds": 2, "batch": 10, "evaluate_every": 2}
    return simulate(strategy or FedAvg(), calibration=calibration, **{**given, **options})


def by_pytorch(x: Tensor, examples: Examples, count: int = COUNT) -> nn.Sequential:
    """PyTorch's own means over minibatches, at the parameters ``x``."""
    module, asked = network(), Calibration(0, count)
    nn.utils.vector_to_parameters(x, module.parameters())
    minibatches = range(asked.minibatches(examples.total))
    update_bn([examples.inputs(examples.x, asked.positions(examples, k)) for k in minibatches], module)
    return module.eval()


def statistics(module: nn.Module) -> Tensor:
    return torch.cat([b.flatten() for b in module.buffers() if b.is_floating_point()])


def accuracy(module: nn.Module, x: np.ndarray, examples: Examples, y: np.ndarray) -> float:
    with torch.no_grad():
        return float((module(examples.inputs(x, np.arange(len(x)))).argmax(1).numpy() == y).mean())


def test_statistics_and_accuracy_are_pytorchs_for_the_same_minibatches() -> None:
    examples = divided()
    result = play()
    module = by_pytorch(result.x, examples)
    torch.testing.assert_close(result.buffers, statistics(module), rtol=1e-4, atol=1e-5)
    expected = accuracy(module, examples.x_test, examples, examples.y_test)
    assert result.history[-1].metrics["accuracy"] == pytest.approx(expected, abs=1e-6)


def test_clients_are_tested_with_them_by_themselves() -> None:
    examples = divided()
    result = play()
    module, at = by_pytorch(result.x, examples), [examples.own_test.examples(c) for c in range(CLIENTS)]
    own = [accuracy(module, examples.x[own], examples, examples.y[own]) for own in at]
    assert result.history[-1].metrics["personal_accuracy"] == pytest.approx(np.mean(own), abs=1e-6)


def test_minibatches_are_of_all_clients_training_examples_none_of_them_twice() -> None:
    examples, every = divided(), Calibration(3, 10**6)
    parts = [every.positions(examples, k) for k in range(every.minibatches(examples.total))]
    held = np.sort(np.concatenate([examples.own(client) for client in range(CLIENTS)]))
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), held)
    assert {len(part) for part in parts} <= {len(parts[0]), len(parts[0]) - 1}
    # A minibatch is of all clients: each has two or three of ten labels.
    assert len(np.unique(examples.y[parts[0]])) == 10
    few = Calibration(3, 40).positions(examples, 0)
    assert len(np.unique(few)) == 40
    assert not np.isin(few, np.concatenate([examples.own_test.examples(c) for c in range(CLIENTS)])).any()


@pytest.mark.parametrize("strategy", [FedAvg(), FedTiny(pool=1), DPSGD()], ids=["server", "own", "gossip"])
def test_nothing_is_sent_and_no_iterate_changes(strategy: Strategy) -> None:
    topology = {"topology": Ring()} if isinstance(strategy, DPSGD) else {}
    plain, calibrated = (play(strategy, count, **topology) for count in (0, COUNT))
    assert calibrated.x.equal(plain.x)
    assert all(calibrated.clients[name].equal(plain.clients[name]) for name in plain.clients)
    assert calibrated.history[-1].traffic_total == plain.history[-1].traffic_total
    assert not calibrated.buffers.equal(plain.buffers)
    own = {"accuracy", "accuracy_std", "accuracy_worst"} if topology else set()
    assert all(calibrated.history[-1].metrics[name] == plain.history[-1].metrics[name] for name in own)


def test_any_blocks_workers_and_wire_give_the_same_bits() -> None:
    one, other = play(), play(workers=2, block=1, encode=True)
    assert one.buffers.equal(other.buffers)
    assert one.history[-1].metrics == other.history[-1].metrics


def test_statistics_are_those_of_the_sparse_model_that_a_trainer_evaluates() -> None:
    examples = divided()
    result = play(trainer=SRSTE(ends=True), rounds=1)
    dense = statistics(by_pytorch(result.x, examples))
    layout = SupervisedWorkload(examples, network(), 10).start.layout
    sparse = SRSTE(ends=True).model(result.x[None], layout)[0]
    torch.testing.assert_close(result.buffers, statistics(by_pytorch(sparse, examples)), rtol=1e-4, atol=1e-5)
    assert (result.buffers - dense).abs().max() > 0.1


@dataclass(frozen=True)
class Halved(FedAvg):
    """Evaluates the mean of the outputs of two models."""

    def predict(self, x: Tensor, inputs: Tensor, forward: Forward) -> Tensor:
        return (forward(x, inputs) + forward(x / 2, inputs)) / 2


def test_models_that_a_strategy_evaluates_together_have_the_mean_of_their_statistics() -> None:
    result, examples = play(Halved(), rounds=1), divided()
    both = [statistics(by_pytorch(x, examples)) for x in (result.x, result.x / 2)]
    torch.testing.assert_close(result.buffers, (both[0] + both[1]) / 2, rtol=1e-4, atol=1e-5)


def gain(name: str, lr: float, steps: int, seed: int) -> float:
    """What the mean of models that were trained apart gains in accuracy by statistics of its own."""
    examples = divided(name, personal=0)
    model = models.build("resnet", (1, 8, 8), 10, seed=seed, width=2, norm="batch")
    strategy = SingleMerging(lr=lr, steps=steps, merge="never", gossip=False)
    given = {"examples": examples, "model": model, "topology": Ring(), "rounds": 1, "batch": 20, "judged": 1}
    result = play(strategy, seed=seed, **given)
    work, averaged = SupervisedWorkload(examples, model, 20), result.clients["buffers"].mean(0)
    before = work.metrics([work.evaluate(result.x, averaged, 0, strategy.predict)])["accuracy"]
    return result.history[-1].metrics["accuracy_of_average"] - before


def test_the_mean_of_models_that_were_trained_apart_is_worth_more_with_its_own_statistics() -> None:
    assert gain("iid", lr=0.3, steps=40, seed=1) > 0.1  # 0.28 -> 0.50


@pytest.mark.slow
def test_so_it_is_where_clients_have_unlike_labels() -> None:
    # 0.21 -> 0.36, 0.23 -> 0.29, 0.23 -> 0.41
    assert np.mean([gain("shards", lr=0.2, steps=60, seed=seed) for seed in range(3)]) > 0.08


def test_the_saved_model_has_the_accuracy_that_was_reported(tmp_path: Path) -> None:
    words = ["model=resnet", "model.width=2", "model.norm=batch", "calibration=300", "clients=4", "rounds=1"]
    summary = recorded(config.parse([*words, "engine=local", "quiet=true", f"runs={tmp_path}", "name=run"]))
    module = models.build("resnet", (1, 8, 8), 10, seed=0, width=2, norm="batch").eval()
    module.load_state_dict(load_file(tmp_path / "run" / "model.safetensors"), strict=False)
    found = data.load("digits")
    expected = accuracy(module, found.x_test, Examples.of(found, partition("iid", found, 4, 0)), found.y_test)
    assert summary.final["accuracy"] == pytest.approx(expected, abs=1e-6)


def test_a_model_without_statistics_and_a_single_example_are_refused(tmp_path: Path) -> None:
    words = ["engine=local", "quiet=true", f"runs={tmp_path}", "name=run", "clients=4"]
    for given, why in {
        "calibration=100": r"calibration=100: what is trained has no BatchNorm.*model\.norm=batch",
        "data=quadratic calibration=100": "calibration=100: what is trained has no BatchNorm",
        "calibration=1": "calibration=1: must be at least 2 examples",
    }.items():
        with pytest.raises(ConfigError, match=why):
            recorded(config.parse([*given.split(), *words]))
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="calibration=5: what is trained has no BatchNorm"):
        play(calibration=5, model=models.build("linear", (1, 8, 8), 10, seed=0))
