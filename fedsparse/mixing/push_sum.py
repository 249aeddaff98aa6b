"""Everyone divides what it has among itself and those it sends to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.sparse import csr_array, diags_array

from fedsparse.graphs.rule import Mixing, Stochastic, with_diagonal

__all__ = ["PushSum"]


@dataclass(frozen=True)
class PushSum(Mixing):
    """Column-stochastic weights for push-sum (Kempe, Dobra, Gehrke, 2003; SGP: Assran et al., 2019, arXiv:1811.10792).

    W_ij = 1 / (1 + d_j) for all d_j receivers i that j sends to, and for j itself. The sum over the clients
    stays, the mean at each client does not: a scalar travels along, is mixed alike from 1 on, and divides what is
    used.
    """

    stochastic: ClassVar[Stochastic] = "column"
    directed: ClassVar[bool] = True
    extra: ClassVar[int] = 1

    def weights(self, links: csr_array) -> csr_array:
        """See :meth:`Mixing.weights`."""
        sends = np.asarray(links.sum(axis=0)).ravel()
        return with_diagonal(csr_array(links @ diags_array(1 / (1 + sends))), axis=0)
