"""Any model with its weights frozen, low-rank adapters for some of its linear layers, and a head that is trained.

Only adapters and head are in the vector that clients train and send: ``{layer}.lora_A`` of shape ``(r, in)``,
``{layer}.lora_B`` of shape ``(out, r)``, and the head under its own names; with ``entries`` also ``{layer}.lora_S``.
The frozen weights are held once.

Source: E. J. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022. The adapters, their first
values included, are those of the library ``peft`` (extra ``lora``).
"""

from __future__ import annotations

import warnings
from typing import Any

from torch import nn

from fedsparse.data.checks import whole, within
from fedsparse.errors import ConfigError
from fedsparse.models import _dual, _saved
from fedsparse.models._adapter import unwrapped
from fedsparse.words import nearest

__all__ = ["build"]

_QUERIES_AND_VALUES = {
    "q", "v", "query", "value", "q_proj", "v_proj", "q_lin", "v_lin", "query_proj", "value_proj", "c_attn", "qkv",
    "query_key_value", "in_proj", "Wqkv",
}  # fmt: skip
"""What projections to queries and values are called, alone or in one layer with the keys, in models that are around."""


def build(
    example_shape: tuple[int, ...],
    classes: int,
    seed: int,
    *,
    base: str = "transformer",
    rank: int = 8,
    alpha: float = 16.0,
    targets: str = "attention",
    dropout: float = 0.0,
    entries: int = 0,
    pruned: float = 0.0,
) -> nn.Module:
    """Build the base, freeze it, put adapters in; the head stays trainable.

    Args:
        example_shape: the shape of one input.
        classes: outputs.
        seed: of adapters, and of what the base has no weights for.
        base: a model by name (random weights), a folder with a saved one or of a finished run, or one of Hugging
            Face's: folder or id.
        rank: r of the adapters.
        alpha: what they add is scaled by alpha / r.
        targets: attention (queries and values), linear (all linear layers but the head), or ends of names with commas.
        dropout: probability that an input of an adapter becomes zero in training.
        entries: single weights of each adapted layer that are trained, too (DSEE).
        pruned: share of the frozen weights of each adapted layer, the smallest, that are zero.

    Raises:
        ConfigError: there is no such base, or no such layers; a layer has fewer weights than ``entries``; or ``peft``
            is not installed.
    """
    whole("rank", rank, 1)
    within("alpha", alpha, 0, open_low=True)
    within("dropout", dropout, 0, 0.99)
    whole("entries", entries, 0)
    within("pruned", pruned, 0, 0.99)
    peft: Any = _saved.required("peft")
    module, fresh = _base(base, example_shape, classes, seed)
    head = _head(module, classes, fresh)
    config = peft.LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=_targets(module, targets, head)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it sets fan_in_fan_out by itself, and says so
        peft.inject_adapter_in_model(config, module)
    for name in head:
        module.get_submodule(name).requires_grad_(True)
    adapted = unwrapped(module)
    if entries:
        _dual.freed(adapted, entries)
    if pruned:
        _dual.pruned(adapted, pruned)
    return adapted


def _base(base: str, example_shape: tuple[int, ...], classes: int, seed: int) -> tuple[nn.Module, list[str]]:
    """The base, and the names of its weights that are not pre-trained although others are."""
    from fedsparse import models

    folder = _saved.folder_of(base, seed)
    if _saved.is_saved(folder):
        return _saved.filled(folder, example_shape, classes, seed)
    if base == "lora":
        raise ConfigError("model.base=lora: adapters of adapters are not meant; name another model")
    if base in models.names() or ":" in base:
        return models.build(base, example_shape, classes, seed), []
    near = nearest(base, models.names())
    if near and not folder.exists() and "/" not in base:
        raise ConfigError(f"model.base={base}: no such model. Did you mean {near!r}?")
    return _saved.foreign(base, example_shape, classes), []


def _linear(module: nn.Module) -> dict[str, nn.Module]:
    """The linear layers, in order; also GPT-2's, whose weights are turned round."""
    return {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) or type(layer).__name__ == "Conv1D"
    }


def _head(module: nn.Module, classes: int, fresh: list[str]) -> list[str]:
    """The modules that stay trainable: the one that gives the outputs, and those without pre-trained weights.

    The outputs come from the last linear layer that has as many; with it goes whatever lies in the same child of the
    model, such as a layer before it.
    """
    outputs = [
        name for name, layer in _linear(module).items() if getattr(layer, "out_features", 0) == classes
    ]
    if not outputs:
        raise ConfigError(
            f"model=lora: the base has no linear layer with {classes} outputs, so its head is not found; it has "
            f"{', '.join(_linear(module)) or 'none'}"
        )
    depth = 2 if isinstance(module, _saved.Foreign) else 1
    wholes = [".".join(name.split(".")[:depth]) for name in [outputs[-1], *fresh]]
    return list(dict.fromkeys(wholes))


def _targets(module: nn.Module, targets: str, head: list[str]) -> list[str]:
    """Full names of the layers that get adapters."""
    possible = [
        name
        for name in _linear(module)
        if not any(name == part or name.startswith(f"{part}.") for part in head)
    ]
    ends = _QUERIES_AND_VALUES if targets == "attention" else set(targets.replace(" ", "").split(","))
    chosen = possible if targets == "linear" else [n for n in possible if _ends(n, ends)]
    if not chosen:
        raise ConfigError(
            f"model.targets={targets}: none of the base's linear layers is called so; it has "
            f"{', '.join(possible) or 'none beside the head'}"
        )
    return chosen


def _ends(name: str, ends: set[str]) -> bool:
    return any(name == end or name.endswith(f".{end}") for end in ends)
