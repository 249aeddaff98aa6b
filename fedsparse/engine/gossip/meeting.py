"""An exchange of everybody with everybody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fedsparse.aggregate import Inbox, Mean, Share, in_turn
from fedsparse.engine.slab import Ids
from fedsparse.message import Payload

__all__ = ["means"]


def means(
    speakers: Ids, parts: Sequence[Mapping[str, Payload]], share: Share | None = None
) -> dict[str, Tensor]:
    """By name the mean of all messages ``[1, d]``.

    Args:
        speakers: whose messages they are, ascending ``[S]``.
        parts: batches of them, in that order.
        share: does parts of the work side by side.
    """
    ids = torch.from_numpy(speakers)
    ones = torch.ones(len(ids), dtype=torch.float64)
    inbox = Inbox(ids, ones.long(), ones, parts, Mean(), share=share or in_turn)
    return {name: inbox.mean(name, by="one")[None] for name in parts[0]}
