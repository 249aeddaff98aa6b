"""Who holds which training examples.

A partition is a function from a data set to the *owner* of every example, so that nothing can be held twice
and what nobody holds is counted. One module of ``fedsparse.data.partitions`` for each; your own by import
path, called as ``function(dataset, clients, seed, **options)`` and returning owners ``[N]``, -1 for nobody.
"""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedsparse.data.dataset import Dataset
from fedsparse.data.members import Members
from fedsparse.errors import DataError

__all__ = ["PARTITIONS", "Partition", "names", "options", "partition"]

PARTITIONS = Members(
    package="fedsparse.data.partitions",
    function="owners",
    kind="partition",
    given=("dataset", "clients", "seed"),
)
"""The partitions: the modules of ``fedsparse.data.partitions``, each with ``owners``."""


@dataclass(frozen=True, eq=False)
class Partition:
    """The examples of every client, in compressed rows.

    Attributes:
        indices: ``[n]`` int64, examples of the training part; those of client i, ascending, are
            ``indices[offsets[i]:offsets[i + 1]]``.
        offsets: ``[clients + 1]`` int64.
        left_out: training examples that no client holds.
    """

    indices: NDArray[np.int64]
    offsets: NDArray[np.int64]
    left_out: int

    @property
    def clients(self) -> int:
        """The number of clients."""
        return len(self.offsets) - 1

    def sizes(self) -> NDArray[np.int64]:
        """The number of examples of each client, ``[clients]``."""
        sizes: NDArray[np.int64] = np.diff(self.offsets)
        return sizes

    def examples(self, client: int) -> NDArray[np.int64]:
        """The examples of one client, ascending."""
        return self.indices[self.offsets[client] : self.offsets[client + 1]]

    def histogram(self, y: NDArray[np.generic], classes: int) -> NDArray[np.int64]:
        """How often each client holds each class, ``[clients, classes]`` int64.

        Args:
            y: ``[N]`` int64 classes; for ``[N, T]`` every token counts.
            classes: the number of classes.
        """
        labels = np.asarray(y)[self.indices].reshape(len(self.indices), -1).astype(np.int64)
        owner = np.repeat(np.arange(self.clients), self.sizes())
        cells = np.bincount((owner[:, None] * classes + labels).reshape(-1), minlength=self.clients * classes)
        return cells.astype(np.int64).reshape(self.clients, classes)

    def summary(self, y: NDArray[np.generic], classes: int) -> dict[str, float]:
        """Who holds what, in numbers; the label figures are missing for regression.

        ``skew`` is the mean over clients of the total variation distance between the client's labels and
        everybody's: 0 when all are alike, near 1 when each holds what hardly anybody else does.

        Args:
            y: targets of the training part.
            classes: the number of classes.
        """
        sizes = self.sizes()
        numbers: dict[str, float] = {
            "clients": self.clients,
            "examples": len(self.indices),
            "left out": self.left_out,
            "fewest examples": int(sizes.min()),
            "median examples": float(np.median(sizes)),
            "most examples": int(sizes.max()),
        }
        if np.asarray(y).dtype == np.int64:
            counts = self.histogram(y, classes)
            shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
            overall = counts.sum(axis=0) / counts.sum()
            numbers["mean labels of a client"] = float((counts > 0).sum(axis=1).mean())
            numbers["mean largest share of a label"] = float(shares.max(axis=1).mean())
            numbers["skew"] = float(np.abs(shares - overall).sum(axis=1).mean() / 2)
        return numbers

    def table(self, y: NDArray[np.generic], classes: int) -> str:
        """:meth:`summary` as lines of text."""
        numbers = self.summary(y, classes)
        width = max(map(len, numbers))
        return "\n".join(f"{name:<{width}}  {value:>12,.6g}" for name, value in numbers.items())

    def plot(self, path: str | os.PathLike[str], y: NDArray[np.generic], classes: int) -> None:
        """Draw who holds what: a bar for each client, coloured by label.

        Args:
            path: the picture; its suffix is the format (``.png``, ``.svg``, ``.pdf``).
            y: targets of the training part.
            classes: the number of classes.
        """
        from fedsparse.data.plot import draw_holdings

        y = np.asarray(y)
        counts = self.histogram(y, classes) if y.dtype == np.int64 else self.sizes()[:, None]
        draw_holdings(path, counts, unit="tokens" if y.ndim > 1 else "examples")


def names() -> list[str]:
    """The partitions that come with fedsparse."""
    return PARTITIONS.names()


def options(name: str) -> dict[str, inspect.Parameter]:
    """The options of a partition, with types and defaults."""
    return PARTITIONS.options(name)


def partition(name: str, dataset: Dataset, clients: int | None, seed: int, **options: object) -> Partition:
    """Divide the training examples among clients.

    Args:
        name: one of :func:`names`, or ``package.module:function``.
        dataset: what is divided.
        clients: how many clients; 0 or None means all natural clients, which only ``natural`` has.
        seed: the run's seed.
        options: the options of the partition, see :func:`options`.

    Raises:
        ConfigError: an unknown name or option, or a value that makes no sense.
        DataError: the data set cannot be divided in this way.
    """
    function = PARTITIONS.checked(name, options)
    owner = np.asarray(function(dataset, clients or 0, seed, **options))
    if owner.shape != (len(dataset.x),) or owner.dtype.kind not in "iu":
        raise DataError(
            f"partition {name!r} returned {owner.dtype} of shape {owner.shape}; it must return the owner of "
            f"each example, whole numbers of shape ({len(dataset.x)},)"
        )
    number = clients or int(owner.max(initial=0)) + 1
    if int(owner.min(initial=0)) < -1 or int(owner.max(initial=0)) >= number:
        raise DataError(
            f"partition {name!r} returned owners from {owner.min()} to {owner.max()}; "
            f"clients are 0 to {number - 1}, and -1 is nobody"
        )
    return _from_owners(owner.astype(np.int64), number)


def _from_owners(owner: NDArray[np.int64], clients: int) -> Partition:
    left_out = int((owner < 0).sum())
    indices = np.argsort(owner, kind="stable")[left_out:]
    sizes = np.bincount(owner[indices], minlength=clients)
    return Partition(indices, np.concatenate(([0], np.cumsum(sizes))), left_out)
