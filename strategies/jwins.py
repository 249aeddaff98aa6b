"""JWINS: neighbours exchange the wavelet coefficients of their models that have changed most."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse.options import option
from fedsparse.protocol import Context, Vectors
from fedsparse.strategies._partial import PartialExchange

_ROOT = math.sqrt(3)
_LOW = {
    "haar": [math.sqrt(0.5)] * 2,
    "sym2": [(a + b * _ROOT) / math.sqrt(32) for a, b in ((1, -1), (3, -1), (3, 1), (1, 1))],
}
"""Low-pass filters of the decomposition, as PyWavelets orders them."""


@dataclass(frozen=True)
class JWINS(PartialExchange):
    """JWINS (Dhasade, Kermarrec, Pires, Sharma, Vujasinovic, Wigger, ICDCS 2023, arXiv:2306.04377).

    ``partial_model`` with two changes. Everything is about wavelet coefficients T x of the model as one vector, which
    are mixed, and then transformed back. And the share is random: each client draws α in each round from ``shares``;
    from ``cap`` on it sends all. With K = ``steps``, η = ``lr``, V_i = ``since``, zero at first::

        y_i = x_i;  K times:  y_i <- y_i - η g_i(y_i);      V_i <- V_i + T (y_i - x_i);      draw α_i
        m_i: the α_i D coefficients of largest |V_i|;       send T y_i there, with indices;  V_i <- 0 there
        c_i = T y_i + sum_j W_ij m_j (T y_j - T y_i);       x_i <- T^-1 c_i
        averaging=true:  V_i <- V_i + T (x_i - y_i)

    D is d and a few more. State: x, since. Sent to each neighbour: α_i D values and their indices, of all coefficients
    about one bit each. A message that is lost gives its weight to the receiver's own.

    T is the discrete wavelet transform of PyWavelets with its half-sample symmetric borders, not deeper than there is
    room for. Limit: with all shares 1 that of D-PSGD, else a neighbourhood of it. Departure: values are not compressed
    further, as they are in the authors' code.
    """

    shares: tuple[float, ...] = option(
        (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 1.0), "shares α that are drawn from", above=0, at_most=1
    )
    cap: float = option(0.5, "share from which all is sent", above=0)
    wavelet: str = option("sym2", "the wavelet", choices=tuple(_LOW))
    level: int = option(4, "how often the coarse part is divided again", at_least=1)

    def forth(self, x: Tensor) -> Tensor:
        low = _LOW[self.wavelet]
        details: list[Tensor] = []
        for _ in self._lengths(x.shape[1])[1:]:
            x, detail = _divided(x, low)
            details.insert(0, detail)
        return torch.cat([x, *details], dim=1)

    def back(self, sent: Tensor, size: int) -> Tensor:
        lengths = self._lengths(size)
        x, *details = sent.split([lengths[-1], *lengths[:0:-1]], dim=1)
        for detail, length in zip(details, lengths[-2::-1], strict=True):
            x = _joined(x, detail, _LOW[self.wavelet])[:, :length]
        return x

    def chosen(self, since: Tensor, ctx: Context) -> Tensor:
        shares = torch.tensor(self.shares, dtype=torch.float64)
        shares = torch.where(shares >= self.cap, 1.0, shares)
        count = (shares * since.shape[1] + 0.5).floor().clamp(min=1)
        wanted = count[ctx.rng("share").integers(len(shares), 1)]  # [C, 1]
        order = since.abs().argsort(dim=1, descending=True, stable=True)
        first = torch.arange(since.shape[1]) < wanted
        return torch.zeros_like(first).scatter_(1, order, first)

    def communication(self, size: int) -> tuple[Vectors, ...]:
        coefficients = sum(self._lengths(size)[1:], self._lengths(size)[-1])
        return (Vectors(up_compressed=coefficients / size),)

    def _lengths(self, size: int) -> list[int]:
        """Of the vector, and of its coarse part after each division."""
        taps = len(_LOW[self.wavelet])
        depth = min(self.level, int(math.log2(max(size / (taps - 1), 1))))
        found = [size]
        for _ in range(depth):
            found.append((found[-1] + taps - 1) // 2)
        return found


def _divided(x: Tensor, low: list[float]) -> tuple[Tensor, Tensor]:
    """Coarse part and detail of ``x [C, n]``, each ``[C, (n + taps - 1) // 2]``."""
    taps, size = len(low), x.shape[1]
    count = (size + taps - 1) // 2
    right = 2 * count - size
    wide = torch.cat([x[:, : taps - 2].flip(1), x, x[:, size - right :].flip(1)], dim=1)
    # Entry k has x at 2k + 1, 2k, ...; sums of slices, whose bits do not depend on the number of rows.
    at = [wide[:, taps - 1 - j :: 2][:, :count] for j in range(taps)]
    coarse = sum((a * at[j] for j, a in enumerate(low)), start=torch.zeros_like(at[0]))
    high = [(-1) ** (j + 1) * low[taps - 1 - j] for j in range(taps)]
    return coarse, sum((a * at[j] for j, a in enumerate(high)), start=torch.zeros_like(at[0]))


def _joined(coarse: Tensor, detail: Tensor, low: list[float]) -> Tensor:
    """What :func:`_divided` divided, ``[C, 2 m - taps + 2]`` of two ``[C, m]``."""
    taps, count = len(low), coarse.shape[1]
    half = taps // 2
    n = count - half + 1
    out = torch.zeros(len(coarse), n, 2, dtype=coarse.dtype)
    for j in range(half):  # an entry has as many coefficients of each kind as half the taps
        a, b = coarse[:, j : j + n], detail[:, j : j + n]
        for odd in range(2):
            tap = 2 * j + 1 - odd
            out[:, :, odd] += low[tap] * a + (-1) ** (tap + 1) * low[taps - 1 - tap] * b
    return out.view(len(coarse), -1)
