"""Everyone averages what it has and what it hears."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.sparse import csr_array, diags_array

from fedsparse.graphs.rule import Mixing, Stochastic, with_diagonal

__all__ = ["Uniform"]


@dataclass(frozen=True)
class Uniform(Mixing):
    """Plain averages of oneself and one's neighbours.

    W_ij = 1 / (1 + d_i) for all d_i senders j that i hears, and for i itself. Row stochastic; doubly stochastic
    only where all clients hear and are heard by equally many (ring, torus, exponential graphs, ...). Elsewhere
    clients agree on a weighted mean.
    """

    stochastic: ClassVar[Stochastic] = "row"
    directed: ClassVar[bool] = True

    def weights(self, links: csr_array) -> csr_array:
        """See :meth:`Mixing.weights`."""
        hears = np.asarray(links.sum(axis=1)).ravel()
        return with_diagonal(csr_array(diags_array(1 / (1 + hears)) @ links))
