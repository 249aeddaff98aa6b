"""FedEx-LoRA: what averaging A and B apart misses is merged into the frozen weights, so that the mean is exact."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fedsparse.masks import Cost
from fedsparse.message import Dense
from fedsparse.options import option
from fedsparse.protocol import Context, Field, Inbox, Message, State, Task, Theory
from fedsparse.strategies._merging import Merging, Stack


@dataclass(frozen=True)
class FedExLora(Merging):
    """FedEx-LoRA (Singhal, Ponkshe, Vepakomma, 2024, arXiv:2410.09432).

    x are all trained parameters, adapters and head; P is what is merged into the frozen weights of the layers with
    adapters, W + (alpha / r) P + (alpha / r) B A. With K = ``steps`` (or ``epochs``), η_l = ``lr``, β = ``momentum``,
    weights p_i by ``weighting``, which sum to one::

        client:   y_i = x;   K times:  v <- β v + g_i(y_i; P),  y_i <- y_i - η_l v;        send y_i - x
        server:   x <- x + sum_i p_i (y_i - x),    in which B̄ = sum_i p_i B_i and Ā = sum_i p_i A_i
                  R = sum_i p_i B_i A_i - B̄ Ā      the residual, of each layer
                  P <- P + R                        so that P + B̄ Ā is P before + sum_i p_i B_i A_i

    R is sent by its factors: with clients 1 to M of the round, R = sum_{i<M} p_i (B_i - B̄) (A_i - A_M), of rank
    (M - 1) r. Where that is more numbers than the matrix has, the matrix is sent.

    Sent: up d values; down x, and of each layer of m outputs and n inputs the smaller of (m + n)(M - 1) r and m n
    values. Whoever was away is sent all that it missed, or x and P where that is shorter. Server state: d + 2 f, where
    f are the frozen weights of the layers with adapters; clients keep no state, and hold x and P alike.
    Records ``flops`` and ``device_bytes`` of what is trained, and as ``residual`` the size of what is merged:
    |R| / |sum_i p_i B_i A_i| over all layers.
    Limit: that of FedAvg on a model of full rank, as far as adapters of rank r reach within a round; without adapters
    it is FedAvg.
    Departures: the paper's weights are equal, as here unless ``weighting=examples``; the server is sent changes, not
    adapters, which differ by x alone; factors are found without a decomposition. The rule of a robust ``aggregator``
    has nothing to apply to, as R would no longer belong to the mean.
    """

    theory = Theory("fixed_point", {"lr": 0.02, "steps": 5, "momentum": 0.0}, rounds=300, within=1e-8)

    weighting: str = option("one", "weights p_i of the clients in the mean", choices=("examples", "one"))

    def broadcast(self, server: State, ctx: Context) -> Message:
        return {"x": Dense(server["x"][None]), **self.news(server, ctx.layout)}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        task.merge(heard["merged"])
        local = self.train(heard["x"], task)
        cost = Cost.of(task, None, local.steps, self.momentum)
        return {}, {"dx": Dense(local.change), **cost.message()}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        mean = inbox.mean("dx", by=self.weighting)
        p = self.coefficients(inbox).to(mean.dtype)
        stacks = (_residual(inbox, mean, p, a, b) for a, b in ctx.layout.adapters)
        x = server["x"] + mean
        return self.merged(server, x, stacks, x, ctx.layout)


def _residual(inbox: Inbox, mean: Tensor, p: Tensor, a: Field, b: Field) -> Stack:
    """R of a layer, of the clients' changes, their ``mean [d]`` and their weights ``p [M]``."""
    of_a, of_b = inbox.stack("dx", a.slice), inbox.stack("dx", b.slice)
    # Where all start from is in no difference. The last client's part follows, as sum_i p_i (B_i - mean B) = 0.
    left, right = p[:-1, None] * (of_b[:-1] - mean[b.slice]), of_a[:-1] - of_a[-1]
    return Stack(left.view(-1, *b.shape).mT.reshape(-1, b.shape[0]), right.reshape(-1, a.shape[1]))
