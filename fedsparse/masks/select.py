"""The best scored weights, layer by layer or over all layers together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fedsparse.compress.select import is_largest, largest
from fedsparse.masks.layers import everywhere
from fedsparse.protocol import Field, Layout

__all__ = ["best", "magnitude_mask", "top_among", "top_each", "top_overall"]


def top_each(scores: Tensor, layers: Sequence[Field], counts: Sequence[int]) -> Tensor:
    """Masks ``[C, d]`` of the ``counts`` largest |scores| of each layer; false everywhere else.

    Args:
        scores: ``[C, d]``; of equal ones the lowest index wins.
        layers: that are pruned.
        counts: how many each layer keeps.
    """
    mask = torch.zeros(scores.shape, dtype=torch.bool)
    for layer, count in zip(layers, counts, strict=True):
        mask[:, layer.slice] = is_largest(scores[:, layer.slice], count)
    return mask


def top_among(scores: Tensor, places: Tensor, layers: Sequence[Field], counts: Sequence[Tensor]) -> Tensor:
    """Masks ``[C, d]`` of the largest |scores| among some places of each layer; cheaper where these are few.

    Where there are not enough places in a layer it is all of them, and the first of its other entries: with the
    non-zero scores as places it is what :func:`top_each` gives.

    Args:
        scores: ``[C, d]``; of equal ones the lowest index wins.
        places: ``[C, d]`` bool.
        layers: that are pruned.
        counts: how many each layer keeps, ``[C]`` int64.
    """
    mask = torch.zeros(scores.shape, dtype=torch.bool)
    for layer, wanted in zip(layers, counts, strict=True):
        for row, count in enumerate(wanted.tolist()):
            allowed = places[row, layer.slice].numpy()
            at = torch.from_numpy(np.flatnonzero(allowed))
            own = mask[row, layer.slice]
            if len(at) > count:
                own[at[largest(scores[row, layer.slice][at][None], count)[0]]] = True
            else:
                own[at] = True
                own[np.flatnonzero(~allowed[:count])[: count - len(at)]] = True
    return mask


def top_overall(scores: Tensor, layers: Sequence[Field], count: int) -> Tensor:
    """Masks ``[C, d]`` of the ``count`` largest |scores| of all layers together; a layer may lose all its weights."""
    at = torch.cat([torch.arange(layer.start, layer.start + layer.size) for layer in layers])
    mask = torch.zeros(scores.shape, dtype=torch.bool)
    chosen = largest(scores[:, at].contiguous(), count)
    return mask.scatter_(1, at[chosen], True)


def best(scores: Tensor, allowed: Tensor, count: int) -> Tensor:
    """The mask ``[d]`` of the ``count`` best scored places among those allowed, or of all of these if they are fewer.

    Args:
        scores: ``[d]``, at least 0; of equal ones the lowest index wins.
        allowed: ``[d]`` bool.
        count: how many.
    """
    order = torch.where(allowed, scores, -1).sort(descending=True, stable=True).indices[:count]
    return torch.zeros_like(allowed).index_fill_(0, order, True) & allowed


def magnitude_mask(x: Tensor, layout: Layout, layers: Sequence[Field], counts: Sequence[int]) -> Tensor:
    """The mask ``[d]`` of the ``counts`` largest weights of each layer of ``x [d]``, and of all that is not pruned."""
    return top_each(x[None], layers, counts)[0] | everywhere(layout, layers)
