"""Adapter-LTH: low-rank adapters lose a few of their smallest entries after every round."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fedsparse.masks import best
from fedsparse.options import option
from fedsparse.strategies.sparse_adapter import SparseAdapter


@dataclass(frozen=True)
class AdapterLTH(SparseAdapter):
    """Iterative magnitude pruning of adapters, after the lottery ticket hypothesis, as a baseline of FLASC's code.

    The rule is that of ``sparse_adapter``, but for the mask. With ρ = ``density``, q = ``shrink``::

        server:   after each round r >= ``after`` - 1:   m = the max(⌊ρ d⌋, ⌊q^(r+1) d⌋) largest |x| of those in m

    What is pruned stays zero, and its weights are not rewound. Sent, state, records and limit: as ``sparse_adapter``.
    Departure: q = 0.98 is from memory of the paper's text; the published tables were not at hand.
    """

    shrink: float = option(0.98, "factor q of the density in each round", above=0, at_most=1)

    def kept(self, x: Tensor, mask: Tensor, rounds: int) -> Tensor:
        if rounds < self.after:
            return mask
        density = max(self.density, self.shrink**rounds)
        return best(x.abs(), mask, max(1, int(density * len(x))))
