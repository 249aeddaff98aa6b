"""Every client holds a sample of its own, drawn with replacement: any number of clients from any data set.

A client's examples are a bootstrap sample of the whole, or of a mixture of labels of its own. They follow from
the seed and the client's number alone and are drawn when they are asked for, so that a million clients take no
more memory than one, and client 7 holds the same whoever else is registered.

Label skew as in T. Hsu, H. Qi, M. Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated
Visual Classification", arXiv:1909.06335: each client has its own shares of the labels, q ~ Dir(alpha K p), where p
are the shares of the K labels in the data set, and all hold equally many examples. With labels that are equally
frequent this is Dir(alpha, ..., alpha), and the skew is that of ``dirichlet`` with the same alpha. (The paper's alpha
is alpha K here; there a label can run out, here it cannot.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedsparse.data.checks import whole, within
from fedsparse.data.dataset import Dataset
from fedsparse.data.holdings import Partition, Positions, compact
from fedsparse.data.partitions._common import labels_of
from fedsparse.lazy import cached_property
from fedsparse.rng import stream

__all__ = ["Bootstrap", "Labels", "divide"]

_ALPHA = 1e-6, 1e9
"""Below there is one label for each client, above there is no difference between them; and no number overflows."""


@dataclass(frozen=True, eq=False)
class Bootstrap(Partition):
    """Bootstrap samples of one size.

    Attributes:
        clients: the number of clients.
        size: examples of each.
        seed: the run's seed.
        population: examples of the training part.
    """

    clients: int
    size: int
    seed: int
    population: int

    @property
    def total(self) -> int:  # type: ignore[override]
        """Examples of all clients together."""
        return self.clients * self.size

    @cached_property
    def largest(self) -> int:
        """Examples of the client that has the most."""
        return self.size

    def sizes(self, ids: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """See :meth:`~fedsparse.data.holdings.Partition.sizes`."""
        return np.full(self.clients if ids is None else len(ids), self.size, dtype=np.int64)

    def examples(self, client: int) -> NDArray[np.int64]:
        """See :meth:`~fedsparse.data.holdings.Partition.examples`; one that was drawn twice is there twice.

        Raises:
            IndexError: there is no such client.
        """
        if not 0 <= client < self.clients:
            raise IndexError(f"client {client} of {self.clients}")
        return np.sort(self._drawn(stream(self.seed, "partition:bootstrap", client=client)))

    def _drawn(self, rng: np.random.Generator) -> NDArray[np.int64]:
        return rng.integers(self.population, size=self.size)


@dataclass(frozen=True, eq=False)
class Labels(Bootstrap):
    """Bootstrap samples of the client's own mixture of labels.

    Attributes:
        alpha: concentration of the mixtures.
        order: ``[N]``, all examples in the order of their labels.
        first: ``[K + 1]`` int64, where each of the K labels that occur begins in ``order``.
    """

    alpha: float
    order: Positions
    first: NDArray[np.int64]

    def _drawn(self, rng: np.random.Generator) -> NDArray[np.int64]:
        counts = np.diff(self.first)
        shares = rng.dirichlet(self.alpha * (len(counts) * counts / self.population))
        label = np.repeat(np.arange(len(counts)), rng.multinomial(self.size, shares))
        drawn: NDArray[np.int64] = self.order[self.first[label] + rng.integers(counts[label])].astype(
            np.int64
        )
        return drawn


def divide(
    dataset: Dataset, clients: int, seed: int, *, size: int = 60, alpha: float | None = None
) -> Bootstrap:
    """Give every client its own bootstrap sample.

    Args:
        dataset: what is drawn from; with ``alpha``, one label for each example.
        clients: the number of clients.
        seed: the run's seed.
        size: examples of each client; may be more than there are.
        alpha: concentration of the clients' labels: the smaller, the fewer labels a client has; null: all draw from
            the whole.
    """
    whole("clients", clients, 1)
    whole("size", size, 1)
    n = len(dataset.x)
    if alpha is None:
        return Bootstrap(clients, size, seed, n)
    within("alpha", alpha, *_ALPHA)
    labels = labels_of(dataset, "bootstrap with alpha", "leave out alpha")
    counts = np.bincount(labels)
    first = np.concatenate(([0], np.cumsum(counts[counts > 0])))
    return Labels(clients, size, seed, n, alpha, compact(np.argsort(labels, kind="stable"), n), first)
