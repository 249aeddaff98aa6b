"""Functions with frozen weights, or of activations alone, for the examples of all clients at once.

A row has the same bits in any company: products with weights go by row, other products and convolutions client by
client, from memory of their own, since libraries of products round by where in memory a row lies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fedsparse.cohort.layers.base import Pass
from fedsparse.cohort.layers.dropout import attention, dropped
from fedsparse.cohort.layers.linear import affine
from fedsparse.errors import ConfigError

__all__ = ["SHARED"]


class _Parted(torch.autograd.Function):
    """``[C, B, ...]`` to the real rows ``[n_i, ...]`` of each client, in memory of their own."""

    @staticmethod
    def forward(x: Tensor, counts: list[int]) -> tuple[Tensor, ...]:
        order = torch.contiguous_format
        return tuple(own[:n].clone(memory_format=order) for own, n in zip(x.unbind(), counts, strict=True))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:  # noqa: ARG004 - a method of PyTorch's
        ctx.width = inputs[0].shape[1]

    @staticmethod
    def backward(ctx: Any, *rows: Tensor) -> Any:
        return _padded(rows, ctx.width), None


class _Joined(torch.autograd.Function):
    """The way back: to ``[C, B, ...]``, padded by zeros; gradients come in memory of their own."""

    @staticmethod
    def forward(width: int, *rows: Tensor) -> Tensor:
        return _padded(rows, width)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:  # noqa: ARG004 - a method of PyTorch's
        ctx.counts = [len(own) for own in inputs[1:]]

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> Any:
        return None, *_Parted.apply(d, ctx.counts)  # type: ignore[no-untyped-call]


def _padded(rows: Sequence[Tensor], width: int) -> Tensor:
    found = rows[0].new_zeros(len(rows), width, *rows[0].shape[1:])
    for into, own in zip(found, rows, strict=True):
        into[: len(own)] = own
    return found


def _alone(
    run: Pass, examples: int, call: Callable[..., Tensor], *inputs: Tensor, drawn: bool = False
) -> Tensor:
    """``call(client, *rows)`` for each client; of ``inputs [k * C * B, ...]`` each example has k rows.

    On an accelerator one call for all of them, unless it draws from the clients' generators.
    """
    if len(inputs[0]) % examples or any(len(x) != len(inputs[0]) for x in inputs):
        raise ConfigError("model: its forward mixes examples, or depends on their number")
    if inputs[0].is_cuda and not drawn:
        return call(0, *inputs)
    width = len(inputs[0]) // run.clients
    # A client without rows goes through with padding, so that its output has a shape; nothing is learnt from it.
    counts = [n * len(inputs[0]) // examples or width for n in run.counts]
    parts = [_Parted.apply(run.apart(x), counts) for x in inputs]  # type: ignore[no-untyped-call]
    rows = [call(client, *own) for client, own in enumerate(zip(*parts, strict=True))]
    found: Tensor = _Joined.apply(width, *rows)  # type: ignore[no-untyped-call]
    return found.flatten(0, 1)


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
        run: Pass,
        examples: int,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
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
    return _alone(run, examples, lambda client, x: dropped(x, p, run.generators[client]), input, drawn=True)


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

    return _alone(run, examples, one, query, key, value, attn_mask, drawn=dropout_p > 0)


def _softmax(
    run: Pass,
    examples: int,
    input: Tensor,  # noqa: A002 - PyTorch's name
    dim: int | None = None,
    _stacklevel: int = 3,
    dtype: Any = None,
) -> Tensor:
    """Along the last dimension a row is summed up by itself; along others what lies beside it has a part in it."""
    del run, examples, _stacklevel
    if dim not in (-1, input.dim() - 1):
        raise ConfigError("model: its forward calls softmax along another dimension than the last")
    return input.softmax(-1, dtype=dtype)


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
    **dict.fromkeys((functional.softmax, torch.softmax, "softmax"), _softmax),
}
"""By function, or name of a method: ``call(run, C * B, ...)``, and then what the function takes."""
