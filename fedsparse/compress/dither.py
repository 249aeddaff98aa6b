"""Rounding up or down at random, right in the mean, with one random byte for most coordinates.

A coordinate of a steps is rounded up from floor(a) if a uniform number U is below what is left of it. The first byte
of U decides that for 255 coordinates of 256; only the others need more of it. Where a coordinate is small against a
step the byte says, too, that it becomes zero, so that nothing else is computed for most of a vector that is spread out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedsparse.message import Quantized
from fedsparse.rng import octets
from fedsparse.wire.bits import nonzero

__all__ = ["dithered"]

Row = npt.NDArray[Any]

PARTS = 256
"""Values of a byte: parts of a step that it tells apart."""

FEW = 8
"""One coordinate in so many may be other than zero where only those are looked at."""


def dithered(x: Tensor, step: Tensor, levels: int, generators: Sequence[np.random.Generator]) -> Tensor:
    """Codes ``[C, d]`` with the mean ``x / step``, each a neighbour of it, kept within ``levels``.

    A row whose step is zero, infinite or NaN becomes zero.

    Args:
        x: ``[C, d]``, float32 or float64.
        step: ``[C]``, in the dtype of ``x``, as the receiver will read it.
        levels: s.
        generators: of each row.
    """
    rows = x.detach().numpy()
    codes = torch.zeros(x.shape, dtype=Quantized.narrowest(levels))
    parts, chance = np.empty((2, x.shape[1]), rows.dtype)
    for row, unit, generator, into in zip(rows, step.numpy() / PARTS, generators, codes.numpy(), strict=True):
        if unit > 0 and np.isfinite(unit):
            np.divide(row, unit, out=parts)
            np.abs(parts, out=parts)
            np.copyto(chance, octets(generator, len(row)))
            _write(row, parts, chance, levels, generator, into)
    return codes


def _write(row: Row, parts: Row, chance: Row, levels: int, generator: np.random.Generator, into: Row) -> None:
    """Writes the codes of a row of magnitudes ``parts``, in parts of a step; all arrays are ``[d]``."""
    marks = parts > chance
    if FEW * np.count_nonzero(marks) > len(row):
        np.multiply(_rounded(parts, chance, levels, generator), np.sign(row), out=into, casting="unsafe")
        return
    some = nonzero(marks)
    signs = np.sign(row.take(some))
    into[some] = _rounded(parts.take(some), chance.take(some), levels, generator) * signs


def _rounded(parts: Row, chance: Row, levels: int, generator: np.random.Generator) -> Row:
    """The steps below, and one more where what is left exceeds ``chance`` and a random share of one part more."""
    parts = np.minimum(parts, PARTS * levels)  # Division may have rounded beyond.
    whole = np.floor(parts / PARTS)
    parts -= PARTS * whole
    owed = np.subtract(parts, chance, out=parts)
    up = owed >= 1
    open_ = np.flatnonzero((owed > 0) & ~up)
    up[open_] = generator.random(len(open_)) < owed[open_]
    whole += up
    return whole
