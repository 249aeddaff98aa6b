"""Partial models: neighbours exchange the coordinates that have changed most since they were last sent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse.compress.counts import kept
from fedsparse.compress.select import largest
from fedsparse.options import option
from fedsparse.protocol import Context
from fedsparse.strategies._partial import PartialExchange


@dataclass(frozen=True)
class PartialModel(PartialExchange):
    """Partial model exchange, as in decentralizepy.

    Source: Dhasade, Kermarrec, Pires, Sharma, Vujasinovic, EuroMLSys 2023, arXiv:2304.08322, and their code.

    Update of client i with K = ``steps`` local steps of size η = ``lr``, α = ``fraction``, W the mixing matrix, and
    V_i = ``since``, zero at first::

        y_i = x_i;  K times:  y_i <- y_i - η g_i(y_i);      V_i <- V_i + (y_i - x_i)
        m_i: the α d coordinates of largest |V_i|;      send y_i there, with indices;   V_i <- 0 there
        x_i <- y_i + sum_j W_ij m_j (y_j - y_i)             so i fills in its own values for what j leaves out
        averaging=true:  V_i <- V_i + (x_i - y_i)           mixing is a change, too

    State: x, since. Sent to each neighbour: α d values and their indices. The mean of all models is not kept, since j
    hears of i what i does not hear of j. A message that is lost gives its weight to the receiver's own; V is not told.

    Limit: with α = 1 that of D-PSGD; else a neighbourhood of it.
    """

    fraction: float = option(0.1, "share α of the coordinates that is sent", above=0, at_most=1)

    def chosen(self, since: Tensor, ctx: Context) -> Tensor:
        indices = largest(since, kept(self.fraction, since.shape[1]))
        return torch.zeros_like(since, dtype=torch.bool).scatter_(1, indices, True)
