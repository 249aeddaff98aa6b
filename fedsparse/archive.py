"""The format of a checkpoint: a dictionary and named arrays in one file that is whole or is refused.

A file is, in order and little-endian: magic (8 bytes), format version (4), header length (4), file length
(8), the header (JSON: ``meta`` and a table of arrays, padded with spaces), the arrays' bytes (each array
starts at a multiple of 64), and BLAKE2b-256 of all of it. The checksum is compared before anything is
interpreted, and the table must describe the file exactly before anything is mapped. No pickle.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from fedsparse.errors import CheckpointError
from fedsparse.files import replacing

__all__ = ["Array", "Chunked", "read", "under", "write"]

Array: TypeAlias = npt.NDArray[Any]

_MAGIC = b"\x89fsckpt\n"
_VERSION = 1
_PREAMBLE = struct.Struct("<8sIIQ")
_DIGEST = 32
_ALIGN = 64
_CHUNK = 1 << 20
_MAX_DIMENSIONS = 32
_DTYPES = frozenset(["<f2", "<f4", "<f8", "|b1", "|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8"])


class Chunked(Protocol):
    """An array too large to build: its rows come in pieces along the first axis."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its numbers."""

    def chunks(self) -> Iterator[Array]:
        """The pieces, first rows first."""


class _DamagedError(ValueError):
    """The file is not a whole checkpoint; the text is the reason."""


def write(path: Path, meta: Mapping[str, Any], arrays: Mapping[str, Array | Chunked]) -> None:
    """Write a checkpoint in one step: after a failure or a kill the old file is there, or the whole new one.

    Args:
        path: the file.
        meta: anything that JSON can say.
        arrays: named arrays of floats (16 to 64 bits), integers or booleans, any shape.

    Raises:
        CheckpointError: an array of another type, or pieces that do not make up the shape they promise.
        ResourceError: no room; says the path, the bytes needed and the bytes free.
    """
    table, size = _table(path, arrays)
    header = json.dumps({"meta": meta, "arrays": table}, sort_keys=True).encode()
    header += b" " * (-(_PREAMBLE.size + len(header)) % _ALIGN)
    total = _PREAMBLE.size + len(header) + size + _DIGEST
    with replacing(path, total) as file:
        out = _Checksummed(file)
        out.write(_PREAMBLE.pack(_MAGIC, _VERSION, len(header), total))
        out.write(header)
        for name, value in arrays.items():
            out.write(b"\0" * (-out.position % _ALIGN))
            before = out.position
            for piece in [value] if isinstance(value, np.ndarray) else value.chunks():
                out.write(_raw(piece, value.dtype))
            if out.position - before != _size(value.shape, value.dtype):
                raise CheckpointError(
                    f"{path}: the pieces of {name!r} do not add up to the shape {value.shape}."
                )
        file.write(out.hash.digest())


class _Checksummed:
    """A file that counts and hashes what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.hash = blake2b(digest_size=_DIGEST)
        self.position = 0

    def write(self, data: bytes | memoryview) -> None:
        self.file.write(data)
        self.hash.update(data)
        self.position += len(data)


def _table(path: Path, arrays: Mapping[str, Array | Chunked]) -> tuple[list[dict[str, Any]], int]:
    """The header's entry of each array, and the bytes of all arrays with the gaps between them."""
    table, end = [], 0
    for name, value in arrays.items():
        dtype = value.dtype.newbyteorder("<").str
        if dtype not in _DTYPES:
            raise CheckpointError(
                f"{path}: array {name!r} has dtype {value.dtype}; a checkpoint holds float16 to float64, "
                "integers and booleans. Convert it first."
            )
        offset = _aligned(end)
        table.append({"name": name, "dtype": dtype, "shape": list(value.shape), "offset": offset})
        end = offset + _size(value.shape, value.dtype)
    return table, end


def _raw(piece: Array, dtype: np.dtype[Any]) -> memoryview:
    flat = np.ascontiguousarray(piece, dtype.newbyteorder("<")).reshape(-1)
    return flat.view(np.uint8).data


def _size(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return math.prod(shape) * dtype.itemsize


def _aligned(position: int) -> int:
    return position + -position % _ALIGN


def read(path: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read a checkpoint; all of it is right, or nothing is returned.

    Returns:
        The meta dictionary, and the arrays by name. Arrays are private to the caller and may be written to;
        they are mapped from the file, so one that exceeds the memory can still be copied piece by piece.

    Raises:
        CheckpointError: missing, damaged, cut short, of another format or version; says the file and why.
    """
    try:
        with path.open("rb") as file:
            data_start, total = _check(file)
            file.seek(_PREAMBLE.size)
            meta, table = _parse(file.read(data_start - _PREAMBLE.size), total - _DIGEST - data_start)
            # Pages that nobody writes to need no swap space kept for them.
            flags = mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", 0)
            pages = mmap.mmap(file.fileno(), total, flags=flags)
    except OSError as error:
        raise CheckpointError(f"{path}: the checkpoint cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a usable checkpoint: {error}.") from error
    arrays = {e.name: np.ndarray(e.shape, e.dtype, buffer=pages, offset=data_start + e.offset) for e in table}
    return meta, arrays


def _check(file: BinaryIO) -> tuple[int, int]:
    """Compare magic, version, length and checksum; returns where the arrays start and the file's length."""
    size = os.fstat(file.fileno()).st_size
    head = file.read(_PREAMBLE.size)
    if not _MAGIC.startswith(head[:8]):
        raise _DamagedError(f"it starts with {head[:8]!r}, a checkpoint with {_MAGIC!r}")
    if size < _PREAMBLE.size + _DIGEST or len(head) < _PREAMBLE.size:
        raise _DamagedError(f"it ends after {size} bytes, within its first fields")
    _, version, header, total = _PREAMBLE.unpack(head)
    if version != _VERSION:
        raise _DamagedError(f"it has format version {version}, this program reads version {_VERSION}")
    if size != total:
        raise _DamagedError(f"it has {size} bytes and should have {total}: cut short or damaged")
    data_start = _PREAMBLE.size + header
    if data_start > total - _DIGEST:
        raise _DamagedError(f"its header claims {header} bytes, more than the file has")
    if _checksum(file, head, total - _DIGEST) != file.read():
        raise _DamagedError("its checksum does not match its contents: damaged")
    return data_start, total


def _checksum(file: BinaryIO, head: bytes, end: int) -> bytes:
    digest, left = blake2b(head, digest_size=_DIGEST), end - len(head)
    while left > 0:
        chunk = file.read(min(left, _CHUNK))
        if not chunk:
            raise _DamagedError("it became shorter while it was read")
        digest.update(chunk)
        left -= len(chunk)
    return digest.digest()


@dataclass(frozen=True)
class _Entry:
    """One row of the header's table."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int

    @classmethod
    def parse(cls, raw: object) -> _Entry:
        match raw:
            case {
                "name": str(name),
                "dtype": str(dtype),
                "shape": list(shape),
                "offset": int(offset),
                **rest,
            }:
                if rest or dtype not in _DTYPES or not _plausible(shape, np.dtype(dtype)):
                    raise _DamagedError(f"its header describes array {name!r} in a way that is not allowed")
                return cls(name, np.dtype(dtype), tuple(shape), offset)
        raise _DamagedError("its header has a malformed table of arrays")


def _plausible(shape: list[Any], dtype: np.dtype[Any]) -> bool:
    whole = all(type(n) is int and n >= 0 for n in shape)
    # NumPy refuses shapes whose product overflows even where another axis is empty.
    return (
        whole and len(shape) <= _MAX_DIMENSIONS and math.prod(n or 1 for n in shape) * dtype.itemsize < 2**63
    )


def _parse(header: bytes, size: int) -> tuple[dict[str, Any], list[_Entry]]:
    """Read the header; its arrays must fill ``size`` bytes exactly, in order, without overlap."""
    match json.loads(header):
        case {"meta": dict(meta), "arrays": list(rows), **rest} if not rest:
            table = [_Entry.parse(row) for row in rows]
        case _:
            raise _DamagedError("its header has other fields than it should")
    end = 0
    for entry in table:
        if entry.offset != _aligned(end):
            raise _DamagedError(f"its array {entry.name!r} is not where it should be")
        end = entry.offset + _size(entry.shape, entry.dtype)
    if end != size or len({entry.name for entry in table}) != len(table):
        raise _DamagedError(
            f"its header describes {end} bytes of arrays, the file has {size}, or a name comes twice"
        )
    return meta, table


def under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose names begin with ``prefix``, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
