"""Virtual time without a server: nobody waits for more than its own neighbours."""

from __future__ import annotations

import numpy as np

from fedsparse.engine.gossip.edges import Edges, Flags
from fedsparse.engine.plan import Plan
from fedsparse.engine.slab import Ids
from fedsparse.network import compute_ns, transfer_ns

__all__ = ["Clock"]


class Clock:
    """When each client has finished what it did last.

    A client computes, and sends its messages one after another through its own line; it is done with a phase when it
    has received what its neighbours sent, the latest of which may have begun late. Nobody waits for a message that is
    lost.

    Attributes:
        at: nanoseconds since the start, ``[n]``.
    """

    def __init__(self, plan: Plan, clients: int) -> None:
        self.at = np.zeros(clients, dtype=np.int64)
        self._plan = plan

    @property
    def now_ns(self) -> int:
        """When the last one is done."""
        return int(self.at.max(initial=0))

    def work(self, ids: Ids, examples: Ids, round: int) -> None:  # noqa: A002
        """The clients ``ids [C]`` compute on so many examples each, ``[C]``."""
        if self._timed:
            links = self._plan.network.links(self._plan.seed, ids, round)
            self.at[ids] += compute_ns(examples, links.examples_per_s)

    def exchange(self, ids: Ids, sent: Edges, arrived: Flags, nbytes: Ids, round: int) -> None:  # noqa: A002
        """Messages go along links.

        Args:
            ids: clients that take part, ascending ``[C]``.
            sent: the links that are used, ``[E]``.
            arrived: which of them do not lose it, ``[E]``.
            nbytes: length of each message, ``[E]``.
            round: the round.
        """
        if not self._timed:
            return
        links = self._plan.network.links(self._plan.seed, ids, round)
        out, into = (np.zeros(len(self.at), dtype=np.int64) for _ in range(2))
        np.add.at(out, sent.senders, nbytes)
        np.add.at(into, sent.receivers[arrived], nbytes[arrived])
        ready = self.at.copy()
        ready[ids] += np.where(out[ids] > 0, transfer_ns(out[ids], links.up_bps, links.latency_ns), 0)
        latest = ready.copy()
        np.maximum.at(latest, sent.receivers[arrived], ready[sent.senders[arrived]])
        latest[ids] += transfer_ns(into[ids], links.down_bps)
        self.at = latest

    def meet(self, ids: Ids, nbytes: Ids, steps: int, round: int) -> None:  # noqa: A002
        """All of ``ids [C]`` send and receive so many bytes ``[C]`` around a ring, in so many steps.

        Each step waits for the one before it: the ring begins with the last client and has the pace of the slowest.
        """
        if self._timed and len(ids):
            links = self._plan.network.links(self._plan.seed, ids, round)
            rate = np.where(
                (links.up_bps > 0) & (links.down_bps > 0),
                np.minimum(links.up_bps, links.down_bps),
                np.maximum(links.up_bps, links.down_bps),
            )
            self.at[ids] = self.at[ids].max() + transfer_ns(nbytes, rate, steps * links.latency_ns).max()

    @property
    def _timed(self) -> bool:
        return self._plan.network.profile != "none"
