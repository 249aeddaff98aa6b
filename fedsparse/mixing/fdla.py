"""The fastest linear averaging: weights from a semidefinite programme; needs cvxpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array, csr_array, triu

from fedsparse.errors import ConfigError
from fedsparse.graphs.rule import Mixing, with_diagonal
from fedsparse.options import option

__all__ = ["FDLA"]


@dataclass(frozen=True)
class FDLA(Mixing):
    """Fastest distributed linear averaging (Xiao, Boyd, 2004).

    Minimises s over the weights w of the links, with B the incidence matrix and J = 11^T/n, subject to
    -sI <= I - B diag(w) B^T - J <= sI. Symmetric; weights may be negative. Minutes from a few hundred clients on, hence
    ``most``. Needs ``pip install 'fedsparse[fdla]'``.
    """

    most: int = option(200, "clients up to which the programme is solved", at_least=2)

    def weights(self, links: csr_array) -> csr_array:
        """See :meth:`Mixing.weights`."""
        try:
            import cvxpy as cp
        except ImportError:
            raise ConfigError(
                "mixing=fdla: needs cvxpy, which is not installed; pip install 'fedsparse[fdla]', or choose "
                "mixing=laplacian"
            ) from None
        n = links.shape[0]
        if n > self.most:
            raise ConfigError(
                f"mixing=fdla: {n} clients are more than mixing.most={self.most}, the semidefinite programme "
                "would take too long; choose mixing=laplacian, or raise mixing.most"
            )
        pairs = triu(links, k=1).tocoo()
        count = len(pairs.row)
        ends = np.concatenate([pairs.row, pairs.col])
        signs = np.repeat([1.0, -1.0], count)
        B = coo_array((signs, (ends, np.tile(np.arange(count), 2))), shape=(n, count)).tocsr()
        w, s = cp.Variable(count), cp.Variable()
        apart = np.eye(n) - 1 / n - B @ cp.diag(w) @ B.T
        problem = cp.Problem(cp.Minimize(s), [apart << s * np.eye(n), apart >> -s * np.eye(n)])
        problem.solve(solver=cp.CLARABEL)
        if problem.status != cp.OPTIMAL:
            raise ConfigError(
                f"mixing=fdla: the solver ended with '{problem.status}'; choose mixing=laplacian"
            )
        half = coo_array((w.value, (pairs.row, pairs.col)), shape=(n, n))
        return with_diagonal(csr_array(half + half.T))
