"""A linear layer with a low-rank adapter, and making one of each that the library ``peft`` put into a model.

The parameters of an adapter are called ``{layer}.lora_A``, of shape ``(r, in)``, and ``{layer}.lora_B``, of shape
``(out, r)``: with ``model=lora`` these names are in the layout of the vector x. Whatever else is in it is the head,
and, where single entries of the weights are free, ``{layer}.lora_S`` of shape ``(N,)``.

Source: E. J. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedsparse.errors import ConfigError

__all__ = ["Adapter", "unwrapped", "with_entries"]


def with_entries(out: Tensor, x: Tensor, values: Tensor, places: tuple[Tensor, Tensor]) -> Tensor:
    """``out [..., m]`` plus ``x [..., n]`` times a matrix ``[m, n]`` with a few entries.

    Args:
        out: what is added to; it stays as it is.
        x: the inputs.
        values: of the entries, ``[..., N]``.
        places: their rows and their columns, ``[N]`` each.
    """
    rows, columns = (at.to(x.device) for at in places)
    return out.index_add(-1, rows, x.index_select(-1, columns) * values)


class Adapter(nn.Module):
    """``W h + b + scale B A h``, with W and b frozen; after :meth:`free` also ``S h``, with S of a few entries.

    Args:
        base: the layer that is adapted; linear, of whatever class.
        lora_A: ``[r, in]``.
        lora_B: ``[out, r]``.
        scale: alpha / r.
        dropout: probability that an input of A becomes zero when training.
    """

    def __init__(
        self, base: nn.Module, lora_A: Tensor, lora_B: Tensor, scale: float, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.lora_A, self.lora_B = nn.Parameter(lora_A.detach()), nn.Parameter(lora_B.detach())
        self.lora_S: nn.Parameter | None = None
        self.places: tuple[Tensor, Tensor] | None = None
        self.base, self.scale = base.requires_grad_(False), scale
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    @property
    def turned(self) -> bool:
        """Whether the frozen weights are ``[in, out]``, as GPT-2's are."""
        return type(self.base).__name__ == "Conv1D"

    def free(self, rows: Tensor, columns: Tensor) -> None:
        """Frees entries of the weights, ``[N]`` each: ``lora_S``, zero at first, is added to them."""
        self.places = (rows, columns)
        self.lora_S = nn.Parameter(self.lora_A.new_zeros(len(rows)))

    def merged(self, weight: Tensor, product: Tensor) -> Tensor:
        """The frozen weights with ``product [out, in]`` merged into them: in the place of its B A."""
        return torch.add(weight, product.mT if self.turned else product, alpha=self.scale)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., in]`` to ``[..., out]``."""
        low = functional.linear(self.dropout(x), self.lora_A)
        found: Tensor = self.base(x) + self.scale * functional.linear(low, self.lora_B)
        if self.lora_S is None or self.places is None:
            return found
        return with_entries(found, x, self.lora_S, self.places)


def unwrapped(module: nn.Module) -> nn.Module:
    """A model with ``peft``'s adapters as the same model with an :class:`Adapter` for each; its layers are shared.

    Args:
        module: a ``PeftModel``, or any model with LoRA layers inside. Modules to save become the trainable copy.

    Raises:
        ConfigError: an adapter of another kind than LoRA for linear layers, or with an option that has no place here.
    """
    import peft
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper

    if isinstance(module, peft.PeftModel):
        module = module.get_base_model()
    for name, child in module.named_children():
        if isinstance(child, ModulesToSaveWrapper):
            setattr(module, name, child.modules_to_save[child.active_adapters[0]])
        elif isinstance(child, BaseTunerLayer):
            setattr(module, name, _adapter(name, child))
        else:
            unwrapped(child)
    return module


def _adapter(name: str, layer: Any) -> Adapter:
    from peft.tuners.lora import Linear

    active = layer.active_adapters if isinstance(layer, Linear) else []
    if len(active) != 1 or layer.lora_variant or layer.lora_bias[active[0]] or layer.merged:
        raise ConfigError(
            f"model: layer '{name}' has an adapter ({type(layer).__name__}) that is not one plain LoRA of a linear "
            "layer; use peft's LoraConfig without variants such as DoRA, for linear layers"
        )
    (key,) = active
    dropout = getattr(layer.lora_dropout[key], "p", 0.0)
    a, b = layer.lora_A[key].weight, layer.lora_B[key].weight
    return Adapter(layer.get_base_layer(), a, b, layer.scaling[key], dropout)
