"""What messages between neighbours cost, counted in two ways: along each link, and once for all who listen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fedsparse.engine.exchange import Exchange
from fedsparse.engine.gossip.edges import Edges, Flags
from fedsparse.engine.plan import Plan
from fedsparse.engine.slab import Ids
from fedsparse.engine.traffic import Cost
from fedsparse.ledger import Ledger
from fedsparse.message import Dense, Payload
from fedsparse.wire import Sealed

__all__ = ["Toll"]


class Toll:
    """The account of a run without a server.

    Attributes:
        ledger: ``up`` has each message as often as it is sent along a link, ``radio`` once for each sender; nothing
            comes ``down``.
    """

    def __init__(self, plan: Plan, clients: int) -> None:
        self.ledger = Ledger(("up", "down", "radio"))
        self._plan, self._clients = plan, clients

    def links(self, exchange: Exchange, cost: Cost, edges: Edges, sent: Flags, lost: Flags, owed: Ids) -> Ids:
        """Charges an exchange between neighbours.

        Args:
            exchange: the phase.
            cost: of the message of each client that is there, ``[C]``.
            edges: all links, of which ``sent [E]`` are used.
            sent: which links are used.
            lost: which messages get lost.
            owed: bytes of earlier messages that ride along on each link, ``[E]``.

        Returns:
            the length of what goes along each link, ``[E]``.
        """
        ids = exchange.ids
        row = np.searchsorted(ids, edges.senders)
        row = np.where(sent, row, 0)
        payload = np.where(sent, cost.payload[row] + owed, 0)
        header = np.where(sent, cost.header[row], 0)
        self.ledger.send(
            "up",
            edges.senders[sent],
            payload[sent],
            header=header[sent],
            dense=cost.dense[row][sent],
            lost=lost[sent],
        )
        speaks = np.bincount(row[sent], minlength=len(ids)) > 0
        most = np.zeros(len(ids), dtype=np.int64)
        np.maximum.at(most, row[sent], owed[sent])  # a radio sends again what only one has missed
        self.ledger.send(
            "radio",
            ids[speaks],
            (cost.payload + most)[speaks],
            header=cost.header[speaks],
            dense=cost.dense[speaks],
        )
        return payload + header

    def meeting(
        self, exchange: Exchange, cost: Cost, parts: Sequence[Mapping[str, Payload]]
    ) -> tuple[Ids, int]:
        """Charges an exchange of all with all.

        Dense messages go by a ring all-reduce, in which each client sends 2(n-1) parts of a message, each 1/n of it.
        Others cannot be added up on their way: all are passed on around the ring, n-1 of them by each client.

        Returns:
            the bytes that each client sends, ``[C]``, and in how many steps.
        """
        ids, count = exchange.ids, len(exchange.ids)
        adds = all(map(_adds, parts[0].values()))
        steps = (2 if adds else 1) * (count - 1)
        share = count if adds else 1
        payload, dense = (-(-steps * values // share) for values in (cost.payload, cost.dense))
        header = steps * cost.header
        if count > 1:
            for direction in ("up", "radio"):
                self.ledger.send(direction, ids, payload, header=header, dense=dense)
        return payload + header, steps


def _adds(payload: Payload) -> bool:
    """Whether two of its kind can be added up to one."""
    return payload.stands_for(Dense) if isinstance(payload, Sealed) else isinstance(payload, Dense)
