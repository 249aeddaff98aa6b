"""Dropout from keyed generators, so that no global random state is touched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from fedsparse.cohort.device import on
from fedsparse.cohort.layers.base import Layer, Pass, clients_alone

__all__ = ["TYPES", "KeyedDropout", "KeyedFunctions", "attention", "batched", "dropped"]


class KeyedDropout(nn.Module):
    """Dropout that draws from a generator of its own.

    Attributes:
        p: probability that an entry becomes zero.
        channels: whole channels are dropped, not single entries.
        generator: what it draws from when training.
    """

    generator: torch.Generator | None

    def __init__(self, p: float, channels: bool) -> None:
        super().__init__()
        self.p, self.channels, self.generator = p, channels, None

    def forward(self, x: Tensor) -> Tensor:
        """Zeroes some entries and scales the others by 1 / (1 - p)."""
        if not self.training or self.p == 0:
            return x
        return dropped(x, self.p, self.generator, self.channels)


def dropped(x: Tensor, p: float, generator: torch.Generator | None, channels: bool = False) -> Tensor:
    """``x`` with some entries zero, and the others scaled by 1 / (1 - p)."""
    shape = x.shape[:2] + (1,) * (x.dim() - 2) if channels else x.shape
    keep = torch.empty(shape, dtype=x.dtype).bernoulli_(1 - p, generator=generator)
    return x * on(x.device, keep) / (1 - p)


class KeyedFunctions(TorchFunctionMode):
    """While it is entered, functions with dropout draw from a generator, too, and not from PyTorch's; in this thread.

    They are ``dropout`` and ``scaled_dot_product_attention`` of :mod:`torch.nn.functional`, by which models of other
    libraries drop attention weights.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self._generator = generator

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """What is called instead of ``func``."""
        del types
        own: dict[Callable[..., Any], Callable[..., Any]] = {
            functional.dropout: self._dropout,
            functional.scaled_dot_product_attention: partial(attention, self._generator),
        }
        return own.get(func, func)(*args, **(kwargs or {}))

    def _dropout(self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:  # noqa: A002
        del inplace
        return dropped(input, p, self._generator) if training and p else input


def attention(
    generator: torch.Generator,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """:func:`torch.nn.functional.scaled_dot_product_attention`, whose dropout draws from a generator."""
    if not dropout_p:
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask, 0.0, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    if enable_gqa:
        key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, float("-inf"))
    elif attn_mask is not None:
        scores = scores + attn_mask
    return dropped(scores.softmax(-1), dropout_p, generator) @ value


TYPES = (KeyedDropout,)


def batched(layer: KeyedDropout, name: str) -> Layer:
    """Every client's mask from its own generator."""
    del name

    def forward(run: Pass, x: Tensor) -> Tensor:
        if not run.train or layer.p == 0:
            return x

        def one(client: int, own: Tensor) -> Tensor:
            return dropped(own, layer.p, run.generators[client], layer.channels)

        return clients_alone(run, one, x)

    return forward
