"""CHOCO-SGD: gossip on compressed differences to what the neighbours already have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from fedsparse.compress import Compressor, TopK
from fedsparse.gossip import Gossip, Neighbours
from fedsparse.options import option
from fedsparse.protocol import Context, Message, Role, Start, State, Task, Theory, Vectors


@dataclass(frozen=True)
class Choco(Gossip):
    """CHOCO-SGD (Koloskova, Stich, Jaggi, ICML 2019, arXiv:1902.00340; local steps: ICLR 2020, arXiv:1907.09356).

    Update of client i with K = ``steps`` local steps of size η = ``lr``, γ = ``gamma``, Q = ``uplink``; x̂_i = ``xhat``
    is what the neighbours have of x_i::

        y_i = x_i;  K times:  y_i <- y_i - η g_i(y_i);      q_i = Q(y_i - x̂_i);   x̂_i <- x̂_i + q_i;   send q_i
        x_i <- y_i + γ sum_j W_ij (x̂_j - x̂_i)

    The sum is kept as one vector ``gap``, which grows by what i hears minus what its neighbours got of i: so three
    vectors are enough for any number of neighbours, and W must not change. K = ``steps`` = 0 is CHOCO-Gossip, which
    only averages. State: x, xhat, gap. Sent to each neighbour: one vector through ``uplink``.

    A message that is lost arrives together with the next one on that link (``queued``). What i counts of j and what j
    counts as delivered to i are always the same, so that the mean of all x_i is what it would be without losses.
    Clients that are away take no step, which moves the mean.

    Limit: as D-PSGD, a neighbourhood of size O(η) of the optimum; the mean is kept for any Q. Departure from the
    paper: x̂ is updated before mixing, as in the authors' code, and not one round later.
    """

    static_graph: ClassVar = True
    symmetric: ClassVar = True
    uplink_class: ClassVar = "either"
    delivery: ClassVar = {"q": "queued"}
    theory = Theory("neighbourhood", {"lr": 0.05, "uplink": TopK(0.2)}, rounds=100, within=0.1)

    lr: float = option(0.1, "step size η", above=0)
    steps: int = option(1, "local steps K; 0: only averaging", at_least=0)
    momentum: float = option(0.0, "heavy-ball weight, zero at the start of each round", at_least=0, below=1)
    gamma: float = option(0.2, "consensus step γ", above=0, at_most=1)
    uplink: Compressor = TopK(0.01)

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        zero = torch.zeros_like(start.x)[None]
        return {"x": start.x[None], "xhat": zero, "gap": zero}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        x = client["x"]
        if self.steps:
            x = task.sgd(x, lr=self.lr, steps=self.steps, momentum=self.momentum).x
        q = self.uplink.compress_sum(x, client["xhat"], -1.0, ctx, "uplink")
        return {"x": x, "xhat": client["xhat"] + q.dense(), "gap": client["gap"]}, {"q": q}

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        gap = client["gap"] + inbox.mix("q") - inbox.delivered("q")
        return {"x": client["x"] + self.gamma * gap, "xhat": client["xhat"], "gap": gap}

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(up_compressed=1),)
