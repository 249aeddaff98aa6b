"""Eigenvalues that decide how fast clients agree, for thousands of clients without a dense matrix.

Of a symmetric W with rows that sum to one, I - W is the Laplacian of a weighted graph: it has the eigenvalue 0 for the
vector of ones, and its next and its largest one are all that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array, eye_array
from scipy.sparse.csgraph import reverse_cuthill_mckee
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh, splu

from fedsparse.errors import ResourceError
from fedsparse.rng import stream

__all__ = ["DENSE", "laplacian_ends", "largest"]

DENSE = 600
"""Clients up to which all eigenvalues are computed from a dense matrix."""

_BYTES = 2e9
"""What the factors of a sparse matrix may take."""

_RESTARTS = 40

Vector = NDArray[np.float64]


def laplacian_ends(L: csr_array) -> tuple[float, float]:
    """The second smallest and the largest eigenvalue of a symmetric matrix whose rows sum to 0.

    The Lanczos method finds them within seconds where neighbours are well mixed. Where it does not, the graph is
    long and thin, and a sparse factorisation is cheap.

    Raises:
        ResourceError: it is neither.
    """
    n = L.shape[0]
    if n <= DENSE:
        values = np.linalg.eigvalsh(L.toarray())
        return float(values[1]), float(values[-1])
    bound = float(2 * L.diagonal().max())  # of a graph's Laplacian; weights below 0 may exceed it
    bound = max(bound, float(abs(L).sum(axis=1).max()))
    try:
        top = largest(lambda x: L @ x, n)
        return bound - largest(lambda x: _centred(bound * x - L @ x), n), top
    except ArpackNoConvergence:
        _refuse_wide(L)
        return _by_factors(L, bound)


def largest(apply: Callable[[Vector], Vector], n: int) -> float:
    """The largest eigenvalue of a symmetric operator on vectors ``[n]``, from a start that is always the same.

    Raises:
        ArpackNoConvergence: the largest ones are too near to each other.
    """
    start = _centred(stream(0, "spectrum").standard_normal(n))
    if np.linalg.norm(apply(start)) <= 1e-13 * np.linalg.norm(start):
        return 0.0  # the operator is, and ARPACK would have nothing to start from
    operator: Any = LinearOperator((n, n), matvec=apply, dtype=np.float64)
    found = eigsh(
        operator, k=1, which="LA", v0=start, ncv=40, maxiter=_RESTARTS, tol=1e-7, return_eigenvectors=False
    )
    return float(found[0])


def _centred(x: Vector) -> Vector:
    centred: Vector = x - x.mean()
    return centred


def _by_factors(L: csr_array, bound: float) -> tuple[float, float]:
    """Through inverses, whose largest eigenvalues are far apart.

    The pseudo-inverse of L solves with one client held at 0; the other end is that of (σI - L)^-1 with σ above all.
    """
    n = L.shape[0]
    held = splu(csc_array(L[1:, 1:]), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    sigma = bound * (1 + 1e-7)
    above = splu(
        csc_array(sigma * eye_array(n) - L), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}
    )

    def pseudo_inverse(x: Vector) -> Vector:
        return _centred(np.concatenate([[0.0], held.solve(_centred(x)[1:])]))

    try:
        low, high = largest(pseudo_inverse, n), largest(above.solve, n)
    except ArpackNoConvergence as error:
        raise ResourceError(
            f"the eigenvalues of a graph of {n} clients are too near to each other"
        ) from error
    return 1 / low, sigma - 1 / high


def _refuse_wide(L: csr_array) -> None:
    """Refuses a graph whose factors would not fit: without its trees, they fill a band at most."""
    graph = nx.from_scipy_sparse_array(L)
    graph.remove_edges_from(list(nx.selfloop_edges(graph)))
    core = nx.k_core(graph, 2)
    if len(core) == 0:
        return
    links = csr_array(nx.to_scipy_sparse_array(core))
    place = np.empty(len(core), dtype=np.int64)
    place[reverse_cuthill_mckee(links, symmetric_mode=True)] = np.arange(len(core))
    pairs = links.tocoo()
    band = int(np.abs(place[pairs.row] - place[pairs.col]).max())
    if 8.0 * band * len(core) > _BYTES:
        raise ResourceError(
            f"the spectral gap of this graph of {L.shape[0]} clients cannot be found in reasonable "
            "time and memory: it is close to 0, and the graph is not thin"
        )
