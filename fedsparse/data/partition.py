"""Who holds which training examples.

Most partitions are functions from a data set to the *owner* of every example, so that nothing can be held twice
and what nobody holds is counted. Where clients may share examples, as ``bootstrap`` has it, they give a
:class:`~fedsparse.data.holdings.Partition`. One module of ``fedsparse.data.partitions`` for each; your own by
import path, called as ``function(dataset, clients, seed, **options)`` and returning owners ``[N]``, -1 for
nobody, or such a partition.
"""

from __future__ import annotations

import inspect

import numpy as np
from numpy.typing import NDArray

from fedsparse.data.dataset import Dataset
from fedsparse.data.holdings import Partition, Stored, compact
from fedsparse.data.members import Members
from fedsparse.errors import DataError

__all__ = ["PARTITIONS", "Partition", "names", "options", "partition"]

PARTITIONS = Members(
    package="fedsparse.data.partitions",
    function="divide",
    kind="partition",
    given=("dataset", "clients", "seed"),
)
"""The partitions: the modules of ``fedsparse.data.partitions``, each with ``divide``."""


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
    found = function(dataset, clients or 0, seed, **options)
    if isinstance(found, Partition):
        if clients and found.clients != clients:
            raise DataError(
                f"partition {name!r} is for {found.clients:,} clients, and {clients:,} are wanted; use as many"
            )
        return found
    owner = np.asarray(found)
    if owner.shape != (len(dataset.x),) or owner.dtype.kind not in "iu":
        raise DataError(
            f"partition {name!r} returned {owner.dtype} of shape {owner.shape}; it must return the owner of "
            f"each example, whole numbers of shape ({len(dataset.x)},), or a fedsparse.data.Partition"
        )
    number = clients or int(owner.max(initial=0)) + 1
    if int(owner.min(initial=0)) < -1 or int(owner.max(initial=0)) >= number:
        raise DataError(
            f"partition {name!r} returned owners from {owner.min()} to {owner.max()}; "
            f"clients are 0 to {number - 1}, and -1 is nobody"
        )
    return _from_owners(owner.astype(np.int64, copy=False), number)


def _from_owners(owner: NDArray[np.int64], clients: int) -> Stored:
    left_out = int((owner < 0).sum())
    rows = np.argsort(owner, kind="stable")[left_out:]
    offsets = np.zeros(clients + 1, dtype=np.int64)
    np.cumsum(np.bincount(owner[rows], minlength=clients), out=offsets[1:])
    return Stored(compact(rows, len(owner)), offsets, left_out)
