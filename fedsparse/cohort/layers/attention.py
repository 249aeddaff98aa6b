"""Multi-head attention: projections by one product a client, or one for all while clients have the same weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedsparse.cohort.layers.base import Layer, Pass, clients_alone
from fedsparse.cohort.layers.linear import affine
from fedsparse.errors import ConfigError

__all__ = ["TYPES", "batched", "mixed"]

TYPES = (nn.MultiheadAttention,)


def batched(layer: nn.MultiheadAttention, name: str) -> Layer | None:
    """Queries ``[C * B, T, e]``, keys and values ``[C * B, S, e]`` to what the module gives.

    That is outputs ``[C * B, T, e]`` and, where asked for, weights ``[C * B, T, S]``, or ``[C * B, heads, T, S]`` if
    they are not to be averaged. Masks may be one ``[T, S]`` for all examples. Queries, keys and values are of one
    width.
    """
    plain = layer.in_proj_weight is not None and layer.bias_k is None and not layer.add_zero_attn
    if not plain or not layer.batch_first or layer.dropout:
        return None
    biased, heads = layer.in_proj_bias is not None, layer.num_heads

    def forward(
        run: Pass,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        del is_causal  # says what attn_mask is, which must be given too
        if key_padding_mask is not None or (attn_mask is not None and attn_mask.dim() != 2):
            raise ConfigError(f"model: attention masks of single examples ({name}) have no batched form")
        mask = attn_mask
        if mask is not None and mask.dtype == torch.bool:
            mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(mask, float("-inf"))

        def project(x: Tensor, first: int, last: int) -> Tensor:
            """Some of queries, keys and values: ``[last - first, C * B, heads, T, e / heads]``."""
            rows = slice(first * layer.embed_dim, last * layer.embed_dim)
            weight = run.values[f"{name}.in_proj_weight"][:, rows]
            bias = run.values[f"{name}.in_proj_bias"][:, rows] if biased else None
            out = affine(run.apart(x).flatten(1, 2), weight, bias)
            return out.view(*x.shape[:2], last - first, heads, -1).permute(2, 0, 3, 1, 4)

        if query is key and query is value:
            parts = list(project(query, 0, 3))
        else:
            parts = [project(x, k, k + 1)[0] for k, x in enumerate((query, key, value))]
        # The bits of batched products depend on the batch: on a processor every client has calls of its own.
        every = [parts] if query.is_cuda else zip(*(run.apart(x).unbind() for x in parts), strict=True)
        mixed, weights = zip(*(_mix(q, k, v, mask, need_weights) for q, k, v in every), strict=True)
        together = torch.cat(mixed).transpose(1, 2).flatten(2)
        out = affine(
            run.apart(together).flatten(1, 2),
            run.values[f"{name}.out_proj.weight"],
            run.values[f"{name}.out_proj.bias"] if biased else None,
        ).view(together.shape)
        if not need_weights:
            return out, None
        return out, torch.cat(weights).mean(1) if average_attn_weights else torch.cat(weights)

    return forward


def _mix(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, need_weights: bool
) -> tuple[Tensor, Tensor | None]:
    """Values ``[n, heads, T, e / heads]`` by attention, and the weights ``[n, heads, T, S]`` if asked for."""
    if not need_weights:
        return functional.scaled_dot_product_attention(q, k, v, mask), None
    scores = (q / q.shape[-1] ** 0.5) @ k.mT
    weights = functional.softmax(scores if mask is None else scores + mask, dim=-1)
    return weights @ v, weights


def mixed(
    run: Pass,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """:func:`torch.nn.functional.scaled_dot_product_attention` of ``[C * B, heads, T, e / heads]``.

    The mask is of single examples, ``[C * B, ...]``, or has at most two dimensions and is for all of them.
    """
    if dropout_p:
        raise ConfigError("model: dropout of attention, from PyTorch's global generator, has no batched form")

    def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = attn_mask) -> Tensor:
        return functional.scaled_dot_product_attention(
            q, k, v, mask, is_causal=is_causal, scale=scale, enable_gqa=enable_gqa
        )

    if query.is_cuda:
        return attend(query, key, value)
    own = () if attn_mask is None or attn_mask.dim() <= 2 else (attn_mask,)
    return clients_alone(run, lambda _, *rows: attend(*rows), query, key, value, *own)
