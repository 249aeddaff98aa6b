"""What each device is told, so that all of them hear the same: the messages that the ledger charges for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from fedsparse.engine.downlink import Said, plain, ways
from fedsparse.engine.exchange import Exchange
from fedsparse.errors import ProtocolError
from fedsparse.flower.letters import Kind, Stamp, Telling
from fedsparse.flower.news import Item, News
from fedsparse.message import Payload
from fedsparse.protocol import Message
from fedsparse.wire import SERVER, Envelope, encode_message

__all__ = ["Broadcast", "Teller"]


@dataclass(frozen=True)
class Broadcast:
    """What is said in one exchange.

    Attributes:
        exchange: the phase.
        said: the broadcast.
        whole: what brings a device up to date that never heard anything, as of after it, ``[1, ...]`` by name.
        audible: names of all that its audience has heard in this round.
        before: likewise as of before it, where something of what is held is made anew of each broadcast: then nobody
            is spared hearing it.
    """

    exchange: Exchange
    said: Said
    whole: Mapping[str, Tensor]
    audible: tuple[str, ...]
    before: Mapping[str, Tensor] | None = None

    @property
    def stamp(self) -> Stamp:
        """The exchange."""
        return Stamp(self.exchange.ctx.round, self.exchange.number)


@dataclass(frozen=True)
class _Word:
    """A value of this round that no replica has, for those who have not heard it yet."""

    broadcast: Broadcast
    payload: Payload

    def of(self, client: int) -> Payload:
        """The row for one of its audience."""
        if self.payload.rows == 1:
            return self.payload
        row = int(np.searchsorted(self.broadcast.exchange.ids, client))
        return self.payload.select(slice(row, row + 1))


class Teller:
    """Makes what devices are told, and knows what each has been told.

    Args:
        run: number of the run.
        common: whether clients hold in common what comes of what they hear.
    """

    def __init__(self, run: int, common: bool) -> None:
        self.run, self.news = run, News()
        self._common = common
        self._round = -1
        self._words: dict[str, _Word] = {}
        self._told: dict[int, set[str]] = {}

    def say(self, broadcast: Broadcast) -> None:
        """A broadcast is made."""
        said = broadcast.said
        if broadcast.stamp.round != self._round:
            self._round, self._words, self._told = broadcast.stamp.round, {}, {}
        for name, payload in said.message.items():
            if name not in said.replicated:
                self._words[name] = _Word(broadcast, payload)
        if self._changes(broadcast):
            news, whole = ways(said, _payloads(broadcast.whole))
            self.news.add(Item(self._telling("said", broadcast, said.news), news.total), whole.total)

    def told(self, broadcast: Broadcast, client: int) -> tuple[Telling, ...]:
        """What one of the audience is told: what it lacks, and the broadcast."""
        said, row = broadcast.said, int(np.searchsorted(broadcast.exchange.ids, client))
        message = {n: p.select(slice(row, row + 1)) if p.rows > 1 else p for n, p in said.message.items()}
        lacks = self._lacks(broadcast, client)
        if said.first or not self._changes(broadcast):
            return (self._telling("said", broadcast, message | lacks),)
        missed, whole = self.news.missed(client), _payloads(broadcast.whole)
        if broadcast.before is not None:
            # What it missed cannot be heard without what was whole in it, and is said no more.
            due = missed is None or len(missed) > 1
            before = [self._telling("whole", broadcast, _payloads(broadcast.before))] if due else []
            rest = [self._telling("rest", broadcast, lacks)] if lacks else []
            return (*rest, *before, self._telling("said", broadcast, message))
        if missed is not None and sum(item.nbytes for item in missed) <= ways(said, whole)[1].total:
            earlier = [item.telling for item in missed[:-1]]
            return (*earlier, self._telling("said", broadcast, message | lacks))
        own = {n: p for n, p in message.items() if n not in said.replicated}
        return (self._telling("whole", broadcast, whole | own | lacks),)

    def heard(self, broadcast: Broadcast, client: int) -> None:
        """Its answer says that it was told all this."""
        if self._changes(broadcast):
            self.news.heard(client)
        self._told.setdefault(client, set()).update(broadcast.audible)

    def forget(self, client: int) -> None:
        """It did not answer: nobody knows what it heard."""
        self.news.forget(client)
        self._told.pop(client, None)

    def _changes(self, broadcast: Broadcast) -> bool:
        """Whether it changes what clients hold in common."""
        return self._common or bool(broadcast.said.compressed)

    def _lacks(self, broadcast: Broadcast, client: int) -> dict[str, Payload]:
        """Values of earlier exchanges of this round that it should have heard, and did not."""
        known = self._told.get(client, set()) | broadcast.said.message.keys()
        return {
            name: self._words[name].of(client)
            for name in broadcast.audible
            if name in self._words and name not in known
        }

    def _telling(self, kind: Kind, broadcast: Broadcast, message: Message) -> Telling:
        stamp, ctx = broadcast.stamp, broadcast.exchange.ctx
        data = encode_message(message, 0, Envelope(self.run, *stamp, SERVER))
        changed = broadcast.said.compressed
        names = changed if kind == "whole" else changed & message.keys()
        return Telling(kind, stamp, ctx.phase, ctx.now, tuple(sorted(names)), data)


def _payloads(whole: Mapping[str, Tensor]) -> dict[str, Payload]:
    """Values as they travel without compression.

    Raises:
        ProtocolError: a whole number is not exact in float64.
    """
    payloads = plain(whole)
    for name, value in whole.items():
        if not payloads[name].dense().to(value.dtype).equal(value.flatten(1)):
            raise ProtocolError(f"'{name}' has whole numbers beyond 2**53, which cannot be sent to a device")
    return payloads
