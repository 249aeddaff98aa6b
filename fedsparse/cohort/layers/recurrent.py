"""Recurrent layers: the clients side by side, step by step in time; weight gradients are one product in the end."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fedsparse.cohort import products
from fedsparse.cohort.layers.base import Layer, Pass
from fedsparse.cohort.layers.cells import GRU, Cell, Elman
from fedsparse.cohort.layers.packed import repeated

__all__ = ["TYPES", "batched", "possible", "unrolled"]

TYPES = (nn.GRU, nn.RNN)

_CACHE = 2**21
"""Bytes that the weights of clients which go side by side may take, so that they are still at hand in the next step."""


class _Kept:
    """What the way back needs: clients that went side by side, their states, what the cell saved."""

    def __init__(self) -> None:
        self.parts: list[tuple[slice, list[Tensor], list[Tensor]]] = []


class _Recurrence(torch.autograd.Function):
    """From ``x [C, B, T, n]`` to states ``[C, B, T, h]``.

    Also to the second state in the end, ``[C, B, h]``, of cells that have one. Weights are ``[C, gates h, n]`` and
    ``[C, gates h, h]``, biases ``[C, gates h]``.
    """

    @staticmethod
    def forward(
        x: Tensor,
        w_x: Tensor,
        w_h: Tensor,
        b_x: Tensor | None,
        b_h: Tensor | None,
        cell: Cell,
        kept: _Kept,
    ) -> tuple[Tensor, Tensor]:
        clients, rows, times, _ = x.shape
        size = w_h.shape[-1]
        out, last = x.new_empty(clients, rows, times, size), x.new_zeros(clients, rows, size)
        for part in _side_by_side(w_h):
            states = [x.new_empty(len(x[part]), times + 1, rows, size) for _ in range(cell.states)]
            for state in states:
                state[:, 0] = 0
            ready = products.apply(_by_time(x[part]), w_x[part], None if b_x is None else b_x[part])
            times_weights = repeated(w_h[part], None if b_h is None else b_h[part])
            saved = cell.forward(ready.view(len(ready), times, rows, -1), times_weights, states)
            out[part] = states[0][:, 1:].transpose(1, 2)
            if cell.states > 1:
                last[part] = states[1][:, -1]
            kept.parts.append((part, states, saved))
        return out, last

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:  # noqa: ARG004 - a method of PyTorch's
        x, w_x, w_h, b_x, _, ctx.cell, ctx.kept = inputs
        ctx.save_for_backward(x, w_x, w_h)
        ctx.biased = b_x is not None

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor, d_last: Tensor) -> Any:
        found = _Back.apply(d, d_last, *ctx.saved_tensors, ctx.cell, ctx.kept)  # type: ignore[no-untyped-call]
        dx, dw_x, dw_h, db_x, db_h = found
        return dx, dw_x, dw_h, *((db_x, db_h) if ctx.biased else (None, None)), None, None


class _Back(torch.autograd.Function):
    """Gradients of :class:`_Recurrence`; a function of its own so that ``torch.func`` hands it plain tensors."""

    @staticmethod
    def forward(
        d: Tensor, d_last: Tensor, x: Tensor, w_x: Tensor, w_h: Tensor, cell: Cell, kept: _Kept
    ) -> tuple[Tensor, ...]:
        _, rows, times, size = d.shape
        dx, dw_x, dw_h = torch.empty_like(x), x.new_empty(w_x.shape), x.new_empty(w_h.shape)
        db_x, db_h = (x.new_empty(w_h.shape[:2]) for _ in range(2))
        for part, states, saved in kept.parts:
            made = x.new_empty(len(x[part]), times, rows, w_h.shape[1])
            of_last_gate = cell.backward(saved, states, repeated(w_h[part].mT), (d[part], d_last[part]), made)
            flat = made.flatten(1, 2)
            products.each(flat.mT, states[0][:, :-1].flatten(1, 2), out=dw_h[part])
            db_h[part] = flat.sum(1)
            if of_last_gate is not None:
                made[..., -size:] = of_last_gate
            products.each(flat.mT, _by_time(x[part]), out=dw_x[part])
            db_x[part] = flat.sum(1)
            of_x = products.apply(flat, w_x[part].mT)
            dx[part] = of_x.view(len(of_x), times, rows, -1).transpose(1, 2)
        return dx, dw_x, dw_h, db_x, db_h

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keeps nothing: there is no second derivative."""


def _by_time(x: Tensor) -> Tensor:
    """``[G, B, T, n]`` to ``[G, T * B, n]``."""
    return x.transpose(1, 2).flatten(1, 2)


def _side_by_side(weight: Tensor) -> list[slice]:
    """Clients that go through time together; bits do not depend on it."""
    clients, own = len(weight), weight[0].numel() * weight.element_size()
    many = clients if weight.is_cuda else max(1, _CACHE // own)
    return [slice(first, first + many) for first in range(0, clients, many)]


def possible(layer: nn.RNNBase) -> bool:
    """Whether there is a batched form; examples come first in all others."""
    return layer.batch_first and not layer.dropout and not layer.proj_size


def unrolled(layer: nn.RNNBase, name: str, cell: Cell) -> Layer:
    """A recurrent layer as steps of a cell."""
    directions = ("", "_reverse") if layer.bidirectional else ("",)
    biased, depth = layer.bias, layer.num_layers

    def one(run: Pass, x: Tensor, suffix: str) -> tuple[Tensor, Tensor, Tensor]:
        def value(kind: str) -> Tensor:
            return run.values[f"{name}.{kind}_{suffix}"]

        back = suffix.endswith("reverse")
        x = run.apart(x)
        if back:
            x = x.flip(2)
        weights = [value(kind) for kind in ("weight_ih", "weight_hh")]
        biases = [value(kind) if biased else None for kind in ("bias_ih", "bias_hh")]
        out, last = _Recurrence.apply(x, *weights, *biases, cell, _Kept())  # type: ignore[no-untyped-call]
        hidden = out[:, :, -1].flatten(0, 1)
        return (out.flip(2) if back else out).flatten(0, 1), hidden, last.flatten(0, 1)

    def forward(run: Pass, x: Tensor) -> Any:
        hidden, memory = [], []
        for number in range(depth):
            found = [one(run, x, f"l{number}{direction}") for direction in directions]
            x = found[0][0] if len(found) == 1 else torch.cat([out for out, _, _ in found], dim=-1)
            hidden += [h for _, h, _ in found]
            memory += [c for _, _, c in found]
        states = torch.stack(hidden)
        return x, (states, torch.stack(memory)) if cell.states > 1 else states

    return forward


def batched(layer: nn.GRU | nn.RNN, name: str) -> Layer | None:
    """``[C * B, T, n]`` to the outputs ``[C * B, T, h]`` and the last states, as the module gives them.

    First states are zero.
    """
    cell = GRU() if isinstance(layer, nn.GRU) else Elman(layer.nonlinearity == "relu")
    return unrolled(layer, name, cell) if possible(layer) else None
