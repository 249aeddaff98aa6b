"""Metropolis-Hastings weights: needs only the neighbours' degrees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array, csr_array

from fedsparse.graphs.rule import Mixing, with_diagonal

__all__ = ["Metropolis"]


@dataclass(frozen=True)
class Metropolis(Mixing):
    """Metropolis-Hastings weights (Xiao, Boyd, Kim, 2007).

    With d_i the degree of i: W_ij = 1 / (1 + max(d_i, d_j)) for neighbours, and W_ii what is left, which is above 0.
    Symmetric. Without the 1 an even ring would have the eigenvalue -1 and never agree.
    """

    def weights(self, links: csr_array) -> csr_array:
        """See :meth:`Mixing.weights`."""
        degree = np.asarray(links.sum(axis=1)).ravel()
        pairs = links.tocoo()
        values = 1 / (1 + np.maximum(degree[pairs.row], degree[pairs.col]))
        return with_diagonal(csr_array(coo_array((values, (pairs.row, pairs.col)), shape=links.shape)))
