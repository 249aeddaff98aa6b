"""What goes between the server and a device, as Flower's records.

===========  =====================  ===============================================================
message      record                 what is in it
===========  =====================  ===============================================================
``query``    ``hello``              the configuration of the run
its reply    ``device``             which client this is, and how many examples it has
``train``    ``order``              which exchange this is, and which of its answers were accepted
``train``    ``told-0`` ...         what the server says: an encoded message each, mostly just one
``train``    ``parcel``             in gossip: what neighbours sent, see :mod:`fedsparse.flower.parcels`
its reply    ``answer``             the client's encoded message
its reply    ``report``             what is written down about its work; nothing depends on it
its reply    ``receipt``            in gossip, to a parcel: whether it was mixed
===========  =====================  ===============================================================

The encoded messages are those of :mod:`fedsparse.wire`, byte for byte what a simulation counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

from flwr.app import ConfigRecord, MetricRecord, RecordDict

from fedsparse.errors import DecodeError
from fedsparse.flower.fields import config_of, metrics_of, take, take_list
from fedsparse.flower.parcels import Parcel

__all__ = ["NEVER", "Answer", "Kind", "Order", "Presence", "Stamp", "Telling", "stamp_of"]


class Stamp(NamedTuple):
    """Which exchange of a run: its round and its number within the round. They are in the order of time."""

    round: int
    number: int


NEVER = Stamp(-1, 0)
"""Before the first exchange."""

Work = Literal["train", "mix", "show"]
"""``train``: an exchange, or in gossip its first half; ``mix``: the other half, with what neighbours sent; ``show``:
give away the model, to be evaluated."""

Kind = Literal["said", "whole", "rest"]
"""``said``: a broadcast, or of an earlier one what a device needs of it to follow; ``whole``: what clients hold, for
one that is too far behind; ``rest``: values of broadcasts that are not heard once more."""


@dataclass(frozen=True)
class Telling:
    """One thing that the server says.

    Attributes:
        kind: what a device does with it.
        stamp: the exchange that it belongs to.
        phase: the name of that exchange.
        now: virtual seconds of it.
        compressed: names that are replicas, of which the change is sent; of ``whole``, those of its exchange.
        message: payloads, encoded.
    """

    kind: Kind
    stamp: Stamp
    phase: str
    now: float
    compressed: tuple[str, ...]
    message: bytes

    def record(self) -> ConfigRecord:
        """As it travels."""
        return ConfigRecord(
            {
                "kind": self.kind,
                "stamp": [*self.stamp],
                "phase": self.phase,
                "now": self.now,
                "compressed": [*self.compressed],
                "message": self.message,
            }
        )

    @staticmethod
    def of(record: ConfigRecord) -> Telling:
        """What travelled.

        Raises:
            DecodeError: a field is missing or of the wrong type.
        """
        kind = take(record, "kind", str)
        if kind not in get_args(Kind):
            raise DecodeError(f"kind: {kind!r}; there are {', '.join(get_args(Kind))}")
        return Telling(
            kind,  # type: ignore[arg-type]
            stamp_of(record, "stamp"),
            take(record, "phase", str),
            take(record, "now", float),
            tuple(take_list(record, "compressed", str)),
            take(record, "message", bytes),
        )


@dataclass(frozen=True)
class Order:
    """What a device is asked to do in one exchange.

    Attributes:
        run: number of the run.
        client: whom it is for.
        stamp: the exchange.
        phase: its name.
        now: virtual seconds.
        accepted: the exchange of which this client's answer was accepted last: its state is what it then sent.
        saved: the same as of the server's last checkpoint, to which it may go back.
        safe: the exchange that checkpoint was made after.
        life: stands for the server's process: another one may tell another story of what came after ``safe``.
        total: examples of all clients together.
        audible: names of what makes up what a client hears, where clients hold nothing in common.
        told: what it is told first.
        work: what it is to do.
        parcel: what its neighbours sent, to be mixed.
    """

    run: int
    client: int
    stamp: Stamp
    phase: str
    now: float
    accepted: Stamp
    saved: Stamp
    safe: Stamp
    life: int
    total: int
    audible: tuple[str, ...]
    told: tuple[Telling, ...]
    work: Work = "train"
    parcel: Parcel | None = None

    def content(self) -> RecordDict:
        """As it travels."""
        order = ConfigRecord(
            {
                "run": self.run,
                "client": self.client,
                "stamp": [*self.stamp],
                "phase": self.phase,
                "now": self.now,
                "accepted": [*self.accepted],
                "saved": [*self.saved],
                "safe": [*self.safe],
                "life": self.life,
                "total": self.total,
                "audible": [*self.audible],
                "told": len(self.told),
                "work": self.work,
            }
        )
        told = {f"told-{k}": telling.record() for k, telling in enumerate(self.told)}
        parcel = {} if self.parcel is None else {"parcel": self.parcel.record()}
        return RecordDict({"order": order, **told, **parcel})

    @staticmethod
    def of(content: RecordDict) -> Order:
        """What travelled.

        Raises:
            DecodeError: a record or a field is missing or of the wrong type.
        """
        order = config_of(content, "order")
        work = take(order, "work", str)
        if work not in get_args(Work):
            raise DecodeError(f"work: {work!r}; there are {', '.join(get_args(Work))}")
        return Order(
            take(order, "run", int),
            take(order, "client", int),
            stamp_of(order, "stamp"),
            take(order, "phase", str),
            take(order, "now", float),
            stamp_of(order, "accepted"),
            stamp_of(order, "saved"),
            stamp_of(order, "safe"),
            take(order, "life", int),
            take(order, "total", int),
            tuple(take_list(order, "audible", str)),
            tuple(Telling.of(config_of(content, f"told-{k}")) for k in range(take(order, "told", int))),
            work,  # type: ignore[arg-type]
            Parcel.of(config_of(content, "parcel")) if work == "mix" else None,
        )


@dataclass(frozen=True)
class Answer:
    """What a device answers.

    Attributes:
        client: who it says it is.
        message: its payloads, encoded; the envelope says who sent it.
        loss: mean loss of its training, NaN where there was none.
        gradient_calls: minibatch gradients that it computed.
        examples: examples that went into them.
        scalars: numbers to record, by names that start with ``@``.
        dense_bytes: of the same values without compression, for whoever does not decode the message.
    """

    client: int
    message: bytes
    loss: float
    gradient_calls: int
    examples: int
    scalars: Mapping[str, float] = field(default_factory=dict)
    dense_bytes: int = 0

    def content(self) -> RecordDict:
        """As it travels."""
        report = {
            "loss": self.loss,
            "gradient-calls": self.gradient_calls,
            "examples": self.examples,
            "dense-bytes": self.dense_bytes,
        }
        return RecordDict(
            {
                "answer": ConfigRecord({"client": self.client, "message": self.message}),
                "report": MetricRecord({**report, **self.scalars}),
            }
        )

    @staticmethod
    def of(content: RecordDict) -> Answer:
        """What travelled.

        Raises:
            DecodeError: a record or a field is missing, of the wrong type, or negative.
        """
        answer, report = config_of(content, "answer"), metrics_of(content, "report")
        counts = {name: take(report, name, int) for name in ("gradient-calls", "examples", "dense-bytes")}
        for name, count in counts.items():
            if not 0 <= count < 1 << 40:
                raise DecodeError(f"{name}: {count}; at least 0 is expected, and no absurd number")
        scalars = {str(n): take(report, str(n), float) for n in report if str(n).startswith("@")}
        return Answer(
            take(answer, "client", int),
            take(answer, "message", bytes),
            take(report, "loss", float),
            counts["gradient-calls"],
            counts["examples"],
            scalars,
            counts["dense-bytes"],
        )


@dataclass(frozen=True)
class Presence:
    """A device introduces itself: which client it is, and how many examples it has."""

    client: int
    examples: int

    def content(self) -> RecordDict:
        """As it travels."""
        return RecordDict({"device": ConfigRecord({"client": self.client, "examples": self.examples})})

    @staticmethod
    def of(content: RecordDict) -> Presence:
        """What travelled.

        Raises:
            DecodeError: a field is missing, of the wrong type, or negative.
        """
        device = config_of(content, "device")
        found = Presence(take(device, "client", int), take(device, "examples", int))
        if found.client < 0 or not 0 <= found.examples < 1 << 40:
            raise DecodeError(f"device: client {found.client} with {found.examples} examples cannot be")
        return found


def stamp_of(record: ConfigRecord, name: str) -> Stamp:
    """The exchange in a field.

    Raises:
        DecodeError: the field is missing, or no exchange can be that.
    """
    values = take_list(record, name, int)
    if len(values) != 2 or values[0] < -1 or values[1] < 0:
        raise DecodeError(f"{name}: {values[:4]}; a round and the number of an exchange are expected")
    return Stamp(*values)
