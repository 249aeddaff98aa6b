"""Clients with different examples, a frozen base of two layers with adapters, a head; and all of it in matrices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from strategy_cases import Given
from torch import Tensor, nn
from torch.nn import functional

from fedsparse.cohort.examples import Examples
from fedsparse.data.holdings import Stored
from fedsparse.models._adapter import Adapter
from fedsparse.protocol import Strategy
from fedsparse.simulation import Result, simulate

INPUTS, WIDTH, OUTPUTS, CLASSES, RANK, SCALE = 12, 8, 5, 3, 2, 1.5
SIZES = (4, 6, 3, 5, 7)
"""Examples of the clients."""

COHORTS = [(0, 1, 2), (1, 3, 4), (0, 2, 3), (2, 3, 4)]


class Frozen(nn.Module):
    """Two layers with adapters and a head."""

    def __init__(self) -> None:
        super().__init__()
        shapes = {"p": (INPUTS, WIDTH), "q": (WIDTH, OUTPUTS)}
        for name, (n, m) in shapes.items():
            adapter = Adapter(nn.Linear(n, m), torch.rand(RANK, n) - 0.5, torch.zeros(m, RANK), SCALE)
            setattr(self, name, adapter)
        self.head = nn.Linear(OUTPUTS, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.q(torch.tanh(self.p(x)))))


def _drawn() -> tuple[nn.Module, Examples]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Frozen()
    draws, total = np.random.default_rng(0), sum(SIZES)
    x, y = draws.standard_normal((total, INPUTS)).astype(np.float32), draws.integers(0, CLASSES, total)
    held = Stored(np.arange(total), np.array([0, *np.cumsum(SIZES)]))
    return module, Examples(x, y, x[:4], y[:4], held)


MODULE, EXAMPLES = _drawn()
LAYERS = ("p", "q")


def run(strategy: Strategy, cohorts: Sequence[Sequence[int]] = COHORTS, **options: Any) -> Result:
    """``strategy`` with these cohorts and full minibatches; all in one block unless said otherwise."""
    given = {"block": len(SIZES), "keep_models": True, "cohort": len(cohorts[0]), "batch": 0} | options
    sampler = Given([np.array(cohort) for cohort in cohorts])
    return simulate(strategy, examples=EXAMPLES, model=MODULE, rounds=len(cohorts), sampler=sampler, **given)


@dataclass
class Matrices:
    """A model in float64: frozen weights W, adapters and head by name.

    Attributes:
        residual: of the round that led to it, what averaging A and B apart would have missed.
    """

    base: dict[str, Tensor] = field(default_factory=dict)
    x: dict[str, Tensor] = field(default_factory=dict)
    residual: float = 0.0

    @classmethod
    def start(cls) -> "Matrices":
        named = {name: p.detach().double() for name, p in MODULE.named_parameters()}
        base = {name: p for name, p in named.items() if ".base." in name}
        return cls(base, {name: p for name, p in named.items() if name not in base})

    def loss(self, x: Mapping[str, Tensor], client: int) -> Tensor:
        """Mean cross entropy of a client's examples."""
        own = EXAMPLES.own(client)
        h = torch.from_numpy(EXAMPLES.x[own]).double()
        for name in LAYERS:
            whole = self.base[f"{name}.base.weight"] + SCALE * x[f"{name}.lora_B"] @ x[f"{name}.lora_A"]
            h = torch.tanh(h @ whole.T + self.base[f"{name}.base.bias"])
        return functional.cross_entropy(
            h @ x["head.weight"].T + x["head.bias"], torch.from_numpy(EXAMPLES.y[own])
        )

    def end(self, client: int, lr: float, steps: int, momentum: float, rank: int = RANK) -> dict[str, Tensor]:
        """Where a client ends that has the first rows of A, the first columns of B."""
        y = {name: value.clone() for name, value in self.x.items()}
        for layer in LAYERS:
            y[f"{layer}.lora_A"], y[f"{layer}.lora_B"] = (
                y[f"{layer}.lora_A"][:rank],
                y[f"{layer}.lora_B"][:, :rank],
            )
        velocity = {name: torch.zeros_like(value) for name, value in y.items()}
        for _ in range(steps):
            y = {name: value.requires_grad_() for name, value in y.items()}
            slopes = dict(zip(y, torch.autograd.grad(self.loss(y, client), list(y.values())), strict=True))
            velocity = {name: momentum * velocity[name] + slopes[name] for name in y}
            y = {name: (y[name] - lr * velocity[name]).detach() for name in y}
        return y

    def effective(self, layer: str) -> Tensor:
        """What a layer multiplies by: W + scale B A."""
        product = self.x[f"{layer}.lora_B"] @ self.x[f"{layer}.lora_A"]
        return self.base[f"{layer}.base.weight"] + SCALE * product


def effective(model: Tensor, layer: str) -> Tensor:
    """The same of an evaluated model ``[d + f]``: its parameters, and what is merged behind them."""
    start, at = Matrices.start(), 0
    found: dict[str, Tensor] = {}
    shapes = {name: value.shape for name, value in start.x.items()}
    shapes |= {name: start.base[f"{name}.base.weight"].shape for name in LAYERS}
    for name, shape in shapes.items():
        found[name] = model[at : at + shape.numel()].view(shape).double()
        at += shape.numel()
    assert at == len(model)
    product = found[f"{layer}.lora_B"] @ found[f"{layer}.lora_A"]
    return start.base[f"{layer}.base.weight"] + SCALE * (found[layer] + product)
