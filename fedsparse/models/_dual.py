"""DSEE: adapters beside which single entries of the weights are free, on a base that is pruned.

The weights of a layer become S1 * W + (alpha / r) B A + S2, with W frozen. S1 is 0 where W is smallest; S2 has N
entries that are trained, in places that are chosen once: those in which W is farthest from the nearest matrix of the
adapter's rank, since a product of that rank cannot stand for them. So everyone who has the base knows the places, and N
values travel.

Source: X. Chen et al., "DSEE: Dually Sparsity-embedded Efficient Tuning of Pre-trained Language Models", ACL 2023,
arXiv:2111.00160. Departures: the nearest matrix is that of the singular value decomposition, where the paper has a
faster approximate one (GreBsmo); pruning is of single weights, layer by layer, before training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fedsparse.errors import ConfigError
from fedsparse.models._adapter import Adapter

__all__ = ["far_places", "freed", "pruned"]


def freed(module: nn.Module, entries: int) -> None:
    """Frees ``entries`` entries of the weights of each layer with an adapter, in place.

    Raises:
        ConfigError: a layer has not as many.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, Adapter):
            weight = _weight(layer)
            if entries > weight.numel():
                raise ConfigError(
                    f"model.entries={entries}: layer '{name}' has {weight.numel()} weights; take at most as many"
                )
            layer.free(*far_places(weight, layer.lora_A.shape[0], entries))


def far_places(weight: Tensor, rank: int, entries: int) -> tuple[Tensor, Tensor]:
    """Rows and columns, ``[N]`` each, in which ``weight [m, n]`` is farthest from a matrix of that rank; in order."""
    left, values, right = torch.linalg.svd(weight.double(), full_matrices=False)
    values[:rank] = 0
    far = ((left * values) @ right).abs().flatten()
    at = far.topk(entries).indices.sort().values
    return at // weight.shape[1], at % weight.shape[1]


def pruned(module: nn.Module, share: float) -> None:
    """Sets the smallest weights of each layer with an adapter to zero, in place; ``share`` of all it has."""
    for layer in module.modules():
        if isinstance(layer, Adapter):
            flat = _weight(layer).flatten()
            smallest = flat.abs().topk(int(share * flat.numel()), largest=False).indices
            kept = torch.ones_like(flat).index_fill(0, smallest, 0).view(_weight(layer).shape)
            layer.base.weight.data *= kept.mT if layer.turned else kept  # type: ignore[operator]


def _weight(layer: Adapter) -> Tensor:
    """The frozen weights, ``[m, n]``."""
    weight: Tensor = layer.base.weight.detach()  # type: ignore[operator]
    return weight.mT if layer.turned else weight
