"""Embeddings: every client looks its tokens up in its own table."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedsparse.cohort.layers.base import Layer, Pass

__all__ = ["TYPES", "batched"]

TYPES = (nn.Embedding,)


def batched(layer: nn.Embedding, name: str) -> Layer | None:
    """Tokens ``[C * B, ...]`` to ``[C * B, ..., e]``."""
    if layer.max_norm is not None or layer.scale_grad_by_freq or layer.sparse:
        return None

    def forward(run: Pass, tokens: Tensor) -> Tensor:
        tables = run.own(f"{name}.weight")
        # One call a client: it also sees to it that no token reaches into another client's table.
        found = [
            functional.embedding(own, table, layer.padding_idx)
            for own, table in zip(run.apart(tokens).unbind(), tables, strict=True)
        ]
        return torch.cat(found)

    return forward
