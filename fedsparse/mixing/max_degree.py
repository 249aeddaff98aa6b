"""The same weight for every link, by the largest degree of all."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.sparse import csr_array

from fedsparse.graphs.rule import Mixing, with_diagonal

__all__ = ["MaxDegree"]


@dataclass(frozen=True)
class MaxDegree(Mixing):
    """Maximum-degree weights (Xiao, Boyd, 2004).

    W = I - L / (1 + max_i d_i), with L the Laplacian of the graph. Symmetric, nonnegative; every client must know the
    largest degree.
    """

    def weights(self, links: csr_array) -> csr_array:
        """See :meth:`Mixing.weights`."""
        return with_diagonal(links / (1 + links.sum(axis=1).max()))
