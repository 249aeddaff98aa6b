"""Clients that want different products B A and different heads: two layers of adapters, in float64."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from strategy_cases import Given
from torch import Tensor

from fedsparse import rng
from fedsparse.protocol import Layout, Strategy
from fedsparse.simulation import Result, simulate

Array = NDArray[np.float64]

SHAPES: Mapping[str, tuple[int, ...]] = {
    "p.lora_A": (2, 4),
    "p.lora_B": (3, 2),
    "q.lora_A": (2, 4),
    "q.lora_B": (3, 2),
    "head.weight": (2, 3),
}
LAYOUT = Layout.of(SHAPES)
D = LAYOUT.size
ADAPTERS = [j for f in LAYOUT if "lora" in f.name for j in range(f.start, f.start + f.size)]
A_AND_HEAD = [j for f in LAYOUT if "lora_B" not in f.name for j in range(f.start, f.start + f.size)]
CLIENTS = 6


@dataclass
class Products:
    """f_i = |W_i + B A|² / 2, summed over the layers, and |h - h_i|² / 2; W_i plays the frozen weight's part."""

    clients: int = CLIENTS
    wanted: Array = field(init=False)
    heads: Array = field(init=False)
    start: Tensor = field(init=False)
    shapes = SHAPES
    prunable = ()

    def __post_init__(self) -> None:
        draw = np.random.default_rng(5)
        self.wanted = draw.standard_normal((self.clients, 2, 3, 4))
        self.heads = draw.standard_normal((self.clients, 6))
        x = draw.uniform(-0.5, 0.5, D)
        for name in ("p.lora_B", "q.lora_B"):
            x[LAYOUT[name].slice] = 0.0
        self.start = torch.from_numpy(x)

    def of(self, i: int, x: Array) -> Array:
        """The gradient of client i, by the product rule."""
        found = np.zeros(D)
        for layer, name in enumerate("pq"):
            at_a, at_b = LAYOUT[f"{name}.lora_A"].slice, LAYOUT[f"{name}.lora_B"].slice
            a, b = x[at_a].reshape(2, 4), x[at_b].reshape(3, 2)
            left = self.wanted[i, layer] + b @ a
            found[at_a], found[at_b] = (b.T @ left).ravel(), (left @ a.T).ravel()
        head = LAYOUT["head.weight"].slice
        found[head] = x[head] - self.heads[i]
        return found

    def gradient(self, ids: Tensor, x: Tensor, draw: rng.Streams) -> Tensor:
        rows = [self.of(i, row) for i, row in zip(ids.tolist(), x.numpy(), strict=True)]
        return torch.from_numpy(np.stack(rows))


PROBLEM = Products()
START: Array = PROBLEM.start.numpy()
COHORTS = [np.sort(np.random.default_rng(t).permutation(CLIENTS)[:4]) for t in range(8)]
EVERYBODY = [np.arange(CLIENTS)] * 8


def run(strategy: Strategy, cohorts: Sequence[Any] = COHORTS, **options: Any) -> Result:
    """``strategy`` with these cohorts; all clients of a round in one block unless said otherwise."""
    problem = options.pop("problem", PROBLEM)
    given = {"block": CLIENTS, "keep_models": True, "cohort": len(cohorts[0])}
    return simulate(strategy, problem, rounds=len(cohorts), sampler=Given(cohorts), **(given | options))


def assert_iterates(result: Result, expected: Array) -> None:
    """Every evaluated model is the transcription's to 1e-12."""
    for r, (ours, reference) in enumerate(zip(result.models, expected, strict=True)):
        np.testing.assert_allclose(ours.numpy(), reference, rtol=0, atol=1e-12, err_msg=f"round {r}")
