"""What strategies that merge products of adapters into the frozen weights have in common.

A layer W h + (alpha / r) B A h has two places for a product: the adapter, of rank r, and W, of any. All clients have
the same W + (alpha / r) P. P is zero at first; the server adds to it in every round, and says what it added. So what
changes is held once, and no client has frozen weights of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fedsparse.message import LowRank, MaskedDense, Payload
from fedsparse.options import option
from fedsparse.protocol import Context, Field, Inbox, Layout, Message, Role, Start, State, Task
from fedsparse.strategies._adapters import Local

__all__ = ["Merging", "Stack"]

_WHOLE = -1
"""In the place of a rank: the matrix itself."""


class Stack(NamedTuple):
    """A sum of k outer products, ``left^T right``.

    Attributes:
        left: ``[k, m]``.
        right: ``[k, n]``.
    """

    left: Tensor
    right: Tensor


def _packed(stacks: Iterable[Stack], merged: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """What is added to P, as it travels: factors where they are fewer numbers, else the matrix; and the ranks.

    Both are as long in any round, whoever took part: ``[f]``, as P ``merged`` is, and ``[L]``.
    """
    news, ranks = torch.zeros_like(merged), torch.zeros(len(layout.products), dtype=torch.int64)
    for k, (field, (left, right)) in enumerate(zip(layout.products, stacks, strict=True)):
        if left.numel() + right.numel() < field.size:
            ranks[k], values = len(left), torch.cat([left.flatten(), right.flatten()])
        else:
            # In double precision: then it does not show in which order a product was summed up.
            ranks[k], values = _WHOLE, (left.double().mT @ right.double()).to(left.dtype).flatten()
        news[field.start : field.start + len(values)] = values
    return news, ranks


def _payload(numbers: Tensor, rank: int, field: Field) -> Payload:
    """What was added to one layer's P, from its part of :func:`_packed`."""
    if rank == _WHOLE:
        # Not `Dense`: of that a compressed downlink leaves something out, which would never be said again.
        return MaskedDense(numbers[None])
    m, n = field.shape
    left, right = numbers[: (m + n) * rank].split([m * rank, n * rank])
    return LowRank(left.view(1, rank, m).mT.contiguous(), right.view(1, rank, n).mT.contiguous())


def _missed(averaged: Tensor, x: Tensor, change: Mapping[str, Tensor], layout: Layout) -> float:
    """|mean(B A) - mean(B) mean(A)| / |mean(B A)| in Frobenius norm, over all layers; 0 where the latter is zero.

    Args:
        averaged: the plain mean of the clients' models, ``[d]``, for the means of A and B.
        x: the model from now on, ``[d]``: with its product, what is added to P is the mean product.
        change: what is added to some layers' P, ``[1, m n]`` by name.
        layout: of the model.
    """
    missed = whole = 0.0
    for field, (a, b) in zip(layout.products, layout.adapters, strict=True):
        plain, kept = (
            y[b.slice].view(b.shape).double() @ y[a.slice].view(a.shape).double() for y in (averaged, x)
        )
        mean = kept + change[field.name].view(field.shape) if field.name in change else kept
        missed += float((mean - plain).square().sum())
        whole += float(mean.square().sum())
    return (missed / whole) ** 0.5 if whole > 0 else 0.0


def _summed(merged: Tensor, change: Mapping[str, Tensor], layout: Layout) -> Tensor:
    """P ``[1, f]`` after a change of some layers' parts, ``[1, m n]`` by name."""
    found = merged.clone()
    for field in layout.products:
        if field.name in change:
            found[:, field.slice] += change[field.name]
    return found


@dataclass(frozen=True)
class Merging(Local):
    """Local steps of the clients from what all of them hold: x ``[d]``, and ``merged``, which is P ``[f]``.

    The server also has what it added last, as it travels: ``news [f]`` and, of each layer, its rank, ``ranks [L]``.
    It records ``residual``: what averaging A and B apart would have missed of the mean of B A.
    """

    held = "shared"
    robust = ()

    weighting: str = option("examples", "weights p_i of the clients in the mean", choices=("examples", "one"))

    def coefficients(self, inbox: Inbox) -> Tensor:
        """p_i, ``[M]`` float64."""
        equal = torch.full_like(inbox.weights, 1 / len(inbox.weights))
        return inbox.weights if self.weighting == "examples" else equal

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        nothing = start.x.new_zeros(start.layout.products.size)
        if role == "client":
            return {}
        if role == "held":
            return {"x": start.x[None], "merged": nothing[None]}
        ranks = torch.zeros(len(start.layout.products), dtype=torch.int64)
        zero = torch.zeros((), dtype=torch.float64)
        return {"x": start.x, "merged": nothing, "news": nothing, "ranks": ranks, "@residual": zero}

    def news(self, server: State, layout: Layout) -> Message:
        """What was added to P last, layer by layer; nothing of a layer to whose P nothing was."""
        ranks = server["ranks"].tolist()
        return {
            field.name: _payload(server["news"][field.slice], rank, field)
            for field, rank in zip(layout.products, ranks, strict=True)
            if rank
        }

    def hear(self, held: State, said: State, ctx: Context) -> State:
        return {"x": said["x"], "merged": _summed(held["merged"], said, ctx.layout)}

    def merged(
        self, server: State, x: Tensor, stacks: Iterable[Stack], averaged: Tensor, layout: Layout
    ) -> State:
        """The server's state after what is stacked is added to P: to the bit as clients do.

        Args:
            server: the state before.
            x: the model from now on, ``[d]``.
            stacks: one a layer. Best made when it is asked for: together they are as long as all messages.
            averaged: the plain mean of the clients' models, ``[d]``.
            layout: of the model.
        """
        news, ranks = _packed(stacks, server["merged"], layout)
        said = self.news({"news": news, "ranks": ranks}, layout)
        change = {name: payload.dense() for name, payload in said.items()}
        residual = _missed(averaged, x, change, layout)
        return {
            "x": x,
            "merged": _summed(server["merged"][None], change, layout)[0],
            "news": news,
            "ranks": ranks,
            "@residual": torch.tensor(residual, dtype=torch.float64),
        }

    def model(self, state: State, ctx: Context) -> Tensor:
        return torch.cat([state["x"], state["merged"]])

    def judge(self, client: State, x: Tensor, task: Task, new: Tensor, ctx: Context) -> Mapping[str, Tensor]:
        own, merged = ctx.layout.parted(x)
        task.merge(merged)
        return super().judge(client, own, task, new, ctx)
