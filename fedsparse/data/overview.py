"""A partition in numbers and in a picture."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from fedsparse.data.holdings import Partition, Positions, Stored

__all__ = ["MOST", "counted", "histogram", "plot", "summary"]

MOST = 10_000
"""Clients that are looked at where holdings have to be drawn."""


def counted(held: Partition) -> NDArray[np.int64]:
    """The clients that are looked at: all of a stored partition; of a drawn one ``MOST``, evenly spaced."""
    if isinstance(held, Stored) or held.clients <= MOST:
        return np.arange(held.clients)
    return np.arange(MOST) * held.clients // MOST


def histogram(
    held: Partition, y: NDArray[np.generic], classes: int, ids: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """How often each client holds each class, ``[C, classes]`` int64.

    Args:
        held: the partition.
        y: ``[N]`` int64 classes; for ``[N, T]`` every token counts.
        classes: the number of classes.
        ids: clients ``[C]``; those of :func:`counted` unless given.
    """
    ids = counted(held) if ids is None else ids
    sizes = held.sizes(ids)
    if isinstance(held, Stored) and len(ids) == held.clients:
        indices: Positions = held.indices
    else:
        indices = np.concatenate([held.examples(client) for client in ids.tolist()])
    labels = np.asarray(y)[indices].reshape(len(indices), -1).astype(np.int64)
    row = np.repeat(np.arange(len(ids)), sizes)
    cells = np.bincount((row[:, None] * classes + labels).reshape(-1), minlength=len(ids) * classes)
    return cells.astype(np.int64).reshape(len(ids), classes)


def summary(held: Partition, y: NDArray[np.generic], classes: int) -> dict[str, float]:
    """Who holds what, in numbers; the label figures are missing for regression.

    ``skew`` is the mean over clients of the total variation distance between the client's labels and
    everybody's: 0 when all are alike, near 1 when each holds what hardly anybody else does.

    Args:
        held: the partition. Where holdings have to be drawn, :func:`counted` says who is looked at.
        y: targets of the training part.
        classes: the number of classes.
    """
    ids = counted(held)
    sizes = held.sizes(ids)
    numbers: dict[str, float] = {"clients": held.clients}
    if len(ids) < held.clients:
        numbers["clients looked at"] = len(ids)
    numbers["examples"] = held.total
    if isinstance(held, Stored):
        numbers["left out"] = held.left_out
    numbers |= {
        "fewest examples": int(sizes.min()),
        "median examples": float(np.median(sizes)),
        "most examples": int(sizes.max()),
    }
    if np.asarray(y).dtype == np.int64:
        counts = histogram(held, y, classes, ids)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        overall = counts.sum(axis=0) / counts.sum()
        numbers["mean labels of a client"] = float((counts > 0).sum(axis=1).mean())
        numbers["mean largest share of a label"] = float(shares.max(axis=1).mean())
        numbers["skew"] = float(np.abs(shares - overall).sum(axis=1).mean() / 2)
    return numbers


def plot(held: Partition, path: str | os.PathLike[str], y: NDArray[np.generic], classes: int) -> None:
    """Draw who holds what: a bar for each client that is looked at, coloured by label.

    Args:
        held: the partition.
        path: the picture; its suffix is the format (``.png``, ``.svg``, ``.pdf``).
        y: targets of the training part.
        classes: the number of classes.
    """
    from fedsparse.data.plot import draw_holdings

    y = np.asarray(y)
    counts = histogram(held, y, classes) if y.dtype == np.int64 else held.sizes(counted(held))[:, None]
    draw_holdings(path, counts, "tokens" if y.ndim > 1 else "examples", held.clients)
