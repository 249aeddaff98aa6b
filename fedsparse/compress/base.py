"""What a compressor is: a map from vectors to payloads, and the class it belongs to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fedsparse.compress.pieces import compressed
from fedsparse.errors import ConfigError
from fedsparse.message import Payload
from fedsparse.options import validate
from fedsparse.rng import Streams

__all__ = ["Compressor", "HasStreams"]


class HasStreams(Protocol):
    """The part of a context that a compressor uses."""

    def rng(self, purpose: str) -> Streams:
        """C streams, one for each row."""


@dataclass(frozen=True)
class Compressor(ABC):
    """Compresses each row of ``x [C, d]`` by itself.

    Constants follow one convention: *unbiased(omega)*, E C(x) = x and E||C(x) - x||^2 <= omega ||x||^2; *contractive
    (delta)*, E||C(x) - x||^2 <= (1 - delta) ||x||^2 with 0 < delta <= 1. Other papers write q = 1 + omega, or 1/delta.
    """

    def __post_init__(self) -> None:
        validate(self)

    @abstractmethod
    def compress(self, x: Tensor, ctx: HasStreams, stream: str = "compress") -> Payload:
        """The payload of each row.

        Args:
            x: ``[C, d]``, float32 or float64.
            ctx: gives the random streams, one for each row.
            stream: their purpose; a strategy that compresses twice in one phase gives two names.
        """

    def omega(self, size: int) -> float | None:  # noqa: ARG002
        """The constant of an unbiased compressor for vectors of ``size`` entries; ``None`` where it is biased."""
        return None

    def delta(self, size: int) -> float | None:  # noqa: ARG002
        """The constant of a contractive compressor for vectors of ``size`` entries; ``None`` where it is not."""
        return None

    def damping(self, size: int) -> float:
        """1 / (1 + omega) for vectors of ``size`` entries: the share of an unbiased message that a memory takes.

        A memory h of a vector v that does h <- h + a C(v - h) comes nearer if a is below 2 / (1 + omega), fastest with
        this a. Of :class:`RandK` it is k/d, of no compression 1.

        Raises:
            ConfigError: the compressor is biased.
        """
        omega = self.omega(size)
        if omega is None:
            raise ConfigError(
                f"compressor={self}: it is not unbiased, so there is no 1 + omega to divide by; "
                "use randk, qsgd or natural. A contractive compressor needs no scaling: use it directly"
            )
        return 1 / (1 + omega)

    def with_memory(
        self,
        x: Tensor,
        memory: Tensor,
        ctx: HasStreams,
        stream: str = "compress",
        *,
        factor: float = 1.0,
        weight: float = 1.0,
        out: Tensor | None = None,
    ) -> tuple[Payload, Tensor]:
        """Error feedback: sends what is owed and keeps the rest.

        Args:
            x: what is to be sent, ``[C, d]``.
            memory: what earlier messages left out, ``[C, d]``.
            ctx: gives the random streams.
            stream: their purpose.
            factor: of ``x``: cheaper here than before.
            weight: of the memory in the message; what is not sent of it is kept all the same.
            out: where the new memory may be written to, ``[C, d]``; ``x`` may be it.

        Returns:
            the payload of ``weight memory + factor x``, and the new memory ``[C, d]``, memory + factor x - sent.
        """
        kept = torch.empty_like(memory) if out is None else out

        def owed(rows: slice) -> Tensor:
            # The product is rounded before it is added.
            step = x[rows] if factor == 1 else torch.mul(x[rows], factor, out=kept[rows])
            weighed = None if weight == 1 else torch.add(step, memory[rows], alpha=weight)
            whole = torch.add(memory[rows], step, out=kept[rows])
            return whole if weighed is None else weighed

        payload = compressed(self, owed, kept, ctx, stream)
        return payload, payload.left_of(kept)

    def compress_sum(
        self, x: Tensor, y: Tensor, weight: float, ctx: HasStreams, stream: str = "compress"
    ) -> Payload:
        """The payload of ``x + weight y``; the sum is made a few rows at a time, which are compressed while in cache.

        Args:
            x: ``[C, d]``.
            y: ``[C, d]``.
            weight: of ``y``.
            ctx: gives the random streams.
            stream: their purpose.
        """
        return compressed(self, lambda rows: torch.add(x[rows], y[rows], alpha=weight), x, ctx, stream)
