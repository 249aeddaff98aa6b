"""The wire format: typed payloads, their exact lengths, their bytes, and back.

One file for each class of payloads, with its encoding; around them bits, index codings, values, and the
envelope. All numbers are little-endian. A payload has exactly one encoding, and the decoder accepts no other.
"""

from __future__ import annotations

from fedsparse.wire.arrays import from_arrays, pack, to_arrays, unpack
from fedsparse.wire.dense import Dense, MaskedDense
from fedsparse.wire.envelope import (
    ENVELOPE_BYTES,
    SERVER,
    Envelope,
    check_envelope,
    decode_message,
    decode_messages,
    encode_message,
    encode_messages,
    message_nbytes,
)
from fedsparse.wire.exponents import Exponents
from fedsparse.wire.lowrank import LowRank
from fedsparse.wire.mask import Mask
from fedsparse.wire.payload import Payload, concatenate, decode_payload
from fedsparse.wire.peredge import PerEdge
from fedsparse.wire.quantized import Quantized
from fedsparse.wire.ragged import Ragged
from fedsparse.wire.reader import Limits
from fedsparse.wire.scalars import Scalars
from fedsparse.wire.sealed import Sealed, pass_on
from fedsparse.wire.seeded import SeededSparse, k_subset
from fedsparse.wire.sign import Sign
from fedsparse.wire.sparse import Sparse
from fedsparse.wire.values import KINDS, round_to

__all__ = [
    "ENVELOPE_BYTES",
    "KINDS",
    "SERVER",
    "Dense",
    "Envelope",
    "Exponents",
    "Limits",
    "LowRank",
    "Mask",
    "MaskedDense",
    "Payload",
    "PerEdge",
    "Quantized",
    "Ragged",
    "Scalars",
    "Sealed",
    "SeededSparse",
    "Sign",
    "Sparse",
    "check_envelope",
    "concatenate",
    "decode_message",
    "decode_messages",
    "decode_payload",
    "encode_message",
    "encode_messages",
    "from_arrays",
    "k_subset",
    "message_nbytes",
    "pack",
    "pass_on",
    "round_to",
    "to_arrays",
    "unpack",
]
