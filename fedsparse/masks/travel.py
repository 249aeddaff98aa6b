"""Values on a mask: alone where both ends know it, and otherwise with their positions."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, cast

import torch
from torch import Tensor

from fedsparse.message import MaskedDense, Sparse
from fedsparse.protocol import Inbox
from fedsparse.wire.sparse import starts_of

__all__ = ["marked", "mean_of_holders", "placed", "positions", "taken"]


def taken(x: Tensor, mask: Tensor) -> MaskedDense:
    """The entries of ``x [C, d]`` on ``mask [d]``, in order."""
    return MaskedDense(x.index_select(1, mask.nonzero()[:, 0]))


def placed(values: Tensor, mask: Tensor) -> Tensor:
    """The vectors ``[C, d]`` with ``values [C, k]`` on ``mask [d]``, and zeros elsewhere: undoes :func:`taken`."""
    out = values.new_zeros(len(values), len(mask))
    return out.index_copy_(1, mask.nonzero()[:, 0], values)


def marked(values: Tensor, marks: Tensor) -> Sparse:
    """The entries of ``values [C, d]`` where ``marks [C, d]`` is true, with their positions."""
    return Sparse(marks.nonzero()[:, 1], values[marks], starts_of(marks.sum(1)), values.shape[1])


def positions(sparse: Sparse) -> Tensor:
    """Which entries each row has, also where they are zero, ``[C, d]`` bool."""
    return replace(sparse, values=torch.ones_like(sparse.values)).dense() > 0


def mean_of_holders(inbox: Inbox, name: str, by: Literal["examples", "one"]) -> Tensor:
    """The mean of sparse messages, of each entry over the clients that sent it, ``[d]``; zero where none did."""
    sent = cast("Sparse", inbox.payload(name))
    alike = torch.full_like(inbox.weights, 1 / len(inbox.senders))
    share = sent.values.new_zeros(sent.size)
    ones = replace(sent, values=torch.ones_like(sent.values))
    ones.accumulate(share, inbox.weights if by == "examples" else alike)
    return torch.where(share > 0, inbox.mean(name, by=by) / share, 0)
