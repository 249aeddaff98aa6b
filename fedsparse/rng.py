"""Keyed random streams: nothing random depends on order, on the number of workers, or on what was drawn before.

A stream is named by (seed, purpose, round, client). The name is hashed to the key of a counter-based generator
(Philox), so a stream can be made anywhere at any time, and a checkpoint has no generator to save.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from numpy.random.bit_generator import ISeedSequence

from fedsparse.lazy import cached_property

if TYPE_CHECKING:
    import torch

__all__ = ["NOBODY", "Streams", "octets", "seed64", "stream"]

NOBODY = -1
"""The client number of streams that belong to the server or to the whole run."""


class _Key(ISeedSequence):
    """A key for Philox as it is. Given in the other way, NumPy asks the system for a seed as well: half the cost."""

    def __init__(self, digest: bytes) -> None:
        self._words = np.frombuffer(digest, dtype="<u8")

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> Any:  # noqa: ARG002 - two words are asked for
        """The two words of the key."""
        return self._words


def _digest(seed: int, purpose: str, round: int, client: int) -> bytes:  # noqa: A002 - a round is a round
    # Fixed-width words first, the text last: no two names share an encoding.
    words = struct.pack("<qqq", seed, round, client)
    return blake2b(words + purpose.encode(), digest_size=16, person=b"fedsparse.stream").digest()


def stream(seed: int, purpose: str, round: int = 0, client: int = NOBODY) -> np.random.Generator:  # noqa: A002
    """The generator of one name; a new one at its start each time.

    Args:
        seed: the run's seed, a signed 64-bit integer.
        purpose: what the numbers are for; any text, e.g. ``"batches"``.
        round: the round, 0 for what happens once.
        client: the client's id, or ``NOBODY``.
    """
    key = _Key(_digest(seed, purpose, round, client))
    return np.random.Generator(np.random.Philox(key))  # type: ignore[arg-type]  # NumPy's stub has no ISeedSequence


def octets(generator: np.random.Generator, count: int) -> npt.NDArray[np.uint8]:
    """Uniform bytes ``[count]`` of a stream, eight from each word: a sixth of the time of float32 numbers."""
    words = np.asarray(generator.bit_generator.random_raw(-(-count // 8)))
    return words.astype("<u8", copy=False).view(np.uint8)[:count]


def seed64(seed: int, purpose: str, round: int = 0, client: int = NOBODY) -> int:  # noqa: A002
    """64 bits for a seed that travels, or for another library's generator; unrelated to :func:`stream`."""
    return int.from_bytes(_digest(seed, "seed64:" + purpose, round, client)[:8], "little")


class Streams:
    """C streams, one for each client of a call; what is drawn has the leading axis C."""

    def __init__(self, seed: int, purpose: str, round: int, clients: Sequence[int]) -> None:  # noqa: A002
        self._name = (seed, purpose, round)
        self._clients = [int(c) for c in clients]

    def __len__(self) -> int:
        return len(self._clients)

    def __getitem__(self, rows: slice) -> Streams:
        """Those of some of the clients."""
        return Streams(*self._name, self._clients[rows])

    @cached_property
    def generators(self) -> list[np.random.Generator]:
        """The C generators. They advance as they are used; ask the context again for fresh ones."""
        seed, purpose, round_ = self._name
        return [stream(seed, purpose, round_, c) for c in self._clients]

    def seeds(self) -> torch.Tensor:
        """One 64-bit seed for each client, ``[C]`` int64 (the bits of the unsigned number)."""
        import torch

        seed, purpose, round_ = self._name
        values = np.array([seed64(seed, purpose, round_, c) for c in self._clients], dtype=np.uint64)
        return torch.from_numpy(values.view(np.int64))

    def uniform(self, size: int, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Uniform numbers in [0, 1), ``[C, size]``; float32 unless said otherwise."""
        import torch

        dtype = dtype or torch.float32
        kind = np.float64 if dtype == torch.float64 else np.float32
        out = np.empty((len(self), size), dtype=kind)
        for row, generator in zip(out, self.generators, strict=True):
            generator.random(out=row, dtype=kind)
        return torch.from_numpy(out).to(dtype)

    def normal(self, size: int, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Standard normal numbers, ``[C, size]``; float32 unless said otherwise."""
        import torch

        dtype = dtype or torch.float32
        kind = np.float64 if dtype == torch.float64 else np.float32
        out = np.empty((len(self), size), dtype=kind)
        for row, generator in zip(out, self.generators, strict=True):
            generator.standard_normal(out=row, dtype=kind)
        return torch.from_numpy(out).to(dtype)

    def integers(self, high: int, size: int) -> torch.Tensor:
        """Integers in [0, high), ``[C, size]`` int64."""
        import torch

        rows = [g.integers(high, size=size, dtype=np.int64) for g in self.generators]
        return torch.from_numpy(np.stack(rows)) if rows else torch.empty(0, size, dtype=torch.int64)
