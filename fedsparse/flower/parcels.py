"""What goes to a device that gossips: its neighbours' messages, closed as they came, and how it mixes them.

A :class:`Parcel` is one client's :class:`~fedsparse.engine.gossip.mail.Mail` with the messages that it speaks of. The
server reads of these no more than the envelopes; the device decodes them, as if an enemy had sent them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from flwr.app import ConfigRecord, RecordDict

from fedsparse.engine.gossip.edges import Weights
from fedsparse.engine.gossip.mail import Late, Mail
from fedsparse.engine.slab import Ids
from fedsparse.errors import DecodeError
from fedsparse.flower.fields import config_of, take, take_list
from fedsparse.gossip import Delivery
from fedsparse.message import Payload

__all__ = ["Parcel", "Receipt", "Ridden"]

_REASON = 60
"""Characters of a reason that are read, at most."""


@dataclass(frozen=True)
class Ridden:
    """A payload of an earlier exchange, which arrives now.

    Attributes:
        name: of the message.
        neighbour: the other end of the link.
        weight: of the link.
        payload: as it was encoded.
    """

    name: str
    neighbour: int
    weight: float
    payload: bytes


@dataclass(frozen=True)
class Parcel:
    """What one client gets in an exchange.

    Attributes:
        senders: the neighbours that it hears, ascending ``[E]``.
        letters: their messages with envelopes, ``[E]``.
        weights: of the mixing matrix, ``[E]``.
        own: by kind of delivery, the weight of its own message.
        others: likewise of those that it hears, ``[E]``.
        delivered: which share of its own message has arrived.
        late: what it gets of earlier exchanges.
        overdue: what others get of its own earlier messages only now.
    """

    senders: tuple[int, ...]
    letters: tuple[bytes, ...]
    weights: tuple[float, ...]
    own: Mapping[Delivery, float]
    others: Mapping[Delivery, tuple[float, ...]]
    delivered: float
    late: tuple[Ridden, ...] = ()
    overdue: tuple[Ridden, ...] = ()

    @staticmethod
    def pack(mail: Mail, letters: Mapping[int, bytes], late: Mapping[str, Payload]) -> Parcel:
        """Of the mail of one client.

        Args:
            mail: its mail.
            letters: the messages, by sender.
            late: by name, the messages of earlier exchanges that arrive somewhere now.
        """
        senders = tuple(mail.senders.tolist())
        return Parcel(
            senders,
            tuple(letters[sender] for sender in senders),
            tuple(mail.weights.tolist()),
            {kind: float(found[0]) for kind, found in mail.own.items()},
            {kind: tuple(found.tolist()) for kind, found in mail.others.items()},
            float(mail.delivered[0]),
            _ridden({name: (found, found.senders) for name, found in mail.late.items()}, late),
            _ridden({name: (found, found.receivers) for name, found in mail.overdue.items()}, late),
        )

    def mail(self, client: int, ids: Ids, late: Sequence[Ridden], overdue: Sequence[Ridden]) -> Mail:
        """For the client itself.

        Args:
            client: who it is.
            ids: the senders of the messages at hand, its own among them, ascending.
            late: those of :attr:`late` that count, and
            overdue: those of :attr:`overdue`; of a name, one after the other, they are the late messages at hand.
        """
        here, senders = np.array([client], dtype=np.int64), np.array(self.senders, dtype=np.int64)
        names = sorted({one.name for one in (*late, *overdue)})
        counts = {name: sum(one.name == name for one in late) for name in names}
        return Mail(
            ids=here,
            rows=np.searchsorted(ids, here),
            receivers=np.zeros(len(senders), dtype=np.int64),
            senders=senders,
            sources=np.searchsorted(ids, senders),
            weights=np.array(self.weights),
            own={kind: np.array([weight]) for kind, weight in self.own.items()},
            others={kind: np.array(weights) for kind, weights in self.others.items()},
            delivered=np.array([self.delivered]),
            late={name: _late(late, name, client, 0, mine=False) for name in names},
            overdue={name: _late(overdue, name, client, counts[name], mine=True) for name in names},
        )

    @property
    def payload_bytes(self) -> int:
        """Of what rides along; the letters are :attr:`letters`."""
        return sum(len(one.payload) for one in self.late)

    def record(self) -> ConfigRecord:
        """As it travels."""
        rides = {"late": self.late, "overdue": self.overdue}
        return ConfigRecord(
            {
                "senders": [*self.senders],
                "letters": [*self.letters],
                "weights": [*self.weights],
                "delivered": self.delivered,
                **{f"own-{kind}": weight for kind, weight in self.own.items()},
                **{f"others-{kind}": [*weights] for kind, weights in self.others.items()},
                **{f"{what}-names": [one.name for one in some] for what, some in rides.items()},
                **{f"{what}-neighbours": [one.neighbour for one in some] for what, some in rides.items()},
                **{f"{what}-weights": [one.weight for one in some] for what, some in rides.items()},
                **{f"{what}-payloads": [one.payload for one in some] for what, some in rides.items()},
            }
        )

    @staticmethod
    def of(record: ConfigRecord) -> Parcel:
        """What travelled.

        Raises:
            DecodeError: a field is missing, of the wrong type, or longer than another one.
        """
        senders = tuple(take_list(record, "senders", int))
        kinds: list[Delivery] = [kind for kind in get_args(Delivery) if f"own-{kind}" in record]
        found = Parcel(
            senders,
            tuple(take_list(record, "letters", bytes)),
            tuple(take_list(record, "weights", float)),
            {kind: take(record, f"own-{kind}", float) for kind in kinds},
            {kind: tuple(take_list(record, f"others-{kind}", float)) for kind in kinds},
            take(record, "delivered", float),
            _rides(record, "late"),
            _rides(record, "overdue"),
        )
        lengths = {len(senders), len(found.letters), len(found.weights), *map(len, found.others.values())}
        if len(lengths) > 1 or [*senders] != sorted(set(senders)):
            raise DecodeError(f"parcel: {len(senders)} senders, ascending, and lists of {sorted(lengths)}")
        return found


@dataclass(frozen=True)
class Receipt:
    """What a device answers to a parcel: it has mixed, unless it refuses a message.

    Attributes:
        client: who it says it is.
        refused: why it refuses a neighbour's message, by sender; then it has done nothing.
        dropped: messages of earlier exchanges that it left out.
    """

    client: int
    refused: Mapping[int, str]
    dropped: int = 0

    def content(self) -> RecordDict:
        """As it travels."""
        return RecordDict(
            {
                "receipt": ConfigRecord(
                    {
                        "client": self.client,
                        "senders": [*self.refused],
                        "reasons": [*self.refused.values()],
                        "dropped": self.dropped,
                    }
                )
            }
        )

    @staticmethod
    def of(content: RecordDict) -> Receipt:
        """What travelled.

        Raises:
            DecodeError: a field is missing or of the wrong type.
        """
        record = config_of(content, "receipt")
        senders, reasons = take_list(record, "senders", int), take_list(record, "reasons", str)
        if len(senders) != len(reasons):
            raise DecodeError(f"reasons: {len(reasons)} for {len(senders)} senders")
        refused = {sender: reason[:_REASON] for sender, reason in zip(senders, reasons, strict=True)}
        return Receipt(take(record, "client", int), refused, take(record, "dropped", int))


def _ridden(found: Mapping[str, tuple[Late, Ids]], late: Mapping[str, Payload]) -> tuple[Ridden, ...]:
    return tuple(
        Ridden(name, neighbour, weight, late[name].encode(row))
        for name, (some, neighbours) in found.items()
        for neighbour, weight, row in zip(
            neighbours.tolist(), some.weights.tolist(), some.rows.tolist(), strict=True
        )
    )


def _late(some: Sequence[Ridden], name: str, client: int, first: int, *, mine: bool) -> Late:
    """Those of a name, whose payloads are the late messages from number ``first`` on."""
    own = [one for one in some if one.name == name]
    here, there = np.full(len(own), client), np.array([one.neighbour for one in own], dtype=np.int64)
    weights: Weights = np.array([one.weight for one in own], dtype=np.float64)
    rows = np.arange(first, first + len(own))
    return Late(there if mine else here, here if mine else there, rows, weights)


def _rides(record: ConfigRecord, what: str) -> tuple[Ridden, ...]:
    columns = (
        take_list(record, f"{what}-names", str),
        take_list(record, f"{what}-neighbours", int),
        take_list(record, f"{what}-weights", float),
        take_list(record, f"{what}-payloads", bytes),
    )
    if len({len(column) for column in columns}) > 1:
        raise DecodeError(f"{what}: lists of {[len(column) for column in columns]}")
    return tuple(Ridden(*row) for row in zip(*columns, strict=True))
