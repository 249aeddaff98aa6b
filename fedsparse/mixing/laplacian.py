"""W = I - αL, with the best constant α unless one is given."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.sparse import csr_array
from scipy.sparse.csgraph import laplacian

from fedsparse.graphs.rule import Mixing, with_diagonal
from fedsparse.graphs.spectrum import laplacian_ends
from fedsparse.options import option

__all__ = ["Laplacian"]


@dataclass(frozen=True)
class Laplacian(Mixing):
    """Constant edge weights (Xiao, Boyd, 2004).

    W = I - αL, with L the Laplacian of the graph. Of all constants α = 2 / (λ_2(L) + λ_n(L)) mixes fastest, with
    ρ = (λ_n - λ_2) / (λ_n + λ_2). Symmetric. What clients keep of their own may be negative (the hub of a star):
    fine for averages, not for methods that need nonnegative weights.
    """

    alpha: float | None = option(None, "weight α of every link; null: the best one", above=0)

    def weights(self, links: csr_array) -> csr_array:
        """See :meth:`Mixing.weights`."""
        alpha = 2 / sum(laplacian_ends(csr_array(laplacian(links)))) if self.alpha is None else self.alpha
        return with_diagonal(alpha * links)
