"""The links of an exchange, and which of them carry a message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from fedsparse.engine.slab import Ids
from fedsparse.gossip import Delivery

__all__ = ["Edges", "Realised", "realised"]

Flags: TypeAlias = NDArray[np.bool_]
Weights: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Edges:
    """A mixing matrix as links, by receiver and then by sender.

    Attributes:
        receivers: ``[E]``.
        senders: ``[E]``.
        weights: what the receiver gives to the sender's message, ``[E]``.
        own: what each client gives to its own, ``[n]``.
    """

    receivers: Ids
    senders: Ids
    weights: Weights
    own: Weights

    @staticmethod
    def of(W: csr_array) -> Edges:
        """The links of ``W [n, n]``, whose rows are receivers and whose columns ascend."""
        receivers = np.repeat(np.arange(W.shape[0], dtype=np.int64), np.diff(W.indptr))
        senders = W.indices.astype(np.int64)
        others = (receivers != senders) & (W.data != 0)
        return Edges(receivers[others], senders[others], W.data[others], W.diagonal())

    @property
    def clients(self) -> int:
        """N."""
        return len(self.own)

    def __len__(self) -> int:
        return len(self.senders)

    def select(self, wanted: Flags) -> Edges:
        """Some of the links, ``[E]`` bool, with the same own weights."""
        return Edges(self.receivers[wanted], self.senders[wanted], self.weights[wanted], self.own)


@dataclass(frozen=True)
class Realised:
    """Weights after losses.

    Attributes:
        own: of the clients' own messages, ``[n]``.
        others: of the messages that were heard, ``[E]``.
    """

    own: Weights
    others: Weights


def realised(edges: Edges, heard: Flags, delivery: Delivery) -> Realised:
    """The weights of what was heard, when the rest of each row or column is dealt with as ``delivery`` says.

    Args:
        edges: all links of the exchange.
        heard: which of them carried a message, ``[E]``.
        delivery: whose weight grows by that of a message which was not heard.
    """
    missing = edges.select(~heard)
    own, others = edges.own, edges.weights[heard]
    if not len(missing) or delivery == "queued":
        return Realised(own, others)
    if delivery == "shared":
        at = edges.receivers[heard]
        rows = own + _sums(at, others, edges.clients)
        whole = own + _sums(edges.receivers, edges.weights, edges.clients)
        factors = np.where(rows != 0, whole / np.where(rows != 0, rows, 1.0), 1.0)
        return Realised(np.where(rows != 0, own * factors, whole), others * factors[at])
    gains = missing.receivers if delivery == "latest" else missing.senders
    return Realised(own + _sums(gains, missing.weights, edges.clients), others)


def _sums(at: Ids, weights: Weights, count: int) -> Weights:
    """Sums of weights by position, in order."""
    found: Weights = np.bincount(at, weights, count).astype(np.float64)  # of no weights it counts
    return found
