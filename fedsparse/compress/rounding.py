"""The value types of compressors that send some of the entries, and what rounding to them costs in theory."""

from __future__ import annotations

from torch import Tensor

from fedsparse.message import KINDS, round_to
from fedsparse.wire.values import native_kind

__all__ = ["VALUES", "energy_kept", "is_exact", "rounded"]

VALUES = ("same", *KINDS)
"""Choices of a field ``values``; ``"same"`` sends float32 as fp32 and float64 as fp64."""

_ROUNDOFF = {"same": 0.0, "fp64": 0.0, "fp32": 2.0**-24, "bf16": 2.0**-8, "fp16": 2.0**-11}
"""Largest relative error u of rounding to the nearest, within the type's normal range."""


def rounded(x: Tensor, values: str, offsets: Tensor | None = None) -> tuple[Tensor, str, Tensor | None]:
    """Entries as they will be received.

    Args:
        x: ``[C, k]``, or ``[nnz]`` together with ``offsets``.
        values: one of :data:`VALUES`.
        offsets: ``[C + 1]``, where each row starts.

    Returns:
        the rounded entries, the kind that travels, and for int8 the scale ``[C]``.
    """
    kind = native_kind(x.dtype) if values == "same" else values
    entries, scale = round_to(x, kind, offsets)
    return entries, kind, scale


def is_exact(values: str) -> bool:
    """Whether rounding is no more than float32 arithmetic does anyway, so that unbiased stays unbiased."""
    return values in {"same", "fp64", "fp32"}


def energy_kept(values: str, count: int) -> float:
    """The share rho of ||v||^2 that surely survives rounding: ||v - round(v)||^2 <= (1 - rho) ||v||^2.

    A compressor that keeps entries carrying at least delta ||x||^2 is then contractive with rho delta, as
    what it drops and what rounding takes from the rest are orthogonal.

    Floats: every entry is off by at most u times itself, so rho = 1 - u^2. This holds for entries within the
    type's normal range: fp16 saturates above 65504 and is coarser below 6.1e-5.

    int8: the largest entry M is exact, any other v is off by at most min(v, h) with half a step h = M / 254.
    The error E of the others is at most t M^2 with t = (count - 1) / 254^2, and ||v||^2 >= M^2 + E. So E /
    ||v||^2 is at most t / (1 + t), and rho = 1 / (1 + t). Others of h each, which round to zero, attain it.

    Args:
        values: one of :data:`VALUES`.
        count: how many values share a scale.
    """
    if values == "int8":
        return 1 / (1 + (count - 1) / 254**2)
    return 1 - _ROUNDOFF[values] ** 2
