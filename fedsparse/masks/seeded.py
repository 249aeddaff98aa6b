"""Random masks that a seed stands for: 8 bytes travel, and both ends derive the same mask."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fedsparse.masks.layers import everywhere
from fedsparse.protocol import Context, Field, Layout
from fedsparse.wire import k_subset

__all__ = ["new_seed", "seeded_mask"]


def new_seed(ctx: Context, purpose: str = "mask") -> int:
    """A seed below 2^53, which travels exactly as one number of 8 bytes; drawn once for each round."""
    return int(ctx.shared(purpose).integers(2**53))


def seeded_mask(seed: int, layout: Layout, layers: Sequence[Field], counts: Sequence[int]) -> Tensor:
    """The mask ``[d]`` of ``counts`` weights at random in each layer, and of all that is not pruned.

    Args:
        seed: at least 0 and below 2^53.
        layout: of the model.
        layers: that are pruned.
        counts: weights that each keeps.
    """
    mask = everywhere(layout, layers)
    for number, (layer, count) in enumerate(zip(layers, counts, strict=True)):
        # Seeds of neighbouring layers are neighbours; the generator is keyed by them, so the draws are unrelated.
        mask[layer.start + torch.from_numpy(k_subset((seed << 10) + number, count, layer.size))] = True
    return mask
