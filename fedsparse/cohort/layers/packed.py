"""Products with the same weights again and again, as in the steps of a recurrent layer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fedsparse.cohort import products

__all__ = ["repeated"]


def repeated(weight: Tensor, bias: Tensor | None = None) -> Callable[[Tensor], Tensor]:
    """``h w^T + b`` for many ``h``, with the same bits for a client in any company.

    oneDNN takes weights in an order of its own; it is put up once here, and not in every step. A product with weights
    so prepared has the bits of one without.

    Args:
        weight: ``[C, m, n]``, in any strides; one row expanded where all clients have the same.
        bias: ``[C, m]``, expanded likewise.

    Returns:
        A function of ``h [C, B, n]`` that gives ``[C, B, m]``.
    """
    linear, reorder = products._linear, getattr(torch.ops.mkldnn, "_reorder_linear_weight", None)
    if linear is None or reorder is None or not products.by_row(weight):
        turned = weight.mT
        return lambda h: products.each(h, turned, bias)
    alike = weight.stride(0) == 0 and (bias is None or bias.stride(0) == 0)
    prepared = [reorder(own) for own in (weight[:1] if alike else weight)]
    biases = [None] * len(prepared) if bias is None else bias[: len(prepared)].unbind()

    def times(h: Tensor) -> Tensor:
        clients, rows = h.shape[:2]
        if alike and clients * rows > 1:
            found = linear(h.flatten(0, 1), prepared[0], biases[0], "none", [], "")
        else:
            if rows == 1:  # one row alone takes another routine
                h = h.expand(-1, 2, -1)
            found = torch.cat(
                [
                    linear(own, w, added, "none", [], "")
                    for own, w, added in zip(h.unbind(), prepared, biases, strict=True)
                ]
            )
            if rows == 1:
                found = found[::2]
        return found.view(clients, rows, -1)

    return times
