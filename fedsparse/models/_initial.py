"""Initial weights from one stream, with torch's default distributions.

A model is built without weights and filled here, module by module in the order of their names, so that the
weights depend on the seed and the model, and never on torch's global generator.
"""

from __future__ import annotations

from math import prod, sqrt

import numpy as np
import torch
from torch import Tensor, nn

from fedsparse.errors import ConfigError
from fedsparse.models._blocks import Positions

__all__ = ["initialise"]

NORMS = (nn.GroupNorm, nn.LayerNorm, nn.BatchNorm1d, nn.BatchNorm2d)
AFFINE = (nn.Linear, nn.Conv1d, nn.Conv2d)
RECURRENT = (nn.GRU, nn.LSTM)


@torch.no_grad()
def initialise(module: nn.Module, rng: np.random.Generator) -> None:
    """Fill all parameters and buffers in place.

    Linear and convolution layers: U(-b, b) with b = 1 / sqrt(fan in), which is torch's Kaiming rule with a =
    sqrt(5), for weights and biases. Norms: ones, zeros. Embeddings: N(0, 1). GRU, LSTM: b = 1 / sqrt(hidden).
    Positions: N(0, 0.02^2), which torch has no rule for.

    Args:
        module: the model; nothing of it needs to be initialised.
        rng: the stream, used up in the order of ``named_modules`` and then of ``parameters``.

    Raises:
        ConfigError: a module with parameters or buffers of a kind that has no rule here.
    """
    for name, part in module.named_modules():
        if isinstance(part, AFFINE):
            _fill_uniform(part, 1 / sqrt(prod(part.weight.shape[1:])), rng)
        elif isinstance(part, RECURRENT):
            _fill_uniform(part, 1 / sqrt(part.hidden_size), rng)
        elif isinstance(part, nn.Embedding):
            part.weight.copy_(_like(part.weight, rng.standard_normal(part.weight.shape)))
        elif isinstance(part, Positions):
            part.weight.copy_(_like(part.weight, 0.02 * rng.standard_normal(part.weight.shape)))
        elif isinstance(part, NORMS):
            _fill_norm(part)
        elif _holds_values(part):
            raise ConfigError(
                f"there is no rule for the initial weights of {name or 'all'}, a {type(part).__name__}; "
                "add one to fedsparse.models, or name the model by import path to keep its own"
            )


def _holds_values(part: nn.Module) -> bool:
    return any(True for _ in part.parameters(recurse=False)) or any(True for _ in part.buffers(recurse=False))


def _fill_uniform(part: nn.Module, bound: float, rng: np.random.Generator) -> None:
    for parameter in part.parameters(recurse=False):
        parameter.copy_(_like(parameter, rng.uniform(-bound, bound, parameter.shape)))


def _fill_norm(part: nn.Module) -> None:
    for name, value in (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)):
        value.fill_(1 if name in {"weight", "running_var"} else 0)


def _like(parameter: Tensor, values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Tensor:
    return torch.from_numpy(values).to(parameter.dtype)
