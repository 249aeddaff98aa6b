"""How fast clients agree."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, eye_array
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigs

from fedsparse.errors import ResourceError
from fedsparse.graphs.checks import TOLERANCE, stochasticity
from fedsparse.graphs.matrices import Matrices
from fedsparse.graphs.spectrum import DENSE, laplacian_ends, largest
from fedsparse.rng import stream

__all__ = ["contraction", "half_life", "norm", "period_contraction", "sample"]

_COLUMNS = 16

_ROUNDING = 1e-14
"""A contraction below it is that of exact agreement."""

Block = NDArray[np.float64]
Apply = Callable[[Block], Block]


def contraction(matrices: Matrices) -> float:
    """ρ: by what the disagreement shrinks in one exchange, at worst and in the long run; 0 is agreement at once.

    For a matrix that stays and is doubly stochastic the norm of W - 11^T/n (for a symmetric one that is its
    second largest eigenvalue in size); for one that is not, that eigenvalue. Of a period, per exchange. Where
    nothing repeats it is measured on random vectors.

    Raises:
        ResourceError: it cannot be found for so large a graph.
    """
    if matrices.period is None:
        return _measured(matrices)
    return float(period_contraction(matrices) ** (1 / matrices.period))


def period_contraction(matrices: Matrices) -> float:
    """By what the disagreement shrinks in one period.

    Raises:
        ResourceError: it cannot be found for so large a graph.
    """
    every = [matrices.at(t) for t in range(matrices.period or 1)]
    doubly = all(stochasticity(W) == "doubly" for W in every)
    found = norm(every) if doubly else _second_eigenvalue(every)
    return found if found > _ROUNDING * len(every) else 0.0


def sample(matrices: Matrices) -> int:
    """Exchanges that stand for a sequence that never repeats, or repeats late: 64, down to 8 where clients are many."""
    return max(8, min(64, 2**16 // matrices.clients))


def half_life(rate: float) -> float:
    """Exchanges until the disagreement has halved; infinite where it does not shrink."""
    if rate >= 1:
        return math.inf
    return 0.0 if rate <= 0 else math.log(2) / -math.log(rate)


def norm(every: list[csr_array]) -> float:
    """The norm of W_p ... W_1 - 11^T/n, for doubly stochastic matrices ``[n, n]``."""
    n = every[0].shape[0]
    if len(every) == 1 and abs(every[0] - every[0].T).max() <= TOLERANCE:
        low, high = laplacian_ends(csr_array(eye_array(n) - every[0]))
        return max(abs(1 - low), abs(high - 1))
    if n <= DENSE:
        return float(np.linalg.norm(_forward(every)(np.eye(n)) - 1 / n, 2))
    forward, back = _forward(every), _forward([W.T.tocsr() for W in reversed(every)])

    def squared(x: Block) -> Block:
        y = back(forward(x - x.mean()))
        return np.asarray(y - y.mean())

    try:
        return math.sqrt(max(largest(squared, n), 0.0))
    except ArpackNoConvergence as error:
        raise _too_near(n) from error


def _forward(every: list[csr_array]) -> Apply:
    def apply(x: Block) -> Block:
        for W in every:
            x = W @ x
        return x

    return apply


def _second_eigenvalue(every: list[csr_array]) -> float:
    n = every[0].shape[0]
    apply = _forward(every)
    if n <= DENSE:
        return float(np.sort(np.abs(np.linalg.eigvals(apply(np.eye(n)))))[-2])
    start = stream(0, "spectrum").standard_normal(n)
    operator = LinearOperator((n, n), matvec=apply, dtype=np.float64)
    try:
        values = eigs(operator, k=2, v0=start, ncv=40, maxiter=100, tol=1e-9, return_eigenvectors=False)
    except ArpackError as error:
        raise _too_near(n) from error
    return float(np.abs(values).min())


def _too_near(n: int) -> ResourceError:
    return ResourceError(
        f"the contraction of a graph of {n} clients cannot be found: its largest values are too near to 1"
    )


def _measured(matrices: Matrices) -> float:
    x = stream(0, "contraction").standard_normal((matrices.clients, _COLUMNS))
    logs = []
    for t in range(sample(matrices)):
        x = x - x.mean(axis=0)
        before = np.linalg.norm(x)
        x = matrices.at(t) @ x
        after = np.linalg.norm(x - x.mean(axis=0))
        if after <= _ROUNDING * before:
            return 0.0
        logs.append(math.log(after / before))
        x /= after
    return math.exp(sum(logs) / len(logs))
