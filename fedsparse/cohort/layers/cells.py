"""The steps of recurrent cells in time, forwards and backwards.

The part of a step that does not depend on the one before, ``W_ih x + b_ih``, comes in ready.

Sources: S. Hochreiter, J. Schmidhuber, "Long short-term memory", Neural Computation, 1997; K. Cho et al., "Learning
phrase representations using RNN encoder-decoder for statistical machine translation", EMNLP 2014; order of the gates
and biases as in PyTorch's layers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["GRU", "LSTM", "Cell", "Elman"]

_Times = Callable[[Tensor], Tensor]

_through_sigmoid = torch.ops.aten.sigmoid_backward.grad_input
_through_tanh = torch.ops.aten.tanh_backward.grad_input


class Cell(ABC):
    """A kind of cell, for G clients and B examples.

    Attributes:
        gates: how many rows of weights there are for one entry of the state.
        states: how many states there are; an LSTM has two.
    """

    gates: int
    states = 1

    @abstractmethod
    def forward(self, x: Tensor, times: _Times, states: Sequence[Tensor]) -> list[Tensor]:
        """Takes all steps in time.

        Args:
            x: ``W_ih x + b_ih`` of all times, ``[G, T, B, gates h]``.
            times: ``W_hh h + b_hh`` of a state: ``[G, B, h]`` to ``[G, B, gates h]``.
            states: ``[G, T + 1, B, h]`` each, zero in the beginning; filled.

        Returns:
            What :meth:`backward` needs besides the states.
        """

    @abstractmethod
    def backward(
        self,
        saved: Sequence[Tensor],
        states: Sequence[Tensor],
        times: _Times,
        given: tuple[Tensor, Tensor],
        found: Tensor,
    ) -> Tensor | None:
        """Goes back through all steps.

        Args:
            saved: what :meth:`forward` gave.
            states: of all times.
            times: a gradient times ``W_hh``: ``[G, B, gates h]`` to ``[G, B, h]``.
            given: gradients of the first state, ``[G, B, T, h]``, and of the second one in the end, ``[G, B, h]``.
            found: filled with the gradients of ``W_hh h + b_hh``, ``[G, T, B, gates h]``.

        Returns:
            Where the gradient of ``x`` is another in the last of the gates: that part of it, ``[G, T, B, h]``.
        """


class Elman(Cell):
    """``h' = f(W_ih x + b_ih + W_hh h + b_hh)`` with tanh or ReLU."""

    gates = 1

    def __init__(self, relu: bool) -> None:
        self._relu = relu

    def forward(self, x: Tensor, times: _Times, states: Sequence[Tensor]) -> list[Tensor]:
        """Saves nothing: f' follows from the state."""
        hs = states[0].unbind(1)
        for t, given in enumerate(x.unbind(1)):
            into = torch.add(times(hs[t]), given, out=hs[t + 1])
            into.relu_() if self._relu else into.tanh_()
        return []

    def backward(
        self,
        saved: Sequence[Tensor],  # noqa: ARG002
        states: Sequence[Tensor],
        times: _Times,
        given: tuple[Tensor, Tensor],
        found: Tensor,
    ) -> Tensor | None:
        """Goes back through f."""
        hs, made, out = states[0].unbind(1), found.unbind(1), given[0].unbind(2)
        carried = torch.zeros_like(out[0])
        for t in reversed(range(len(made))):
            now = carried.add_(out[t])
            if self._relu:
                torch.mul(now, hs[t + 1] > 0, out=made[t])
            else:
                _through_tanh(now, hs[t + 1], grad_input=made[t])
            carried = times(made[t])
        return None


class GRU(Cell):
    """``r, z = σ(...)``, ``n = tanh(x_n + r (W_hn h + b_hn))``, ``h' = n + z (h - n)``."""

    gates = 3

    def forward(self, x: Tensor, times: _Times, states: Sequence[Tensor]) -> list[Tensor]:
        """Saves n; for each time r, z and ``W_hn h + b_hn`` side by side."""
        hs, size = states[0].unbind(1), states[0].shape[-1]
        news = torch.empty_like(states[0][:, 1:])
        x_gates, x_news = (part.unbind(1) for part in torch.split(x, [2 * size, size], -1))
        saved = [news]
        for t, n in enumerate(news.unbind(1)):
            products = times(hs[t])
            gates, past = torch.split(products, [2 * size, size], -1)
            r, z = gates.add_(x_gates[t]).sigmoid_().chunk(2, -1)
            torch.addcmul(x_news[t], r, past, out=n).tanh_()
            torch.lerp(n, hs[t], z, out=hs[t + 1])
            saved.append(products)
        return saved

    def backward(
        self,
        saved: Sequence[Tensor],
        states: Sequence[Tensor],
        times: _Times,
        given: tuple[Tensor, Tensor],
        found: Tensor,
    ) -> Tensor | None:
        """The gradient of ``x_n`` comes before the factor r."""
        hs, made, out = states[0].unbind(1), found.unbind(1), given[0].unbind(2)
        of_new = torch.empty_like(saved[0])
        carried, room = torch.zeros_like(out[0]), torch.empty_like(out[0])
        steps = zip(saved[0].unbind(1), of_new.unbind(1), saved[1:], strict=True)
        for t, (n, to_n, products) in reversed(list(enumerate(steps))):
            (r, z, past), (to_r, to_z, to_past) = products.chunk(3, -1), made[t].chunk(3, -1)
            now = carried.add_(out[t])
            kept = now * z
            _through_tanh(torch.sub(now, kept, out=room), n, grad_input=to_n)
            torch.mul(to_n, r, out=to_past)
            _through_sigmoid(torch.mul(to_n, past, out=room), r, grad_input=to_r)
            _through_sigmoid(torch.sub(hs[t], n, out=room).mul_(now), z, grad_input=to_z)
            carried = times(made[t]).add_(kept)
        return of_new


class LSTM(Cell):
    """``i, f, o = σ(...)``, ``g = tanh(...)``, ``c' = f c + i g``, ``h' = o tanh(c')``."""

    gates = 4
    states = 2

    def forward(self, x: Tensor, times: _Times, states: Sequence[Tensor]) -> list[Tensor]:
        """Saves ``tanh(c')``; for each time i, f, g and o side by side."""
        hs, cs, size = states[0].unbind(1), states[1].unbind(1), states[0].shape[-1]
        squashed = torch.empty_like(states[0][:, 1:])
        saved = [squashed]
        for t, (given, into) in enumerate(zip(x.unbind(1), squashed.unbind(1), strict=True)):
            gates = times(hs[t]).add_(given)
            gates[..., : 2 * size].sigmoid_()
            i, f, g, o = gates.chunk(4, -1)
            g.tanh_()
            o.sigmoid_()
            c = torch.mul(f, cs[t], out=cs[t + 1]).addcmul_(i, g)
            torch.mul(o, torch.tanh(c, out=into), out=hs[t + 1])
            saved.append(gates)
        return saved

    def backward(
        self,
        saved: Sequence[Tensor],
        states: Sequence[Tensor],
        times: _Times,
        given: tuple[Tensor, Tensor],
        found: Tensor,
    ) -> Tensor | None:
        """The first state's gradient goes on into the second."""
        cs, made, out = states[1].unbind(1), found.unbind(1), given[0].unbind(2)
        carried, memory, room = torch.zeros_like(out[0]), given[1].clone(), torch.empty_like(out[0])
        for t, (squashed, gates) in reversed(
            list(enumerate(zip(saved[0].unbind(1), saved[1:], strict=True)))
        ):
            (i, f, g, o), (to_i, to_f, to_g, to_o) = gates.chunk(4, -1), made[t].chunk(4, -1)
            now = carried.add_(out[t])
            _through_sigmoid(torch.mul(now, squashed, out=room), o, grad_input=to_o)
            memory.add_(_through_tanh(torch.mul(now, o, out=room), squashed, grad_input=to_g))
            _through_sigmoid(torch.mul(memory, g, out=room), i, grad_input=to_i)
            _through_sigmoid(torch.mul(memory, cs[t], out=room), f, grad_input=to_f)
            _through_tanh(torch.mul(memory, i, out=room), g, grad_input=to_g)
            memory.mul_(f)
            carried = times(made[t])
        return None
