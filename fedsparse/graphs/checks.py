"""Whether mixing matrices are what a method needs; asked before a run starts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from fedsparse.errors import ConfigError
from fedsparse.graphs.links import links_of
from fedsparse.graphs.matrices import Matrices
from fedsparse.graphs.rule import Stochastic

__all__ = ["TOLERANCE", "require", "stochasticity"]

TOLERANCE = 1e-9
"""How far a sum may be from one, and two mirrored weights from each other."""

_AXES = {"row": 1, "column": 0}
_MEANINGS = {
    "row": "client {} mixes what it has and hears with weights that are no average",
    "column": "not all that client {} has to give arrives, or more than that",
}


def stochasticity(W: csr_array) -> Stochastic | None:
    """What sums to one in a matrix."""
    fits = {kind for kind in _AXES if np.abs(_sums(W, kind) - 1).max() <= TOLERANCE}
    return "doubly" if len(fits) == 2 else "row" if "row" in fits else "column" if fits else None


def require(
    matrices: Matrices,
    stochastic: Stochastic = "doubly",
    *,
    symmetric: bool = False,
    static: bool = False,
    nonnegative: bool = False,
) -> None:
    """Refuses mixing matrices that do not have the properties a method needs.

    All matrices of the period are looked at; of a sequence that never repeats the first, since the others are
    made alike.

    Args:
        matrices: those of the run.
        stochastic: what must sum to one. ``"doubly"`` serves those who need ``"row"`` or ``"column"``.
        symmetric: whether W must be its own transpose.
        static: whether W may not change.
        nonnegative: whether weights below 0 are refused, which ``laplacian`` and ``fdla`` may give.

    Raises:
        ConfigError: names the property, the client and what to choose instead.
    """
    if static and matrices.period != 1:
        raise ConfigError(f"{matrices.name}: changes from exchange to exchange; a graph that stays is needed")
    for t in range(matrices.period or 1):
        where = f"{matrices.name}: W" + ("" if matrices.period == 1 else f" of exchange {t}")
        W = matrices.at(t)
        for kind in ("row", "column") if stochastic == "doubly" else (stochastic,):
            _check_sums(W, kind, where, stochastic)
        if symmetric:
            _check_symmetric(W, where)
        if nonnegative and len(W.data) and W.data.min() < 0:
            row, column = _entry(W, int(W.data.argmin()))
            raise ConfigError(
                f"{where} has a negative weight, {W.data.min():.4g} that client {row} gives to {column}; choose "
                "mixing=metropolis"
            )
    _check_connected(matrices)


def _sums(W: csr_array, kind: str) -> NDArray[np.float64]:
    return np.asarray(W.sum(axis=_AXES[kind])).ravel()


def _check_sums(W: csr_array, kind: str, where: str, needed: Stochastic) -> None:
    sums = _sums(W, kind)
    worst = int(np.abs(sums - 1).argmax())
    if abs(sums[worst] - 1) > TOLERANCE or not np.isfinite(sums).all():
        advice = (
            "mixing=push_sum"
            if needed == "column"
            else "mixing=metropolis on a graph whose links go both ways"
        )
        raise ConfigError(
            f"{where} is not {needed} stochastic: {kind} {worst} sums to {sums[worst]:.6g}, not 1 "
            f"({_MEANINGS[kind].format(worst)}); choose {advice}"
        )


def _check_symmetric(W: csr_array, where: str) -> None:
    apart = csr_array(abs(W - W.T))
    if len(apart.data) and apart.data.max() > TOLERANCE:
        row, column = _entry(apart, int(apart.data.argmax()))
        raise ConfigError(
            f"{where} is not symmetric: client {row} gives {column} the weight {W[row, column]:.6g}, and gets "
            f"{W[column, row]:.6g}; choose a graph whose links go both ways, with mixing=metropolis"
        )


def _entry(matrix: csr_array, position: int) -> tuple[int, int]:
    return int(np.searchsorted(matrix.indptr, position, side="right")) - 1, int(matrix.indices[position])


def _check_connected(matrices: Matrices) -> None:
    count, labels = _parts(matrices)
    if count > 1:
        other = int(np.flatnonzero(labels != labels[0])[0])
        over = (
            "" if matrices.period == 1 else " over a whole period" if matrices.period else " in any exchange"
        )
        raise ConfigError(
            f"{matrices.name}: is not connected{over}: nothing gets from client 0 to client {other} and back, not even "
            f"through others ({count} parts); add links"
        )


def _parts(matrices: Matrices) -> tuple[int, NDArray[np.int32]]:
    """Into how many parts the graph of all links falls, and the part of each client."""
    if matrices.period is not None:
        every: csr_array = sum(_present(matrices), start=csr_array((matrices.clients, matrices.clients)))
    else:
        reach = matrices.topology.reach(matrices.clients, matrices.seed)
        if reach is None:
            return 1, np.zeros(matrices.clients, dtype=np.int32)
        every = links_of(reach, matrices.clients, f"topology={matrices.topology.name}").matrix
    found: tuple[int, NDArray[np.int32]] = connected_components(every, directed=True, connection="strong")
    return found


def _present(matrices: Matrices) -> Iterator[csr_array]:
    """Ones where a weight is, since weights of two exchanges might cancel."""
    for t in range(matrices.period or 1):
        W = matrices.at(t).copy()
        W.data = (W.data != 0).astype(np.float64)
        W.eliminate_zeros()
        yield W
