"""Who hears whom, in characters."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

__all__ = ["beside", "picture"]

_CELLS = 48
"""Rows and columns of the picture at most; many clients share one."""

_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
"""The bits of a Braille character, four dots high and two wide."""


def picture(W: csr_array) -> list[str]:
    """Lines of Braille dots: row i, column j is set where client i hears client j.

    Args:
        W: ``[n, n]``; the diagonal is left out.
    """
    n = W.shape[0]
    cells = min(n, _CELLS)
    pairs = W.tocoo()
    heard = (pairs.row != pairs.col) & (pairs.data != 0)
    high, wide = -(-cells // 4), -(-cells // 2)
    dots = np.zeros((4 * high, 2 * wide), dtype=bool)
    dots[pairs.row[heard].astype(np.int64) * cells // n, pairs.col[heard].astype(np.int64) * cells // n] = (
        True
    )
    codes = (dots.reshape(high, 4, wide, 2) * _DOTS[:, None, :]).sum(axis=(1, 3))
    return ["".join(chr(0x2800 + int(code)) for code in line) for line in codes]


def beside(pictures: list[list[str]]) -> list[str]:
    """Pictures of one height from left to right."""
    return ["  ".join(parts) for parts in zip(*pictures, strict=True)]
