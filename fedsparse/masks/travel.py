"""Values on a mask: alone where both ends know it, and otherwise with their positions."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from fedsparse.masks.numbers import places
from fedsparse.message import MaskedDense, Ragged, Sparse
from fedsparse.protocol import Inbox
from fedsparse.wire.sparse import starts_of

__all__ = ["at_marks", "marked", "mean_of_holders", "placed", "positions", "taken", "unpacked"]


def taken(x: Tensor, mask: Tensor) -> MaskedDense:
    """The entries of ``x [C, d]`` on ``mask [d]``, in order."""
    return MaskedDense(x.index_select(1, places(mask)))


def placed(values: Tensor, mask: Tensor) -> Tensor:
    """The vectors ``[C, d]`` with ``values [C, k]`` on ``mask [d]``, and zeros elsewhere: undoes :func:`taken`."""
    out = values.new_zeros(len(values), len(mask))
    return out.index_copy_(1, places(mask), values)


def marked(values: Tensor, marks: Tensor) -> Sparse:
    """The entries of ``values [C, d]`` where ``marks [C, d]`` is true, with their positions."""
    return Sparse(marks.nonzero()[:, 1], values[marks], starts_of(marks.sum(1)), values.shape[1])


def at_marks(sent: Ragged, marks: Tensor) -> Sparse:
    """The values of each row of ``sent`` at that row's ``marks [C, d]``, of which there are as many."""
    return Sparse(marks.nonzero()[:, 1], sent.values, sent.offsets, marks.shape[1], sent.kind, sent.scale)


def unpacked(values: Tensor, marks: Tensor) -> Tensor:
    """The vectors ``[C, d]`` with the first ``values [C, d]`` of each row at its ``marks [C, d]``, else zeros."""
    front = torch.arange(marks.shape[1]) < marks.sum(1, keepdim=True)
    return torch.zeros_like(values).masked_scatter_(marks, values[front])


def positions(sparse: Sparse) -> Tensor:
    """Which entries each row has, also where they are zero, ``[C, d]`` bool."""
    return replace(sparse, values=torch.ones_like(sparse.values)).dense() > 0


def mean_of_holders(inbox: Inbox, sent: Sparse, by: Literal["examples", "one"]) -> Tensor:
    """The mean of sparse messages, of each entry over the clients that sent it, ``[d]``; zero where none did."""
    weights = inbox.weights if by == "examples" else torch.full_like(inbox.weights, 1 / len(inbox.senders))
    total, share = sent.values.new_zeros(2, sent.size)
    sent.accumulate(total, weights)
    replace(sent, values=torch.ones_like(sent.values)).accumulate(share, weights)
    return torch.where(share > 0, total / share, 0)
