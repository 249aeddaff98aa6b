"""Discrete wavelet transforms of vectors, with the signal mirrored at its ends; the coefficients are one vector.

Each level splits its input into coarse and fine coefficients by two filters, and keeps every second one; the next
level splits the coarse ones. The vector has the last coarse coefficients, then the fine ones, coarsest level first.
"""

from dataclasses import dataclass

import numpy as np

from .toys import Array


@dataclass(frozen=True)
class Wavelet:
    """An orthogonal wavelet.

    Attributes:
        low: its low-pass filter for reconstruction, an even number of taps.
        levels: how often the coarse part is split again.
    """

    low: tuple[float, ...]
    levels: int = 4

    def forward(self, x: Array) -> Array:
        """The coefficients of x."""
        fines = []
        for _ in range(self.levels):
            x, fine = self._split(x)
            fines.append(fine)
        return np.concatenate([x, *reversed(fines)])

    def back(self, coefficients: Array, size: int) -> Array:
        """The vector of `size` entries that has these coefficients."""
        sizes = [size]
        for _ in range(self.levels):
            sizes.append((sizes[-1] + len(self.low) - 1) // 2)
        x, rest = np.split(coefficients, [sizes[-1]])
        for half, full in zip(sizes[:0:-1], sizes[-2::-1], strict=True):
            fine, rest = np.split(rest, [half])
            x = self._joined(x, fine)[:full]
        return x

    @property
    def high(self) -> tuple[float, ...]:
        """The high-pass filter for reconstruction: the low-pass one backwards, every second sign changed."""
        return tuple((-1) ** k * tap for k, tap in enumerate(reversed(self.low)))

    def _split(self, x: Array) -> tuple[Array, Array]:
        taps = len(self.low)
        mirrored = x
        while mirrored.size < x.size + 2 * (taps - 1):
            mirrored = np.pad(mirrored, min(taps - 1, mirrored.size), mode="symmetric")
        spare = (mirrored.size - x.size) // 2 - (taps - 1)
        mirrored = mirrored[spare : mirrored.size - spare]
        # Analysis filters are the reconstruction filters backwards: a correlation.
        return tuple(np.correlate(mirrored, f, "valid")[1::2] for f in (self.low, self.high))

    def _joined(self, coarse: Array, fine: Array) -> Array:
        spread = np.zeros((2, 2 * coarse.size - 1))
        spread[:, ::2] = coarse, fine
        full = np.convolve(spread[0], self.low) + np.convolve(spread[1], self.high)
        return full[len(self.low) - 2 : full.size - len(self.low) + 2]


def haar(levels: int = 4) -> Wavelet:
    """Means and differences of neighbours, scaled to be orthogonal."""
    return Wavelet((0.5**0.5, 0.5**0.5), levels)


def sym2(levels: int = 4) -> Wavelet:
    """Daubechies' wavelet with two vanishing moments."""
    root = 3**0.5
    return Wavelet(tuple(tap / (4 * 2**0.5) for tap in (1 + root, 3 + root, 3 - root, 1 - root)), levels)
