"""The server's side of Flower's grid: which node is which client, and orders and answers with a deadline."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from fedsparse.errors import DecodeError
from fedsparse.flower.letters import Presence

__all__ = ["Post", "Returned", "Terms"]


@dataclass(frozen=True)
class Terms:
    """How long answers are waited for.

    Attributes:
        enough: answers after which nobody waits for more.
        seconds: the longest wait.
    """

    enough: int
    seconds: float


@dataclass(frozen=True)
class Returned:
    """What came back from a client: content, or the reason why there is none, and nanoseconds since it was asked."""

    content: RecordDict | None
    reason: str
    taken_ns: int


@dataclass(frozen=True)
class _Sent:
    """A message that no answer has come to yet; ``client`` is None where the node is asked who it is."""

    node: int
    client: int | None
    batch: int


class _Seat(NamedTuple):
    """A client's node; one that was gone and came back has another number, and may have forgotten what it was asked."""

    node: int
    number: int


@dataclass
class _Batch:
    """The orders of one exchange."""

    number: int
    kind: str
    orders: Mapping[int, RecordDict]
    began: float
    asked: dict[int, _Seat] = field(default_factory=dict)
    returned: dict[int, Returned] = field(default_factory=dict)


class Post:
    """Sends orders to clients, wherever they are.

    A client that comes back under another node, after a fall of its device, is asked again.

    Args:
        grid: Flower's.
        clients: how many there are.
        hello: the run, as devices are told about it.
        note: is told of devices that come and fail.
        poll: seconds between two looks.

    Attributes:
        counted: messages and bytes since it was last emptied, by name.
        examples: that each client said it has.
    """

    def __init__(
        self,
        grid: Grid,
        clients: int,
        hello: ConfigRecord,
        note: Callable[[str], None],
        poll: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counted: Counter[str] = Counter()
        self.examples: dict[int, int] = {}
        self._grid, self._clients, self._hello, self._note = grid, clients, hello, note
        self._poll, self._clock = poll, clock
        self._seats: dict[int, _Seat] = {}
        self._seated = 0
        self._rivals: dict[int, Presence] = {}  # node -> who it says it is, while another one is that
        self._silent: set[int] = set()
        self._met: set[int] = set()
        self._open: dict[str, _Sent] = {}
        self._batches = 0

    def gather(self, seconds: float) -> list[int]:
        """Waits until every client is there; those who are, ascending."""
        end = self._clock() + seconds
        while len(self._seats) < self._clients and self._clock() < end:
            self._meet()
            self._collect(None)
            self._rest(end)
        return sorted(self._seats)

    def ask(self, orders: Mapping[int, RecordDict], terms: Terms, kind: str = "train") -> dict[int, Returned]:
        """What comes back, by client, in time.

        Args:
            orders: by client.
            terms: how long is waited, and for how many.
            kind: of the messages, as Flower has it.
        """
        self._batches += 1
        batch = _Batch(self._batches, kind, orders, self._clock())
        end = batch.began + terms.seconds
        while True:
            self._meet()
            self._send(batch)
            self._collect(batch)
            good = sum(returned.content is not None for returned in batch.returned.values())
            if (
                good >= min(terms.enough, len(orders))
                or len(batch.returned) == len(orders)
                or self._clock() >= end
            ):
                break
            self._rest(end)
        self._silent = (self._silent - batch.returned.keys()) | (orders.keys() - batch.returned.keys())
        return batch.returned

    # ---- nodes

    def _meet(self) -> None:
        """Asks those who are new which client they are."""
        there = set(self._grid.get_node_ids())
        self._met &= there
        self._seats = {client: seat for client, seat in self._seats.items() if seat.node in there}
        new = sorted(there - self._met)
        self._met |= there
        self._push([(_Sent(node, None, 0), RecordDict({"hello": self._hello}), "query") for node in new])
        rivals = {node: presence for node, presence in self._rivals.items() if node in there}
        self._rivals = {}
        for node, presence in rivals.items():
            self._seat(node, presence, known=True)

    def _seat(self, node: int, presence: Presence, known: bool = False) -> None:
        """A client's first node is its node, until it is gone or does not answer."""
        client, holder = presence.client, self._seats.get(presence.client)
        if client >= self._clients:
            self._note(
                f"node {node} says it is client {client}, and there are {self._clients}; it is left out"
            )
        elif holder is None or client in self._silent:
            self._seated += 1
            self._seats[client] = _Seat(node, self._seated)
            self._silent.discard(client)
            self.examples.setdefault(client, presence.examples)
        elif holder.node != node:
            self._rivals[node] = presence
            if not known:
                self._note(
                    f"node {node} says it is client {client}, as node {holder.node} does; it has to wait"
                )

    # ---- messages

    def _send(self, batch: _Batch) -> None:
        due = [
            client
            for client in batch.orders
            if client in self._seats
            and batch.asked.get(client) != self._seats[client]
            and client not in batch.returned
        ]
        for client in due:
            batch.asked[client] = self._seats[client]
        self._push([(_Sent(self._seats[c].node, c, batch.number), batch.orders[c], batch.kind) for c in due])

    def _push(self, letters: list[tuple[_Sent, RecordDict, str]]) -> None:
        if not letters:
            return
        messages = [
            Message(content, dst_node_id=sent.node, message_type=kind) for sent, content, kind in letters
        ]
        for message in messages:
            self._count("down", message)
        for key, (sent, _, _) in zip(self._grid.push_messages(messages), letters, strict=True):
            if key:
                self._open[key] = sent

    def _collect(self, batch: _Batch | None) -> None:
        if not self._open:
            return
        for message in self._grid.pull_messages(list(self._open)):
            sent = self._open.pop(message.metadata.reply_to_message_id, None)
            if sent is None:
                continue
            self._count("up", message)
            if sent.client is None:
                self._met_with(sent.node, message)
            elif batch is None or sent.batch != batch.number:
                self.counted["late_answers"] += 1
            elif sent.client not in batch.returned and batch.asked[sent.client].node == sent.node:
                batch.returned[sent.client] = self._returned(sent.client, message, batch.began)

    def _returned(self, client: int, message: Message, began: float) -> Returned:
        taken = round((self._clock() - began) * 1e9)
        if message.has_error():
            reason = _reason(message.error)
            self._note(f"client {client} failed: {reason}")
            return Returned(None, reason, taken)
        return Returned(message.content, "", taken)

    def _met_with(self, node: int, message: Message) -> None:
        if message.has_error():
            self._note(f"node {node} cannot take part: {_reason(message.error)}")
            return
        try:
            self._seat(node, Presence.of(message.content))
        except DecodeError as error:
            self._note(f"node {node} is left out: {error}")

    def _count(self, direction: str, message: Message) -> None:
        """What Flower's objects serialise to; the bytes on the line are more."""
        objects = get_all_nested_objects(message) if message.has_content() else {}
        self.counted[f"{direction}_flower_bytes"] += sum(len(thing.deflate()) for thing in objects.values())
        self.counted[f"{direction}_flower_messages"] += 1

    def _rest(self, end: float) -> None:
        time.sleep(max(0.0, min(self._poll, end - self._clock())))


def _reason(error: Error) -> str:
    return " ".join(f"{error.reason or 'no reason given'} (Flower's error {error.code})".split())
