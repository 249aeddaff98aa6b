"""What the clients of a block get in an exchange, as plain arrays that can be sent to a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedsparse.engine.gossip.edges import Edges, Flags, Weights, realised
from fedsparse.engine.slab import Ids
from fedsparse.gossip import Delivery

__all__ = ["Late", "Mail", "Post"]


@dataclass(frozen=True)
class Late:
    """Messages of one name that come after their time.

    Attributes:
        receivers: who gets them, ``[Q]``.
        senders: who sent them, ``[Q]``.
        rows: which of the late messages it is, ``[Q]``.
        weights: of the link, ``[Q]``.
    """

    receivers: Ids
    senders: Ids
    rows: Ids
    weights: Weights

    def select(self, wanted: Flags) -> Late:
        """Some of them, ``[Q]`` bool."""
        return Late(self.receivers[wanted], self.senders[wanted], self.rows[wanted], self.weights[wanted])


@dataclass(frozen=True)
class Mail:
    """What C clients of a block get.

    Attributes:
        ids: the clients, ``[C]``.
        rows: their own messages among all, ``[C]``.
        receivers: positions among the clients, ``[E]``.
        senders: ids, ``[E]``.
        sources: their messages among all, ``[E]``.
        weights: of the mixing matrix, ``[E]``.
        own: by kind of delivery, the weights of the own messages ``[C]``.
        others: likewise of those that were heard, ``[E]``.
        delivered: which share of a client's own message has arrived, ``[C]``.
        late: by name, messages of earlier exchanges that these clients get.
        overdue: by name, messages of these clients that only now have arrived.
        everyone: all have heard all.
    """

    ids: Ids
    rows: Ids
    receivers: Ids
    senders: Ids
    sources: Ids
    weights: Weights
    own: Mapping[Delivery, Weights]
    others: Mapping[Delivery, Weights]
    delivered: Weights
    late: Mapping[str, Late] = field(default_factory=dict)
    overdue: Mapping[str, Late] = field(default_factory=dict)
    everyone: bool = False


@dataclass(frozen=True)
class Post:
    """An exchange, to be divided among blocks.

    Attributes:
        edges: all links.
        heard: which carried a message, ``[E]``.
        speakers: those whose messages count, ascending ``[S]``; a message is named by its sender's position there.
        kinds: the kinds of delivery that occur.
        late: by name, messages that arrive now.
        everyone: all hear all.
    """

    edges: Edges
    heard: Flags
    speakers: Ids
    kinds: Sequence[Delivery]
    late: Mapping[str, Late]
    everyone: bool = False

    def cut(self, blocks: Sequence[Ids]) -> list[Mail]:
        """The mail of each block of clients, who are all speakers."""
        carried = self.edges.select(self.heard)
        weights: Any = {kind: realised(self.edges, self.heard, kind) for kind in self.kinds}
        arrived = self.edges.own + np.bincount(carried.senders, carried.weights, self.edges.clients)
        made = []
        for ids in blocks:
            span = slice(*np.searchsorted(carried.receivers, (ids[0], ids[-1] + 1)))
            mine = np.flatnonzero(np.isin(carried.receivers[span], ids)) + span.start
            senders = carried.senders[mine]
            made.append(
                Mail(
                    ids=ids,
                    rows=np.searchsorted(self.speakers, ids),
                    receivers=np.searchsorted(ids, carried.receivers[mine]),
                    senders=senders,
                    sources=np.searchsorted(self.speakers, senders),
                    weights=carried.weights[mine],
                    own={kind: found.own[ids] for kind, found in weights.items()},
                    others={kind: found.others[mine] for kind, found in weights.items()},
                    delivered=arrived[ids],
                    late={n: late.select(np.isin(late.receivers, ids)) for n, late in self.late.items()},
                    overdue={n: late.select(np.isin(late.senders, ids)) for n, late in self.late.items()},
                    everyone=self.everyone,
                )
            )
        return made
