"""Messages that did not arrive and are sent again with the next one on the same link."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from fedsparse.engine.gossip.edges import Edges, Flags
from fedsparse.engine.gossip.mail import Late
from fedsparse.engine.slab import Ids
from fedsparse.message import Payload, concatenate
from fedsparse.wire import Limits, decode_payload

__all__ = ["Backlog"]

_ROWS = ("sender", "receiver", "bytes")


@dataclass
class _Waiting:
    """Messages of one name, in the order in which they were sent."""

    links: Ids  # [Q, 3]: sender, receiver, bytes
    messages: Payload | None


class Backlog:
    """What each sender still owes, by message name.

    Args:
        names: those whose messages are not given up.
        opened: opens the bytes of one message.
    """

    def __init__(
        self, names: Iterable[str], opened: Callable[[bytes, Limits], Payload] = decode_payload
    ) -> None:
        self._opened = opened
        self._waiting = {name: _Waiting(np.zeros((0, 3), dtype=np.int64), None) for name in sorted(names)}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def owed(self, edges: Edges, names: Collection[str]) -> Ids:
        """Bytes that ride along on each link in an exchange of messages of these names, ``[E]``."""
        total = np.zeros(len(edges), dtype=np.int64)
        for waiting in self._named(names).values():
            at = _find(edges, waiting.links)
            np.add.at(total, at[at >= 0], waiting.links[at >= 0, 2])
        return total

    def arrive(
        self, edges: Edges, heard: Flags, names: Collection[str]
    ) -> tuple[dict[str, Late], dict[str, Payload]]:
        """What is owed on the links that carry a message, which is then settled.

        Args:
            edges: all links of the exchange.
            heard: which carried a message, ``[E]``.
            names: of the messages of this exchange; what is owed of others waits, as nobody would ask for it.
        """
        late: dict[str, Late] = {}
        letters: dict[str, Payload] = {}
        for name, waiting in self._named(names).items():
            at = _find(edges, waiting.links)
            settled = (at >= 0) & heard[at] if len(edges) else np.zeros(len(at), dtype=bool)
            if waiting.messages is None or not settled.any():
                continue
            letters[name] = waiting.messages.select(torch.from_numpy(settled))
            own = waiting.links[settled]
            late[name] = Late(own[:, 1], own[:, 0], np.arange(len(own)), edges.weights[at[settled]])
            waiting.links = waiting.links[~settled]
            left = ~settled
            waiting.messages = waiting.messages.select(torch.from_numpy(left)) if left.any() else None
        return late, letters

    def owe(self, name: str, edges: Edges, missing: Flags, rows: Ids, message: Payload) -> None:
        """Notes messages that were not heard.

        Args:
            name: of the message.
            edges: all links of the exchange.
            missing: those on which the message was not heard, ``[E]``.
            rows: of each link's sender among the messages, ``[E]``; -1 where it has none.
            message: of all senders.
        """
        waiting = self._waiting[name]
        missing = missing & (rows >= 0)
        if not missing.any():
            return
        own = rows[missing]
        added = message.select(torch.from_numpy(own))
        links = np.stack([edges.senders[missing], edges.receivers[missing], added.nbytes().numpy()], axis=1)
        waiting.links = np.concatenate([waiting.links, links])
        waiting.messages = added if waiting.messages is None else concatenate([waiting.messages, added])

    def _named(self, names: Collection[str]) -> dict[str, _Waiting]:
        return {name: waiting for name, waiting in self._waiting.items() if name in names}

    def state(self) -> dict[str, np.ndarray]:
        """Everything as arrays, for a checkpoint; messages as they travel."""
        found: dict[str, np.ndarray] = {}
        for name, waiting in self._waiting.items():
            rows = [] if waiting.messages is None else range(waiting.messages.rows)
            data = b"".join(waiting.messages.encode(row) for row in rows) if waiting.messages else b""
            found[f"{name}.links"] = waiting.links
            found[f"{name}.bytes"] = np.frombuffer(data, dtype=np.uint8)
        return found

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Goes on from what :meth:`state` gave."""
        for name, waiting in self._waiting.items():
            waiting.links = arrays[f"{name}.links"].copy()
            data, start, rows = arrays[f"{name}.bytes"].tobytes(), 0, []
            for length in waiting.links[:, 2].tolist():
                rows.append(self._opened(data[start : start + length], Limits(1 << 40, length)))
                start += length
            waiting.messages = concatenate(rows) if rows else None


def _find(edges: Edges, links: Ids) -> Ids:
    """Positions ``[Q]`` of links (sender, receiver) among the edges, -1 where the graph has not that one."""
    keys = edges.receivers * edges.clients + edges.senders  # ascending
    wanted = links[:, 1] * edges.clients + links[:, 0]
    at = np.searchsorted(keys, wanted)
    at = np.minimum(at, max(len(keys) - 1, 0))
    return np.where(keys[at] == wanted, at, -1) if len(keys) else np.full(len(wanted), -1)
