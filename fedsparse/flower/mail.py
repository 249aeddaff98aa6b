"""What a device gets from its neighbours by way of the server, which has not opened it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np
from flwr.app import ConfigRecord

from fedsparse.errors import DecodeError
from fedsparse.flower.fields import take, take_list

__all__ = ["Mailing", "Owed"]


@dataclass(frozen=True)
class Owed:
    """Messages of earlier exchanges, in their order: those that reach this device now, or by which it was heard now.

    Attributes:
        names: of the messages ``[Q]``.
        clients: who sent them, or who got them, ``[Q]``.
        weights: of the link ``[Q]``.
        payloads: encoded ``[Q]``.
    """

    names: Sequence[str] = ()
    clients: Sequence[int] = ()
    weights: Sequence[float] = ()
    payloads: Sequence[bytes] = ()

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.clients) == len(self.weights) == len(self.payloads):
            raise DecodeError("mail: parts of what was owed are missing")

    def named(self, name: str) -> Owed:
        """Those of one name."""
        at = [k for k, found in enumerate(self.names) if found == name]
        return Owed(
            [name] * len(at),
            [self.clients[k] for k in at],
            [self.weights[k] for k in at],
            [self.payloads[k] for k in at],
        )


@dataclass(frozen=True)
class Mailing:
    """The mail of one client in one exchange; its own message of that exchange it has itself.

    Attributes:
        round: the round.
        number: of the exchange within it.
        phase: its name.
        now: virtual seconds.
        senders: who was heard, ascending ``[E]``; of a meeting, all others.
        weights: of the mixing matrix, ``[E]``.
        own: by kind of delivery, the weight of the own message.
        others: by kind of delivery, those of the others ``[E]``.
        delivered: which share of the own message has arrived.
        everyone: all have heard all.
        letters: the messages as their senders encoded them ``[E]``.
        late: earlier messages that come now.
        overdue: earlier messages of this client that have arrived now.
    """

    round: int
    number: int
    phase: str
    now: float
    senders: Sequence[int]
    weights: Sequence[float]
    own: Mapping[str, float]
    others: Mapping[str, Sequence[float]]
    delivered: float
    everyone: bool
    letters: Sequence[bytes]
    late: Owed = field(default_factory=Owed)
    overdue: Owed = field(default_factory=Owed)

    def __post_init__(self) -> None:
        counts = {len(self.senders), len(self.letters)}
        if not self.everyone:
            counts |= {len(self.weights), *map(len, self.others.values())}
        if len(counts) > 1 or self.own.keys() != self.others.keys() or self.round < 0 or self.number < 0:
            raise DecodeError("mail: its parts do not go together")

    @property
    def nbytes(self) -> int:
        """Of the messages in it."""
        return sum(map(len, (*self.letters, *self.late.payloads, *self.overdue.payloads)))

    def record(self) -> ConfigRecord:
        """As it travels."""
        kinds = list(self.own)
        return ConfigRecord(
            {
                "exchange": [self.round, self.number],
                "phase": self.phase,
                "now": self.now,
                "senders": [*self.senders],
                "weights": [*self.weights],
                "kinds": kinds,
                "own": [self.own[kind] for kind in kinds],
                "others": [weight for kind in kinds for weight in self.others[kind]],
                "delivered": self.delivered,
                "everyone": self.everyone,
                "letters": [*self.letters],
                **{
                    f"{what}-{name}": [*getattr(owed, name)]
                    for what, owed in (("late", self.late), ("overdue", self.overdue))
                    for name in ("names", "clients", "weights", "payloads")
                },
            }
        )

    @classmethod
    def of(cls, record: ConfigRecord) -> Self:
        """What travelled.

        Raises:
            DecodeError: a field is missing, of the wrong type, or of another length than it must have.
        """
        exchange, kinds = take_list(record, "exchange", int), take_list(record, "kinds", str)
        senders, own = take_list(record, "senders", int), take_list(record, "own", float)
        others, count = take_list(record, "others", float), len(senders)
        if len(exchange) != 2 or len(own) != len(kinds) or len(others) % max(len(kinds), 1):
            raise DecodeError("mail: its parts do not go together")
        width = len(others) // max(len(kinds), 1)
        if not take(record, "everyone", bool) and width != count:
            raise DecodeError(f"mail: {width} weights for {count} messages")
        round_, number = exchange
        return cls(
            round_,
            number,
            take(record, "phase", str),
            take(record, "now", float),
            senders,
            take_list(record, "weights", float),
            dict(zip(kinds, own, strict=True)),
            {kind: others[k * width : (k + 1) * width] for k, kind in enumerate(kinds)},
            take(record, "delivered", float),
            take(record, "everyone", bool),
            take_list(record, "letters", bytes),
            _owed(record, "late"),
            _owed(record, "overdue"),
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """As arrays, for a checkpoint."""
        plain = asdict(self)
        pieces = [*plain.pop("letters"), *plain["late"].pop("payloads"), *plain["overdue"].pop("payloads")]
        plain["lengths"] = [len(piece) for piece in pieces]
        return {
            "head": np.frombuffer(json.dumps(plain).encode(), dtype=np.uint8),
            "bytes": np.frombuffer(b"".join(pieces), dtype=np.uint8),
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """What :meth:`arrays` gave."""
        plain: dict[str, Any] = json.loads(arrays["head"].tobytes())
        data, pieces, start = arrays["bytes"].tobytes(), [], 0
        for length in plain.pop("lengths"):
            pieces.append(data[start : start + length])
            start += length
        letters, late, overdue = len(plain["senders"]), plain.pop("late"), plain.pop("overdue")
        first, last = letters, letters + len(late["names"])
        return cls(
            **plain,
            letters=pieces[:first],
            late=Owed(**late, payloads=pieces[first:last]),
            overdue=Owed(**overdue, payloads=pieces[last:]),
        )

    def without(self, dropped: Sequence[bool]) -> Mailing:
        """The mail without messages that cannot be used, ``[E]`` bool: as if they had not been heard.

        Their weight goes where the kind of delivery has it: ``latest`` to the own message, ``shared`` to all that are
        left in proportion.
        """
        kept = [k for k, gone in enumerate(dropped) if not gone]
        if len(kept) == len(dropped):
            return self
        own, others = dict(self.own), {kind: [w[k] for k in kept] for kind, w in self.others.items()}
        for kind, weights in self.others.items():
            gone = sum(w for w, is_gone in zip(weights, dropped, strict=True) if is_gone)
            if kind == "latest":
                own[kind] += gone
            elif kind == "shared":
                left = own[kind] + sum(others[kind])
                factor = (left + gone) / left if left else 1.0
                own[kind] = own[kind] * factor if left else own[kind] + gone
                others[kind] = [weight * factor for weight in others[kind]]
        return replace(
            self,
            senders=[self.senders[k] for k in kept],
            weights=[] if self.everyone else [self.weights[k] for k in kept],
            letters=[self.letters[k] for k in kept],
            own=own,
            others=others,
        )


def _owed(record: ConfigRecord, what: str) -> Owed:
    return Owed(
        take_list(record, f"{what}-names", str),
        take_list(record, f"{what}-clients", int),
        take_list(record, f"{what}-weights", float),
        take_list(record, f"{what}-payloads", bytes),
    )
