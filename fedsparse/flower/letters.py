"""What goes between the server and a device, as Flower's records.

===========  =====================  ===============================================================
message      record                 what is in it
===========  =====================  ===============================================================
``query``    ``hello``              the configuration of the run
its reply    ``device``             which client this is, and how many examples it has
``train``    ``order``              which exchange this is, and which of its answers were accepted
``train``    ``told-0`` ...         what the server says: an encoded message each, mostly just one
``train``    ``mail``               without a server: what neighbours said in the exchange before
its reply    ``answer``             the client's encoded message
its reply    ``report``             what is written down about its work; nothing depends on it
``evaluate`` ``order``, ``told-0``  the model that the device is to be tested with
its reply    ``report``             what was measured
``evaluate`` ``order``, ``mail``    without a server: the device is to show its model
its reply    ``answer``             the model, encoded like a message
===========  =====================  ===============================================================

The encoded messages are those of :mod:`fedsparse.wire`, byte for byte what a simulation counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

from flwr.app import ConfigRecord, MetricRecord, RecordDict

from fedsparse.errors import DecodeError
from fedsparse.flower.fields import config_of, metrics_of, take, take_list
from fedsparse.flower.mail import Mailing

__all__ = ["NEVER", "Answer", "Kind", "Order", "Presence", "Stamp", "Telling"]


class Stamp(NamedTuple):
    """Which exchange of a run: its round and its number within the round. They are in the order of time."""

    round: int
    number: int


NEVER = Stamp(-1, 0)
"""Before the first exchange."""

Kind = Literal["said", "whole", "rest"]
"""``said``: a broadcast, or of an earlier one what a device needs of it to follow; ``whole``: what clients hold,
for one that is too far behind, and what else is said; ``rest``: values of broadcasts that are not heard once more."""


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
            _stamp(record, "stamp"),
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
        population: clients that can take part.
        total: examples of these together.
        audible: names of what makes up what a client hears, where clients hold nothing in common.
        told: what it is told first.
        mail: what it has not heard yet of its neighbours; none with a server.
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
    population: int
    total: int
    audible: tuple[str, ...]
    told: tuple[Telling, ...]
    mail: Mailing | None = None

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
                "population": self.population,
                "total": self.total,
                "audible": [*self.audible],
            }
        )
        told = {f"told-{k}": telling.record() for k, telling in enumerate(self.told)}
        mail = {} if self.mail is None else {"mail": self.mail.record()}
        return RecordDict({"order": order, **told, **mail})

    @staticmethod
    def of(content: RecordDict) -> Order:
        """What travelled.

        Raises:
            DecodeError: a record or a field is missing or of the wrong type.
        """
        order = config_of(content, "order")
        return Order(
            take(order, "run", int),
            take(order, "client", int),
            _stamp(order, "stamp"),
            take(order, "phase", str),
            take(order, "now", float),
            _stamp(order, "accepted"),
            _stamp(order, "saved"),
            _stamp(order, "safe"),
            take(order, "life", int),
            take(order, "population", int),
            take(order, "total", int),
            tuple(take_list(order, "audible", str)),
            tuple(Telling.of(config_of(content, f"told-{k}")) for k in range(_count(content, "told-"))),
            Mailing.of(config_of(content, "mail")) if "mail" in content else None,
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
        dense_bytes: what the message would take uncompressed.
        finite: whether all its numbers are; only of a message that the server passes on does anybody ask.
        scalars: numbers to record, by names that start with ``@``.
        refused: why it could not use the message of a neighbour, by neighbour.
    """

    client: int
    message: bytes
    loss: float
    gradient_calls: int
    examples: int
    dense_bytes: int = 0
    finite: bool = True
    scalars: Mapping[str, float] = field(default_factory=dict)
    refused: Mapping[int, str] = field(default_factory=dict)

    def content(self) -> RecordDict:
        """As it travels."""
        report = {
            "loss": self.loss,
            "gradient-calls": self.gradient_calls,
            "examples": self.examples,
            "dense-bytes": self.dense_bytes,
            "finite": int(self.finite),
        }
        answer: dict[str, Any] = {"client": self.client, "message": self.message}
        if self.refused:
            answer |= {"refused": [*self.refused], "reasons": [*self.refused.values()]}
        return RecordDict(
            {"answer": ConfigRecord(answer), "report": MetricRecord({**report, **self.scalars})}
        )

    @staticmethod
    def of(content: RecordDict) -> Answer:
        """What travelled.

        Raises:
            DecodeError: a record or a field is missing, of the wrong type, or negative.
        """
        answer, report = config_of(content, "answer"), metrics_of(content, "report")
        counts = {
            name: take(report, name, int) for name in ("gradient-calls", "examples", "dense-bytes", "finite")
        }
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
            counts["dense-bytes"],
            counts["finite"] > 0,
            scalars,
            _refused(answer) if "refused" in answer else {},
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


def _refused(answer: ConfigRecord) -> dict[int, str]:
    clients, reasons = take_list(answer, "refused", int), take_list(answer, "reasons", str)
    if len(clients) != len(reasons):
        raise DecodeError(f"refused: {len(clients)} messages for {len(reasons)} reasons")
    return dict(zip(clients, reasons, strict=True))


def _count(content: RecordDict, prefix: str) -> int:
    return sum(str(name).startswith(prefix) for name in content)


def _stamp(record: ConfigRecord, name: str) -> Stamp:
    values = take_list(record, name, int)
    if len(values) != 2 or values[0] < -1 or values[1] < 0:
        raise DecodeError(f"{name}: {values[:4]}; a round and the number of an exchange are expected")
    return Stamp(*values)
