"""Value kinds: how a number travels, and rounding to what the receiver will decode.

A payload keeps its values in the dtype of the computation (float32 or float64), already rounded to the kind
that travels; so what the sender remembers is, bit for bit, what the receiver works with.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedsparse.errors import DecodeError, ProtocolError
from fedsparse.wire.reader import Reader

__all__ = [
    "KINDS",
    "native_kind",
    "pack_rows",
    "pack_values",
    "resolve_kind",
    "round_to",
    "take_values",
    "values_nbytes",
]

KINDS: dict[str, tuple[int, torch.dtype]] = {
    "fp64": (8, torch.float64),
    "fp32": (4, torch.float32),
    "fp16": (2, torch.float16),
    "bf16": (2, torch.bfloat16),
    "int8": (1, torch.int8),
}
"""Bytes of one value, and the dtype it has on the wire, by kind."""

TOP = 127
"""The largest int8 code; -128 is not used, so that codes are symmetric."""

_STORED = {"fp64": "<f8", "fp32": "<f4", "fp16": "<f2"}


def native_kind(dtype: torch.dtype) -> str:
    """The kind that carries a tensor of this dtype without rounding: ``"fp32"`` or ``"fp64"``."""
    if dtype == torch.float32:
        return "fp32"
    if dtype == torch.float64:
        return "fp64"
    raise ProtocolError(
        f"payload values are {dtype}; allowed are torch.float32 and torch.float64: convert them"
    )


def resolve_kind(kind: str, values: Tensor, scale: Tensor | None) -> str:
    """The kind of a payload; an empty one, or one wider than the dtype, means the dtype's own.

    Raises:
        ProtocolError: for an unknown kind, another dtype, or a scale that is missing, superfluous or of
            another dtype.
    """
    native = native_kind(values.dtype)
    kind = kind or native
    if kind not in KINDS:
        raise ProtocolError(f"unknown value kind {kind!r}; known are {', '.join(KINDS)}")
    if (kind == "int8") != (scale is not None):
        raise ProtocolError(
            f"a scale belongs to kind 'int8' and to no other; the kind is {kind!r}: use round_to()"
        )
    if scale is not None and scale.dtype != values.dtype:
        raise ProtocolError(f"the scale is {scale.dtype} and the values are {values.dtype}; they must agree")
    return native if kind == "fp64" else kind


def round_to(values: Tensor, kind: str, offsets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Round to what the receiver decodes.

    Finite numbers stay finite (fp16 saturates at 65504); NaN and infinities stay what they are, so that the
    receiver's gate sees them. A row with one of them becomes all NaN under int8, which cannot carry it
    otherwise.

    Args:
        values: ``[C, k]``, or ``[nnz]`` together with ``offsets``; float32 or float64.
        kind: one of :data:`KINDS`.
        offsets: ``[C + 1]`` int64, where each row starts in ``values``.

    Returns:
        The rounded values in the dtype of ``values``, and for int8 the scale ``[C]`` (else None).
    """
    if kind == "int8":
        return _round_to_int8(values, offsets)
    wire = KINDS[kind][1]
    limit = torch.finfo(wire).max
    if limit >= torch.finfo(values.dtype).max:
        return values, None
    kept = torch.where(values.isfinite(), values.clamp(-limit, limit), values)
    return kept.to(wire).to(values.dtype), None


def _round_to_int8(values: Tensor, offsets: Tensor | None) -> tuple[Tensor, Tensor]:
    if offsets is None:
        rows, k = values.shape
        counts = torch.full((rows,), k, dtype=torch.int64)
    else:
        counts = offsets.diff()
    scale = _row_scales(values.reshape(-1), counts)
    spread = scale.repeat_interleave(counts).reshape(values.shape)
    usable = spread.isfinite() & (spread > 0)
    codes = torch.where(usable, values / torch.where(usable, spread, 1), 0).round().clamp(-TOP, TOP)
    return (codes + 0.0) * spread, scale  # + 0.0: there is no code for -0.0


def _row_scales(flat: Tensor, counts: Tensor) -> Tensor:
    top = np.zeros(len(counts), dtype=flat.numpy().dtype)
    filled = counts.numpy() > 0
    if filled.any():
        starts = (counts.cumsum(0) - counts).numpy()[filled]
        top[filled] = np.maximum.reduceat(flat.abs().numpy(), starts)
    scale = torch.from_numpy(top) / TOP
    return torch.where(scale.isfinite(), scale.clamp(max=_largest_scale(flat.dtype)), scale)


def _largest_scale(dtype: torch.dtype) -> float:
    """The largest scale for which no code overflows."""
    top = np.finfo(np.float32 if dtype == torch.float32 else np.float64).max
    return float(np.nextafter(top / top.dtype.type(TOP), top.dtype.type(0)))


def values_nbytes(kind: str, dtype: torch.dtype, count: int) -> int:
    """Bytes of ``count`` values with, for int8, their scale."""
    scale = dtype.itemsize if kind == "int8" else 0
    return scale + count * KINDS[kind][0]


def pack_values(values: Tensor, kind: str, scale: Tensor | None) -> bytes:
    """The bytes of one row of values ``[k]`` that are already rounded; ``scale`` has no dimension."""
    array = values.numpy()
    if scale is not None:
        number = np.array(scale.item(), dtype=array.dtype.newbyteorder("<"))
        return number.tobytes() + _int8_codes(array, float(scale)).tobytes()
    return _stored(array, kind).tobytes()


def pack_rows(values: Tensor, kind: str, scale: Tensor | None, offsets: Sequence[int]) -> list[bytes]:
    """:func:`pack_values` for rows that lie one after another in ``values [nnz]``."""
    spans = list(pairwise(offsets))
    if scale is not None:
        return [pack_values(values[a:b], kind, one) for (a, b), one in zip(spans, scale, strict=True)]
    stored = _stored(values.numpy(), kind)
    return [stored[a:b].tobytes() for a, b in spans]


def _stored(array: NDArray[Any], kind: str) -> NDArray[Any]:
    """Rounded values as they lie on the wire."""
    if kind == "bf16":
        return (array.astype("<f4", copy=False).view("<u4") >> 16).astype("<u2")
    return array.astype(_STORED[kind], copy=False)


def _int8_codes(array: NDArray[np.floating], scale: float) -> NDArray[np.int8]:
    if not (np.isfinite(scale) and scale > 0):
        return np.zeros(array.shape, dtype=np.int8)
    codes: NDArray[np.int8] = np.rint(array / array.dtype.type(scale)).astype(np.int8)
    return codes


def take_values(reader: Reader, count: int, kind: str, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Read one row: values ``[1, count]`` in ``dtype`` and, for int8, the scale ``[1]``.

    Raises:
        DecodeError: when bytes are missing, or a scale that no sender computes.
    """
    number = np.dtype("<f4" if dtype == torch.float32 else "<f8")
    if kind == "int8":
        return _take_int8(reader, count, number)
    if kind == "bf16":
        bits = np.frombuffer(reader.take(2 * count, "values"), dtype="<u2")
        array = (bits.astype("<u4") << 16).view("<f4")
    else:
        array = np.frombuffer(reader.take(count * KINDS[kind][0], "values"), dtype=_STORED[kind])
    with np.errstate(invalid="ignore"):  # widening a signalling NaN makes it a quiet one
        return torch.from_numpy(array.astype(number, copy=True)[None]), None


def _take_int8(reader: Reader, count: int, number: np.dtype[Any]) -> tuple[Tensor, Tensor]:
    scale = np.frombuffer(reader.take(number.itemsize, "scale"), dtype=number).copy()
    codes = np.frombuffer(reader.take(count, "values"), dtype=np.int8)
    scales, value = torch.from_numpy(scale), float(scale[0])
    if np.signbit(value) and not np.isnan(value):
        raise DecodeError(f"scale: {value} is negative; a scale is at least 0")
    if np.isfinite(value) and value > _largest_scale(scales.dtype):
        raise DecodeError(f"scale: {value} would overflow; at most {_largest_scale(scales.dtype)} is allowed")
    if count and int(codes.min()) < -TOP:
        raise DecodeError(f"values: the int8 code -128 is not used; codes lie within +-{TOP}")
    if not (np.isfinite(value) and value > 0) and codes.any():
        raise DecodeError(f"values: int8 codes other than 0 with the scale {value}, which cannot carry them")
    return torch.from_numpy(codes.astype(number)[None]) * scales, scales
