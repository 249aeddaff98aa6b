"""Sparse models: which weights there are, how masks are drawn, chosen, moved and counted.

Everything that strategies with sparse models share; a mask is a bool vector as long as the parameters, true where a
weight is there. What may not be pruned is always true.
"""

from __future__ import annotations

from fedsparse.masks.averaging import FixedMask, MovingMask
from fedsparse.masks.blocks import Blocks, allowed, blocks_of, most
from fedsparse.masks.cost import Cost, dense_cost, device_bytes, forward_flops
from fedsparse.masks.gates import Gate
from fedsparse.masks.groups import largest_of_groups
from fedsparse.masks.last import Last
from fedsparse.masks.layers import (
    RATIO_NAMES,
    RATIOS,
    check_ratio,
    counts_of,
    everywhere,
    in_blocks,
    layer_counts,
    layers_of,
    shared_out,
)
from fedsparse.masks.moves import Move, largest_inactive, moved, prune_and_grow, share_at, smallest
from fedsparse.masks.numbers import factors, places, sizes
from fedsparse.masks.seeded import new_seed, seeded_mask
from fedsparse.masks.select import best, magnitude_mask, top_among, top_each, top_overall
from fedsparse.masks.travel import at_marks, marked, mean_of_holders, placed, positions, taken, unpacked

__all__ = [
    "RATIOS",
    "RATIO_NAMES",
    "Blocks",
    "Cost",
    "FixedMask",
    "Gate",
    "Last",
    "Move",
    "MovingMask",
    "allowed",
    "at_marks",
    "best",
    "blocks_of",
    "check_ratio",
    "counts_of",
    "dense_cost",
    "device_bytes",
    "everywhere",
    "factors",
    "forward_flops",
    "in_blocks",
    "largest_inactive",
    "largest_of_groups",
    "layer_counts",
    "layers_of",
    "magnitude_mask",
    "marked",
    "mean_of_holders",
    "most",
    "moved",
    "new_seed",
    "placed",
    "places",
    "positions",
    "prune_and_grow",
    "seeded_mask",
    "share_at",
    "shared_out",
    "sizes",
    "smallest",
    "taken",
    "top_among",
    "top_each",
    "top_overall",
    "unpacked",
]
