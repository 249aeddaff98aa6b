"""BEER: gradient tracking with compressed differences of models and of trackers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from fedsparse.compress import Compressor, TopK
from fedsparse.gossip import Gossip, Neighbours
from fedsparse.options import option
from fedsparse.protocol import Context, Message, Role, Start, State, Task, Theory, Vectors


@dataclass(frozen=True)
class Beer(Gossip):
    """BEER (Zhao, Li, Li, Richtárik, Chi, NeurIPS 2022, arXiv:2201.13320).

    Update of client i with step size η = ``lr``, γ = ``gamma``, Q = ``uplink``; h_i = ``h`` and G_i = ``G`` are what
    the neighbours have of x_i and of v_i = ``v``, zero at first; v_i = g_i = g_i(x_i) at first::

        x_i <- x_i + γ sum_j W_ij (h_j - h_i) - η v_i;               send Q(x_i - h_i), which h_i gains
        v_i <- v_i + γ sum_j W_ij (G_j - G_i) + g_i(x_i) - g_i;      send Q(v_i - G_i), which G_i gains
        g_i <- g_i(x_i)                                              the gradient above, of the same sample

    Both sums are of the last round's h and G, so that both messages go in one exchange. They are kept as ``gap_h`` and
    ``gap_G``, as in ``choco``: W must not change. mean(v) = mean(g) for ever, for any Q.

    State: x, v, g, h, gap_h, G, gap_G. Sent to each neighbour: two vectors through ``uplink``.

    Messages that are lost arrive together with the next ones on that link (``queued``): the mean of all x_i moves by
    -η times that of the v_i, with or without losses. Clients that are away for whole rounds break that: others take
    steps towards them, and they take none.

    Limit: the optimum, for contractive Q and small γ. Source: the algorithm box was not at hand.
    """

    static_graph: ClassVar = True
    symmetric: ClassVar = True
    uplink_class: ClassVar = "contractive"
    delivery: ClassVar = {"x": "queued", "v": "queued"}
    theory = Theory(
        "optimum",
        {"lr": 0.03, "gamma": 0.5, "uplink": TopK(0.5)},
        rounds=400,
        within=1e-4,
        rate="linear",
    )

    lr: float = option(0.02, "step size η", above=0)
    gamma: float = option(0.1, "consensus step γ", above=0, at_most=1)
    uplink: Compressor = TopK(0.1)

    def phases(self, ctx: Context) -> tuple[str, ...]:
        return ("start", "train") if ctx.round == 0 else ("train",)

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        zero = torch.zeros_like(start.x)[None]
        return {"x": start.x[None]} | dict.fromkeys(("v", "g", "h", "gap_h", "G", "gap_G"), zero)

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        if ctx.phase == "start":
            g = task.grad(client["x"], step=1)  # a minibatch of its own: step 0 is that of phase train
            return {**client, "v": g, "g": g}, {}
        x = client["x"] + self.gamma * client["gap_h"] - self.lr * client["v"]
        g = task.grad(x)
        v = client["v"] + self.gamma * client["gap_G"] + (g - client["g"])
        dx = self.uplink.compress_sum(x, client["h"], -1.0, ctx, "x")
        dv = self.uplink.compress_sum(v, client["G"], -1.0, ctx, "v")
        copies = {"h": dx.added_to(client["h"]), "G": dv.added_to(client["G"])}
        return {**client, "x": x, "v": v, "g": g, **copies}, {"x": dx, "v": dv}

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        gaps = {
            "gap_h": client["gap_h"] + inbox.mix("x") - inbox.delivered("x"),
            "gap_G": client["gap_G"] + inbox.mix("v") - inbox.delivered("v"),
        }
        return {**client, **gaps}

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(up_compressed=2),)
