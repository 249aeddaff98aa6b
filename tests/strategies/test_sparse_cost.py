"""Sparse strategies, and those they are compared with, say what a device computes and holds; a summary sums it up."""

import pytest
import torch
from torch import nn

from fedsparse import data, models, simulate
from fedsparse.cohort.examples import Examples
from fedsparse.cohort.supervised import SupervisedWorkload
from fedsparse.data.partition import partition
from fedsparse.data.sets import quadratic
from fedsparse.models._adapter import Adapter
from fedsparse.protocol import Strategy
from fedsparse.simulation import Result
from fedsparse.strategies.adapter_lth import AdapterLTH
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.strategies.feddst import FedDST
from fedsparse.strategies.fedex_lora import FedExLora
from fedsparse.strategies.fedtiny import FedTiny
from fedsparse.strategies.ffa_lora import FFALora
from fedsparse.strategies.fl_pqsu import FLPQSU
from fedsparse.strategies.flasc import Flasc
from fedsparse.strategies.flora import FLora
from fedsparse.strategies.hetlora import HetLora
from fedsparse.strategies.local_only import LocalOnly
from fedsparse.strategies.lotteryfl import LotteryFL
from fedsparse.strategies.magnitude import Magnitude
from fedsparse.strategies.pfedgate import PFedGate
from fedsparse.strategies.prunefl import PruneFL
from fedsparse.strategies.random_mask import RandomMask
from fedsparse.strategies.snip import Snip
from fedsparse.strategies.sparse_adapter import SparseAdapter
from fedsparse.strategies.synflow import SynFlow

CLIENTS, ROUNDS, STEPS, BATCH = 3, 4, 2, 10
MASKED = {"density": 0.3, "steps": STEPS}
EVERY: dict[str, Strategy] = {
    "random_mask": RandomMask(**MASKED),
    "magnitude": Magnitude(**MASKED),
    "snip": Snip(**MASKED),
    "synflow": SynFlow(**MASKED),
    "fl_pqsu": FLPQSU(**MASKED),
    "prunefl": PruneFL(every=2, stop=4, **MASKED),
    "feddst": FedDST(every=2, stop=4, **MASKED),
    "fedtiny": FedTiny(pool=2, every=2, stop=4, **MASKED),
    "lotteryfl": LotteryFL(threshold=0.0, share=0.2, **MASKED),
    "pfedgate": PFedGate(budget=0.3, steps=STEPS),
}
DENSE = 2 * (64 * 16 + 16 * 12 + 12 * 10)
"""Operations of a forward pass: 64 pixels, layers of 16 and 12 units, 10 classes."""
GATE = 2 * 64 * 28
"""And of a gate: six tensors, each in five blocks, but the biases of 16 and 12 in four, of 4 and of 3 entries."""


@pytest.fixture(scope="module")
def examples() -> Examples:
    found = data.load("digits")
    assert isinstance(found, data.Dataset)
    return Examples.of(found, partition("iid", found, CLIENTS, seed=0))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return models.build("mlp", (1, 8, 8), 10, seed=0, hidden=(16, 12))


def run(strategy: Strategy, examples: Examples, model: nn.Module) -> Result:
    return simulate(strategy, examples=examples, model=model, batch=BATCH, rounds=ROUNDS)


@pytest.mark.parametrize("name", EVERY)
def test_each_round_has_its_arithmetic_and_memory_and_the_summary_their_mean_and_largest(
    examples: Examples, model: nn.Module, name: str
):
    result = run(EVERY[name], examples, model)
    for figure in ("flops", "device_bytes"):
        course = [record.scalars[figure] for record in result.history]
        told = result.summary.scalars[figure]
        assert len(course) == ROUNDS
        assert told["mean"] == pytest.approx(sum(course) / ROUNDS)
        assert told["max"] == max(course) >= min(course) > 0


@pytest.mark.parametrize("name", ["random_mask", "magnitude", "snip", "synflow", "pfedgate"])
def test_a_sparse_model_computes_less_than_a_dense_one(examples: Examples, model: nn.Module, name: str):
    flops = run(EVERY[name], examples, model).summary.scalars["flops"]["max"]
    gating = GATE if name == "pfedgate" else 0
    assert 0 < flops < 3 * STEPS * BATCH * (DENSE + gating)


@pytest.mark.parametrize("name", ["prunefl", "fedtiny"])
def test_rounds_that_move_the_mask_cost_more(examples: Examples, model: nn.Module, name: str):
    """A dense gradient of the layers whose masks move, in rounds 2 and 4 of the two that follow each other."""
    flops = run(EVERY[name], examples, model).summary.scalars["flops"]
    assert flops["max"] > 1.05 * flops["mean"]


def test_a_whole_gated_model_costs_the_model_and_its_gate(examples: Examples, model: nn.Module):
    """In memory are θ, θ', a gradient, the gate with its own, and the activations of a minibatch, all float32."""
    result = run(PFedGate(budget=1.0, steps=STEPS), examples, model)
    scalars = result.summary.scalars
    assert scalars["kept"] == {"mean": 1.0, "max": 1.0}
    assert scalars["flops"]["mean"] == pytest.approx(3 * STEPS * BATCH * (DENSE + GATE))
    start = SupervisedWorkload(examples, model, BATCH).start
    gate = result.clients["gate"].shape[1]
    numbers = 3 * len(start.x) + 2 * gate + start.layout.activations * BATCH
    assert scalars["device_bytes"]["max"] == 4 * numbers


@pytest.mark.parametrize(("momentum", "vectors"), [(0.0, 2), (0.9, 3)])
@pytest.mark.parametrize("kind", [FedAvg, LocalOnly])
def test_a_dense_model_costs_what_a_mask_of_all_weights_does(
    examples: Examples, model: nn.Module, kind: type[FedAvg | LocalOnly], momentum: float, vectors: int
):
    given = {"steps": STEPS, "momentum": momentum}
    dense, whole = (run(each, examples, model) for each in (kind(**given), RandomMask(density=1.0, **given)))
    layout = SupervisedWorkload(examples, model, BATCH).start.layout
    figures = {
        "flops": 3 * STEPS * BATCH * DENSE,
        "device_bytes": 4 * (vectors * layout.size + layout.activations * BATCH),
    }
    assert [record.scalars for record in dense.history] == [figures] * ROUNDS
    assert [record.scalars for record in whole.history] == [figures] * ROUNDS


@pytest.mark.parametrize("strategy", [FedAvg(steps=STEPS), LocalOnly(steps=STEPS)])
def test_what_is_not_known_is_not_recorded(examples: Examples, strategy: Strategy):
    """Of formulas, and of a module that cannot be traced, whose clients are trained one after the other."""

    class Untraced(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x.flatten(1) if float(x.sum()) > 0 else -x.flatten(1))

    untraced = simulate(strategy, examples=examples, model=Untraced(), batch=BATCH, rounds=1)
    formula = simulate(strategy, quadratic.load(None, 0, clients=CLIENTS), rounds=1)
    assert untraced.history[0].scalars == formula.history[0].scalars == {}


def test_budgets_that_differ_keep_what_each_keeps_alone(examples: Examples, model: nn.Module):
    """A recorded number is the mean over devices; the blocks of a layer are equal, so that every client keeps alike."""
    shares = (1.0, 0.5, 0.3)
    strategies = [PFedGate(budgets=given, steps=STEPS) for given in (shares, *((share,) for share in shares))]
    mixed, *alone = (run(each, examples, model).history[0].scalars["kept"] for each in strategies)
    assert 1.0 == alone[0] > alone[1] > alone[2]
    assert mixed == pytest.approx(sum(alone) / 3)


ADAPTED, HEAD = 2 * (64 + 16), 16 * 10
"""Weights of an adapter of rank 2 for a layer of 16 units on 64 pixels, and of a head."""

B = 2 * 16


@pytest.mark.parametrize(
    ("strategy", "weights"),
    [
        (Flasc(steps=STEPS), ADAPTED + HEAD),
        (SparseAdapter(density=1.0, steps=STEPS), ADAPTED + HEAD),
        (AdapterLTH(shrink=1.0, steps=STEPS), ADAPTED + HEAD),
        (HetLora(ranks=(1, 2), steps=STEPS), ADAPTED * 2 / 3 + HEAD),
        (FedExLora(steps=STEPS), ADAPTED + HEAD),
        (FLora(steps=STEPS), ADAPTED + HEAD),
        (FLora(ranks=(1, 2), steps=STEPS), ADAPTED * 2 / 3 + HEAD),
        (FFALora(steps=STEPS), B + HEAD),
    ],
    ids=lambda value: type(value).__name__,
)
def test_adapters_cost_their_weights_and_the_head(examples: Examples, strategy: Strategy, weights: float):
    """Of three clients with ranks in turn two have rank 1 and one rank 2: 4/3 in the mean."""
    draw = torch.Generator().manual_seed(0)
    adapter = Adapter(
        nn.Linear(64, 16), torch.randn(2, 64, generator=draw), torch.randn(16, 2, generator=draw), 1.0
    )
    model = nn.Sequential(nn.Flatten(), adapter, nn.ReLU(), nn.Linear(16, 10))
    course = [record.scalars["flops"] for record in run(strategy, examples, model).history]
    assert course == pytest.approx([3 * STEPS * BATCH * 2 * weights] * ROUNDS)
