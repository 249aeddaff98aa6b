"""Variance-corrected averaging: gossip whose mean models keep the variance of their tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fedsparse.compress import Compressor, Identity
from fedsparse.gossip import Gossip, Neighbours, Stochastic
from fedsparse.message import Dense
from fedsparse.options import option
from fedsparse.protocol import Context, Message, Role, Start, State, Task, Vectors
from fedsparse.variance import Scope, corrected, variances


@dataclass(frozen=True)
class VarianceCorrected(Gossip):
    """Variance-corrected model averaging (Tian, Al-Ars, Kitsak, Hofstee, 2024, arXiv:2404.04616).

    Update of client i with K = ``steps`` local steps of size η = ``lr`` and momentum, which goes on from round to
    round; J_i are the neighbours that it heard, β = ``beta``::

        K times:  m_i <- momentum m_i + g_i(x_i);   x_i <- x_i - η m_i;      send x_i
        y_i = β x_i + (1-β) mean_{j in J_i} x_j
        for each tensor l:   s = 1 + strength (sqrt(v_l / Var(y_i^l)) - 1)
                             y_i^l <- mean(y_i^l) + s (y_i^l - mean(y_i^l))

    with v_l by ``target``: ``others``, the mean of Var(x_j^l) over J_i; ``own``, Var(x_i^l); ``blend``, β own + (1-β)
    others; ``none``: no correction, which is the plain average. Var is that of a tensor's entries (population
    variance), tensors are those of two dimensions and more (``scope=weights``) or all. With ``sparse=true`` mean and
    variance are over the entries that are not zero. State: x, and m with momentum. Sent to each neighbour: d values;
    with a compressing ``uplink`` also a number for each tensor, its variance before compression. Mixing weights play
    no part.

    It matters where clients begin apart (``init=independent``): averages of unlike models have vanishing variance, and
    nothing is learnt. Where all begin alike the factor s is almost 1, and it changes next to nothing.

    A message that is lost is one that did not arrive. Departures: rounds are synchronous, and who has heard nobody
    keeps its model; constant tensors (variance below 1e-12) are left alone, instead of adding 1e-4 to both variances.
    """

    stochastic: ClassVar[Stochastic] = "row"
    uplink_class: ClassVar = "unbiased"

    lr: float = option(0.05, "step size η", above=0)
    steps: int = option(1, "local steps K", at_least=1)
    momentum: float = option(0.0, "heavy-ball weight, kept from round to round", at_least=0, below=1)
    weight_decay: float = option(0.0, "L2 penalty of the local steps", at_least=0)
    beta: float = option(0.5, "weight β of the own model", at_least=0, at_most=1)
    target: str = option("others", "whose variance a tensor gets", choices=("others", "own", "blend", "none"))
    scope: Scope = option("weights", "tensors that are corrected", choices=("weights", "all"))
    strength: float = option(1.0, "share of the correction", at_least=0, at_most=1)
    sparse: bool = option(False, "whether zeros are left out of mean and variance, and stay zero")
    uplink: Compressor = Identity()

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        x = start.x[None]
        return {"x": x, "m": torch.zeros_like(x)} if self.momentum else {"x": x}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        state = self._trained(client, task)
        x = state["x"]
        if isinstance(self.uplink, Identity):
            return state, {"x": Dense(x)}
        return state, {
            "x": self.uplink.compress(x, ctx, "uplink"),
            "variance": Dense(self._variances(x, ctx)),
        }

    def _trained(self, client: State, task: Task) -> dict[str, Tensor]:
        x = client["x"]
        if not self.momentum:
            return {"x": task.sgd(x, lr=self.lr, steps=self.steps, weight_decay=self.weight_decay).x}
        m = client["m"]
        for step in range(self.steps):
            m = self.momentum * m + task.grad(x, step) + self.weight_decay * x
            x = x - self.lr * m
        return {"x": x, "m": m}

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        x = client["x"]
        y = self.beta * x + (1 - self.beta) * inbox.neighbours("x", by="one")
        if self.target == "none":
            return {**client, "x": y}
        active = y != 0 if self.sparse else None
        return {
            **client,
            "x": corrected(y, self._target(x, inbox, ctx), ctx.layout, self.scope, active, self.strength),
        }

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(up=1) if isinstance(self.uplink, Identity) else Vectors(up_compressed=1),)

    def _target(self, x: Tensor, inbox: Neighbours, ctx: Context) -> Tensor:
        """The variance that each tensor shall have, ``[C, L]``."""
        if self.target == "own":
            return self._variances(x, ctx)
        others = (
            inbox.neighbours("x", of=lambda rows: self._variances(rows, ctx), by="one")
            if isinstance(self.uplink, Identity)
            else inbox.neighbours("variance", by="one")
        )
        if self.target == "others":
            return others
        return self.beta * self._variances(x, ctx) + (1 - self.beta) * others

    def _variances(self, x: Tensor, ctx: Context) -> Tensor:
        return variances(x, ctx.layout, self.scope, x != 0 if self.sparse else None)
