"""The envelope: from whom, for which run, round and phase; a strange message is known before it is decoded.

Layout (little-endian, 40 bytes): magic 2, version 1, phase 1, round 4, run 8, sender 8, body length 8,
checksum 8. The body has, for each payload in ascending order of names: length of the name 1, name (UTF-8),
length of the payload (varint), payload.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from hashlib import blake2b
from operator import add

from torch import Tensor

from fedsparse.errors import DecodeError, ProtocolError
from fedsparse.wire import bits
from fedsparse.wire.payload import Payload, decode_rows
from fedsparse.wire.reader import Limits, Reader, attempt, settled

__all__ = [
    "ENVELOPE_BYTES",
    "SERVER",
    "Envelope",
    "check_envelope",
    "decode_message",
    "decode_messages",
    "encode_message",
    "encode_messages",
    "message_nbytes",
    "seal",
    "take_parts",
]

SERVER = -1
"""The sender number of the server."""

MAGIC = b"fs"
VERSION = 1

_HEADER = struct.Struct("<2sBBIQqQ")
_CHECKSUM_BYTES = 8

ENVELOPE_BYTES = _HEADER.size + _CHECKSUM_BYTES
"""Bytes of a message before its body."""


@dataclass(frozen=True)
class Envelope:
    """Which message this is.

    Attributes:
        run: identity of the run, 64 bits unsigned.
        round: 0 to 2**32 - 1.
        phase: number of the phase within the round, 0 to 255.
        sender: a client's id, or :data:`SERVER`.
    """

    run: int
    round: int
    phase: int
    sender: int

    def __post_init__(self) -> None:
        ranges = {"run": (0, 2**64), "round": (0, 2**32), "phase": (0, 256), "sender": (SERVER, 2**63)}
        for name, (low, end) in ranges.items():
            if not low <= getattr(self, name) < end:
                raise ProtocolError(
                    f"envelope: {name} is {getattr(self, name)}; allowed are {low} to {end - 1}"
                )


def encode_message(message: Mapping[str, Payload], row: int, envelope: Envelope) -> bytes:
    """The bytes of what one sender says: row ``row`` of each payload.

    Raises:
        ProtocolError: for a name that is empty or longer than 255 bytes of UTF-8.
    """
    parts = []
    for name in sorted(message):
        payload = message[name].encode(row)
        parts += [_name_field(name), bits.varint(len(payload)), payload]
    return seal(envelope, b"".join(parts))


def encode_messages(message: Mapping[str, Payload], envelopes: Sequence[Envelope]) -> list[bytes]:
    """:func:`encode_message` for every sender: row i of each payload goes into ``envelopes[i]``.

    Raises:
        ProtocolError: for a name that is empty or longer than 255 bytes of UTF-8.
    """
    bodies: list[list[bytes]] = [[] for _ in envelopes]
    for name in sorted(message):
        field = _name_field(name)
        for body, payload in zip(bodies, message[name].encode_rows(), strict=True):
            body += [field, bits.varint(len(payload)), payload]
    return [seal(envelope, b"".join(body)) for envelope, body in zip(envelopes, bodies, strict=True)]


def seal(envelope: Envelope, body: bytes) -> bytes:
    """Put a body into an envelope."""
    header = _HEADER.pack(
        MAGIC, VERSION, envelope.phase, envelope.round, envelope.run, envelope.sender, len(body)
    )
    return header + _checksum(header, body) + body


def message_nbytes(message: Mapping[str, Payload]) -> tuple[Tensor, Tensor]:
    """Lengths of the encoded messages of all senders, by computation.

    Returns:
        Bytes of the payloads and bytes of everything around them, both ``[C]`` int64; together they are
        ``len(encode_message(...))``.

    Raises:
        ProtocolError: when there is no payload, or their numbers of rows differ.
    """
    if len({payload.rows for payload in message.values()}) != 1:
        rows = {name: payload.rows for name, payload in message.items()}
        raise ProtocolError(
            f"a message needs payloads, all with one row for each sender; the rows are {rows}"
        )
    lengths = [payload.nbytes() for payload in message.values()]
    framing = reduce(add, map(bits.varint_nbytes, lengths))
    names = sum(len(_name_field(name)) for name in message)
    return reduce(add, lengths), framing + (ENVELOPE_BYTES + names)


def decode_message(
    data: bytes | bytearray | memoryview, limits: Limits
) -> tuple[Envelope, dict[str, Payload]]:
    """Read a message that anybody may have sent.

    Returns:
        Its envelope, and its payloads of one row each; see :func:`check_envelope` and :meth:`Payload.finite`.

    Raises:
        DecodeError: when the bytes are not what :func:`encode_message` gives; nothing else. The text names
            the field.
    """
    return settled(decode_messages([data], limits)[0])


def decode_messages(
    data: Sequence[bytes | bytearray | memoryview], limits: Limits
) -> list[tuple[Envelope, dict[str, Payload]] | DecodeError]:
    """:func:`decode_message` for each of several messages, payloads of a name together.

    Returns:
        Envelope and payloads of each; in place of a message that cannot be read what :func:`decode_message` would
        raise.
    """
    found: list[tuple[Envelope, dict[str, Payload]] | DecodeError] = []
    alike: dict[str, list[tuple[int, Reader]]] = defaultdict(list)
    for at, one in enumerate(data):
        taken = attempt(take_parts, one, limits)
        if isinstance(taken, DecodeError):
            found.append(taken)
            continue
        envelope, parts = taken
        found.append((envelope, {}))
        for name, part in parts.items():
            alike[name].append((at, part))
    for name in sorted(alike):
        rows = decode_rows([part for _, part in alike[name]])
        for (at, _), row in zip(alike[name], rows, strict=True):
            so_far = found[at]
            if isinstance(so_far, DecodeError):
                continue
            if isinstance(row, DecodeError):
                found[at] = _of(name, row)
            else:
                so_far[1][name] = row
    return found


def take_parts(data: bytes | bytearray | memoryview, limits: Limits) -> tuple[Envelope, dict[str, Reader]]:
    """The envelope of a message, and its payloads, not yet read.

    Raises:
        DecodeError: the envelope, or what separates the payloads, is damaged.
    """
    reader = Reader(data, limits)
    envelope = _take_envelope(reader)
    parts: dict[str, Reader] = {}
    previous = ""
    while reader.left:
        name = _take_name(reader)
        if name <= previous:
            raise DecodeError(f"name: {name!r} after {previous!r}; names are not empty, and ascending")
        previous = name
        try:
            parts[name] = reader.part("payload")
        except DecodeError as error:
            raise _of(name, error) from error
    return envelope, parts


def _of(name: str, error: DecodeError) -> DecodeError:
    named = DecodeError(f"{name}: {error}")
    named.__cause__ = error
    return named


def check_envelope(
    envelope: Envelope,
    run: int,
    round: int,  # noqa: A002 - a round is a round
    phase: int,
    senders: Container[int],
) -> None:
    """Refuse what does not belong here: foreign, late, early, replayed, or from somebody who is not awaited.

    Args:
        envelope: what came.
        run: the run that is going on.
        round: its round.
        phase: its phase.
        senders: who may still send; take out whoever has, and duplicates are refused too.

    Raises:
        DecodeError: which names the field.
    """
    for name, found, awaited in (
        ("run", envelope.run, run),
        ("round", envelope.round, round),
        ("phase", envelope.phase, phase),
    ):
        if found != awaited:
            raise DecodeError(f"{name}: the message is for {found}, awaited is {awaited}; it is dropped")
    if envelope.sender not in senders:
        raise DecodeError(
            f"sender: nothing is awaited from {envelope.sender} (any more); the message is dropped"
        )


def _take_envelope(reader: Reader) -> Envelope:
    header = reader.take(_HEADER.size, "envelope")
    magic, version, phase, round_, run, sender, length = _HEADER.unpack(header)
    if magic != MAGIC:
        raise DecodeError(f"magic: {magic!r}; a message starts with {MAGIC!r}")
    if version != VERSION:
        raise DecodeError(f"version: {version}; this receiver understands {VERSION}")
    checksum = reader.take(_CHECKSUM_BYTES, "checksum")
    if length != reader.left:
        raise DecodeError(f"body length: {length} bytes are announced, {reader.left} are there")
    if checksum != _checksum(header, reader.ahead()):
        raise DecodeError("checksum: does not fit; the message was damaged on its way")
    if sender < SERVER:
        raise DecodeError(f"sender: {sender}; a client's id is at least 0, the server's {SERVER}")
    return Envelope(run, round_, phase, sender)


def _checksum(header: bytes | memoryview, body: bytes | memoryview) -> bytes:
    """Against damage, not against forgery.

    64 bits, for a CRC-32 would let one damaged message in four thousand million pass. It takes less than a
    nanosecond for a byte, which no link is fast enough to notice.
    """
    digest = blake2b(header, digest_size=_CHECKSUM_BYTES)
    digest.update(body)
    return digest.digest()


def _name_field(name: str) -> bytes:
    encoded = name.encode()
    if not 1 <= len(encoded) <= 255:
        raise ProtocolError(f"message name {name!r} has {len(encoded)} bytes; allowed are 1 to 255")
    return bytes((len(encoded),)) + encoded


def _take_name(reader: Reader) -> str:
    encoded = bytes(reader.take(reader.byte("name length"), "name"))
    try:
        return encoded.decode()
    except UnicodeDecodeError as error:
        raise DecodeError(f"name: {encoded!r} is not UTF-8") from error
