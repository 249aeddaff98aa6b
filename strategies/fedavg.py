"""Federated averaging: local SGD on the clients, the mean of their changes on the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from fedsparse.compress import Compressor, Identity
from fedsparse.masks import dense_cost
from fedsparse.message import Dense
from fedsparse.options import option
from fedsparse.protocol import (
    Context,
    Facts,
    Inbox,
    Message,
    Role,
    Start,
    State,
    Strategy,
    Task,
    Theory,
    Trained,
    Vectors,
)


@dataclass(frozen=True)
class FedAvg(Strategy):
    """FedAvg (McMahan, Moore, Ramage, Hampson, Agüera y Arcas, AISTATS 2017, arXiv:1602.05629).

    Update, with K = ``steps`` local steps of size η_l = ``lr``, η_g = ``server_lr``, weights p_i by ``weighting``::

        client:   y_i = x;   K times:  y_i <- y_i - η_l g_i(y_i);      send C(y_i - x)
        server:   x  <- x + η_g sum_{i in cohort} p_i C(y_i - x)

    Sent: down x (d values); up one vector of d values, through ``uplink``. Clients keep no state. An unbiased
    ``uplink`` makes it FedPAQ with a constant step (Reisizadeh et al. 2020); biased compressors are refused here,
    because without a memory their error does not average out: see ``topk`` (to watch that happen) and ``fed_ef``.

    Personal: with ``tune`` a client by itself is judged twice, on x as ``personal_accuracy`` and, as
    ``tuned_accuracy``, on what ``tune`` local steps from x on its own examples make of it, which it then forgets:
    fine-tuned FedAvg. BatchNorm statistics are the common ones both times.
    Records ``flops`` and ``device_bytes`` where the model's operations are known, of a model without zeros: what a
    sparse trainer could leave out is in them.

    Limit: on clients that differ, with K > 1, the fixed point of local descent, not the optimum.
    Departures from the paper: the server may take a step other than 1; minibatches are drawn by step rather than by
    epoch unless ``epochs`` is set.
    """

    uplink_class = "unbiased"
    theory = Theory("fixed_point", {"lr": 0.02, "steps": 5}, rounds=300, within=1e-8, rate="linear")

    lr: float = option(0.2, "local step size η_l", above=0)
    server_lr: float = option(1.0, "server step size η_g", above=0)
    steps: int = option(5, "local steps K of every client", at_least=1)
    epochs: int | None = option(None, "passes over each client's examples, instead of steps", at_least=1)
    momentum: float = option(
        0.0, "heavy-ball weight of the local steps, zero at their start", at_least=0, below=1
    )
    weight_decay: float = option(0.0, "L2 penalty of the local steps", at_least=0)
    weighting: str = option("examples", "weights p_i of the clients in the mean", choices=("examples", "one"))
    uplink: Compressor = Identity()
    tune: int = option(
        0, "local steps after which a client's own model is judged, too; 0: it is not", at_least=0
    )

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        return {"x": start.x} if role == "server" else {}

    def broadcast(self, server: State, ctx: Context) -> Message:
        return {"x": Dense(server["x"][None])}

    def train(self, x: Tensor, task: Task) -> Trained:
        """Local training from ``x [1, d]``."""
        return task.sgd(
            x,
            lr=self.lr,
            steps=None if self.epochs else self.steps,
            epochs=self.epochs,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        local = self.train(heard["x"], task)
        cost = dense_cost(task, local, self.momentum)
        return {}, {"dx": self.uplink.compress(local.change, ctx, "uplink"), **cost}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        return {"x": server["x"] + self.server_lr * inbox.mean("dx", by=self.weighting)}

    def judge(self, client: State, x: Tensor, task: Task, new: Tensor, ctx: Context) -> Mapping[str, Tensor]:
        found = super().judge(client, x, task, new, ctx)
        if not self.tune:
            return found
        tuned = replace(self, steps=self.tune, epochs=None).train(x, task)
        return {**found, "tuned_accuracy": task.own_accuracy(tuned.x)}

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(down=1, up_compressed=1),)

    def theory_lr(self, facts: Facts) -> float | None:
        """(1-β) / (K η_g (L + 2 ω L_max / S)), and at most (1-β) / L_max where K > 1.

        For one step of all clients without compression it is gradient descent's 1/L; with local steps, momentum β or a
        part of the clients, L is L_max. The term with ω: E||ĝ||² of an unbiased compressor is at most
        ||∇f||² + ω/S mean ||g_i||², and ||g_i||² <= 2 ||g_i - g_i(x*)||² + 2 ||g_i(x*)||². With K > 1 each client's map
        is a contraction of quadratics; derived, not from the paper.
        """
        if self.epochs is not None:
            return None
        plain = self.steps == 1 and self.momentum == 0 and facts.full
        L_max = facts.L_max + self.weight_decay
        L = facts.L + self.weight_decay if plain else L_max
        slope = self.steps * self.server_lr * (L + 2 * facts.omega * L_max / facts.cohort)
        return (1 - self.momentum) / max(slope, L_max if self.steps > 1 else 0.0)
