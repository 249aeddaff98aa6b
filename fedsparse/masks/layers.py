"""Which layers are pruned, and how many weights each of them keeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from fedsparse.errors import ConfigError
from fedsparse.protocol import Field, Layout

__all__ = [
    "RATIOS",
    "RATIO_NAMES",
    "check_ratio",
    "counts_of",
    "everywhere",
    "in_blocks",
    "layer_counts",
    "layers_of",
    "shared_out",
]


def layers_of(layout: Layout, ends: bool = False) -> tuple[Field, ...]:
    """The layers that are pruned, in the order of the model.

    Args:
        layout: the model's.
        ends: the first and the last layer as well; they are pruned in any case where there is none between them.

    Raises:
        ConfigError: the model has nothing to prune.
    """
    found = tuple(field for field in layout if field.prunable)
    if not found:
        raise ConfigError("the model has no linear layer and no convolution, so there is nothing to prune")
    return found if ends or len(found) < 3 else found[1:-1]


def everywhere(layout: Layout, layers: Sequence[Field]) -> Tensor:
    """The mask ``[d]`` of what is not pruned: true but for these layers."""
    mask = torch.ones(layout.size, dtype=torch.bool)
    for layer in layers:
        mask[layer.slice] = False
    return mask


def counts_of(mask: Tensor, layers: Sequence[Field]) -> list[int]:
    """How many weights of each layer a mask ``[d]`` keeps."""
    return [int(mask[layer.slice].sum()) for layer in layers]


def _uniform(_: Field) -> float:
    return 1.0


def _er(layer: Field) -> float:
    out, fan_in = layer.shape[0], math.prod(layer.shape[1:2])
    return (out + fan_in) / (out * fan_in)


def _erk(layer: Field) -> float:
    return sum(layer.shape) / layer.size


RATIOS: dict[str, Callable[[Field], float]] = {"uniform": _uniform, "er": _er, "erk": _erk}
"""Densities of layers relative to each other.

``uniform``: the same everywhere. ``er``: Erdős-Rényi, (n_in + n_out) / (n_in n_out) with the channels of a layer
(Mocanu et al., Nature Communications 2018). ``erk``: with the sides of convolution kernels as well,
(n_in + n_out + h + w) / (n_in n_out h w) (Evci et al., RigL, ICML 2020).
"""

_PLUS, _LEAST = "uniform_plus", 0.2

RATIO_NAMES = (*RATIOS, _PLUS)
"""What layers may be counted by: these rules, and one that is about the ends of a model.

``uniform_plus``: the first layer is dense, the last one keeps at least a fifth, and all others, and the last one if
that is more, have the same density (Gale, Elsen, Hooker, arXiv 1902.09574).
"""


def check_ratio(ratio: str, ends: bool, prefix: str) -> None:
    """Refuses a rule about the ends of a model where these are not among the pruned layers.

    Args:
        ratio: one of :data:`RATIO_NAMES`.
        ends: whether they are.
        prefix: of the keys, for the message.

    Raises:
        ConfigError: says what to do.
    """
    if ratio == _PLUS and not ends:
        raise ConfigError(
            f"{prefix}ratio={ratio}: is about the first and the last layer, which are not pruned; set "
            f"{prefix}ends=true, or {prefix}ratio=uniform"
        )


def layer_counts(layers: Sequence[Field], density: float, ratio: str = "erk") -> list[int]:
    """Weights that each layer keeps: round(density times all) in total, in the proportions of a rule of :data:`RATIOS`.

    A layer that would get more than it has is dense, and the others share what is left. Every layer keeps one weight.

    Args:
        layers: that are pruned.
        density: share of their weights that is kept, above 0 and at most 1.
        ratio: a name of :data:`RATIO_NAMES`.

    Raises:
        ConfigError: there are fewer weights than the rule gives to the first and the last layer.
    """
    sizes = [layer.size for layer in layers]
    total = max(len(layers), math.floor(density * sum(sizes) + 0.5))
    if ratio == _PLUS:
        return _plus(sizes, total)
    return shared_out([RATIOS[ratio](layer) for layer in layers], sizes, total)


def _plus(sizes: Sequence[int], total: int) -> list[int]:
    """Counts by ``uniform_plus``."""
    first, rest, least = sizes[0], list(sizes[1:]), math.ceil(_LEAST * sizes[-1])
    if len(sizes) == 1:
        return [total]
    if total < first + len(rest) - 1 + least:
        raise ConfigError(
            f"ratio={_PLUS}: the first layer and a fifth of the last one are {first + least:,} weights, and the "
            f"density leaves {total:,} for all; choose a larger one, or ratio=erk"
        )
    even = shared_out([1.0] * len(rest), rest, total - first)
    if even[-1] >= least:
        return [first, *even]
    return [first, *shared_out([1.0] * (len(rest) - 1), rest[:-1], total - first - least), least]


def shared_out(densities: Sequence[float], sizes: Sequence[int], total: int) -> list[int]:
    """How many weights each layer keeps of ``total``: each at least one, and at most what it has.

    Args:
        densities: of the layers, relative to each other.
        sizes: of the layers.
        total: at least as many as there are layers.
    """
    dense: set[int] = set()
    while True:
        free = [i for i in range(len(sizes)) if i not in dense]
        left = total - sum(sizes[i] for i in dense)
        scale = left / sum(densities[i] * sizes[i] for i in free) if free else 0.0
        full = {i for i in free if scale * densities[i] >= 1}
        if not full:
            break
        dense |= full
    wanted = [size if i in dense else scale * densities[i] * size for i, size in enumerate(sizes)]
    return _rounded(wanted, sizes, total)


def _rounded(wanted: Sequence[float], sizes: Sequence[int], total: int) -> list[int]:
    """Whole numbers from 1 to ``sizes`` near ``wanted`` that add up to ``total``, by largest remainders."""
    counts = [min(size, max(1, math.floor(want))) for want, size in zip(wanted, sizes, strict=True)]
    order = sorted(range(len(counts)), key=lambda i: counts[i] - wanted[i])
    while (missing := total - sum(counts)) != 0:
        step = 1 if missing > 0 else -1
        able = [i for i in order if 1 <= counts[i] + step <= sizes[i]]
        for i in (able if step > 0 else able[::-1])[: abs(missing)]:
            counts[i] += step
    return counts


def in_blocks(layers: Sequence[Field], blocks: int) -> list[tuple[Field, ...]]:
    """The layers in order, cut into ``blocks`` of nearly equal numbers of layers; as many blocks as layers at most."""
    count = min(blocks, len(layers))
    sizes = [len(layers) // count + (i < len(layers) % count) for i in range(count)]
    ends = list(accumulate(sizes))
    return [tuple(layers[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
