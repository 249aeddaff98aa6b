"""Any module, one client after the other, with each client's own parameters put in its place."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from fedsparse.cohort.layers.base import Layer, Pass, clients_alone
from fedsparse.cohort.layers.dropout import KeyedDropout, KeyedFunctions
from fedsparse.errors import ConfigError

__all__ = ["whole"]


def whole(module: nn.Module, names: Sequence[str], prefix: str) -> Layer:
    """A module that has no batched form, through :func:`torch.func.functional_call`.

    Args:
        module: gives one tensor for the examples of one client; dropout inside it must be keyed already.
        names: its parameters and statistics that are in ``run.values``, without the prefix.
        prefix: what their names begin with there.
    """
    draws = [m for m in module.modules() if isinstance(m, KeyedDropout)]
    proven = False

    def forward(run: Pass, *inputs: Tensor) -> Tensor:
        held = {name: run.own(prefix + name) for name in names}

        def one(client: int, *own: Any) -> Tensor:
            nonlocal proven
            for layer in draws:
                layer.generator = run.generators[client] if run.keys else None
            # A client that does not take part passes with padding; its statistics are not to advance.
            module.train(run.train and run.counts[client] > 0)
            values = {name: rows[client] for name, rows in held.items()}
            before = None if proven else torch.get_rng_state()
            with KeyedFunctions(run.generators[client]) if run.keys else nullcontext():
                out: Tensor = torch.func.functional_call(module, values, own)
            if before is not None and not torch.equal(before, torch.get_rng_state()):
                raise ConfigError(
                    f"model: {type(module).__name__} draws from PyTorch's global random generator in its forward, so "
                    "runs would not repeat; use nn.Dropout layers, which get keyed streams, instead"
                )
            proven = True
            return out

        return clients_alone(run, one, *inputs)

    return forward
