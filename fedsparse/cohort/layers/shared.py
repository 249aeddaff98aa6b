"""Functions with frozen weights, or of activations alone, for the examples of all clients at once.

A row has the same bits in any company: products with weights go by row, other products and convolutions client by
client, from memory of their own, since libraries of products round by where in memory a row lies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fedsparse.cohort.layers.base import Pass, clients_alone
from fedsparse.cohort.layers.dropout import attention, dropped
from fedsparse.cohort.layers.linear import affine
from fedsparse.errors import ConfigError

__all__ = ["SHARED"]


class _Fresh(torch.autograd.Function):
    """The same in memory of its own, and its gradient likewise."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clone(memory_format=torch.contiguous_format)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keeps nothing."""

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> Tensor:  # noqa: ARG004 - a method of PyTorch's
        return d.clone(memory_format=torch.contiguous_format)


def _fresh(x: Tensor) -> Tensor:
    found: Tensor = _Fresh.apply(x)  # type: ignore[no-untyped-call]
    return found


def _alone(run: Pass, examples: int, call: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """``call(client, *rows)`` for each client; of ``inputs [k * C * B, ...]`` each example has k rows."""
    if any(len(x) % examples for x in inputs):
        raise ConfigError("its forward mixes examples, or depends on their number")
    apart = [x.unflatten(0, (examples, -1)) for x in inputs]

    def one(client: int, *rows: Tensor) -> Tensor:
        found = call(client, *(_fresh(own.flatten(0, 1)) for own in rows))
        return _fresh(found).unflatten(0, (len(rows[0]), -1))

    return clients_alone(run, one, *apart).flatten(0, 1)


def _linear(run: Pass, examples: int, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    del examples
    rows = x.numel() // x.shape[-1]
    clients = 1 if rows % run.clients else run.clients  # what has no row for each client is the same for all
    h = x.reshape(clients, -1, x.shape[-1])
    weight, bias = weight.expand(clients, -1, -1), None if bias is None else bias.expand(clients, -1)
    return affine(h, weight, bias).view(*x.shape[:-1], -1)


def _addmm(run: Pass, examples: int, bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    return _linear(run, examples, x, weight.mT, bias)


def _matmul(run: Pass, examples: int, a: Tensor, b: Tensor) -> Tensor:
    if b.dim() == 2:
        return _linear(run, examples, a, b.mT)
    return _alone(run, examples, lambda _, x, y: x @ y, a, b)


def _convolution(kind: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def forward(
        run: Pass, examples: int, x: Tensor, weight: Tensor, bias: Tensor | None = None, *args: Any, **kwargs: Any
    ) -> Tensor:
        return _alone(run, examples, lambda _, own: kind(own, weight, bias, *args, **kwargs), x)

    return forward


def _dropout(
    run: Pass,
    examples: int,
    input: Tensor,  # noqa: A002 - PyTorch's name
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
) -> Tensor:
    del inplace
    if not training or not p:
        return input
    return _alone(run, examples, lambda client, x: dropped(x, p, run.generators[client]), input)


def _attention(
    run: Pass,
    examples: int,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """There is always a mask, the same for an example whether or not one was given for it and its neighbours."""
    long, wide = query.shape[-2], key.shape[-2]
    if attn_mask is None:
        attn_mask = torch.ones(long, wide, dtype=torch.bool, device=query.device)
        attn_mask = attn_mask.tril() if is_causal else attn_mask
    heads = attn_mask.shape[-3] if attn_mask.dim() > 2 else 1
    attn_mask = attn_mask.expand(len(query), heads, long, wide)

    def one(client: int, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        generator = run.generators[client] if dropout_p else torch.default_generator
        return attention(generator, q, k, v, mask, dropout_p, scale=scale, enable_gqa=enable_gqa)

    return _alone(run, examples, one, query, key, value, attn_mask)


def _by_row(call: Callable[..., Any]) -> Callable[..., Any]:
    def forward(run: Pass, examples: int, *args: Any, **kwargs: Any) -> Any:
        del run, examples
        return call(*args, **kwargs)

    return forward


SHARED: dict[Any, Callable[..., Any]] = {
    functional.linear: _linear,
    torch.addmm: _addmm,
    **dict.fromkeys((torch.matmul, torch.bmm, "matmul", "__matmul__", "bmm"), _matmul),
    functional.conv1d: _convolution(functional.conv1d),
    functional.conv2d: _convolution(functional.conv2d),
    functional.dropout: _dropout,
    functional.scaled_dot_product_attention: _attention,
    **{call: _by_row(call) for call in (functional.embedding, functional.layer_norm)},
}
"""By function, or name of a method: ``call(run, C * B, ...)``, and then what the function takes."""
