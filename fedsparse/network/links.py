"""The line and the processor of each client, in the units that times are computed in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Links"]

_FASTEST_BPS = 1e15
"""Keeps the long division of :func:`fedsparse.network.times.transfer_ns` inside 64 bits."""

_LONGEST_NS = 1e18
"""About 32 years: a delay drawn from a wide distribution stays a 64-bit number."""


@dataclass(frozen=True)
class Links:
    """What C clients have in one round.

    Attributes:
        up_bps: bits per second to the server, ``[C]`` int64; 0: no limit.
        down_bps: bits per second from the server, ``[C]`` int64; 0: no limit.
        latency_ns: delay of each message, one way, ``[C]`` int64.
        examples_per_s: training examples per second, ``[C]`` float64; 0: training takes no time.
    """

    up_bps: NDArray[np.int64]
    down_bps: NDArray[np.int64]
    latency_ns: NDArray[np.int64]
    examples_per_s: NDArray[np.float64]

    @staticmethod
    def of(rates: NDArray[np.float64]) -> Links:
        """From the units of the configuration.

        Args:
            rates: ``[C, 4]``, columns: up and down in Mbit/s, latency in ms, examples per second.
        """
        up, down, latency, speed = rates.T
        delay = np.rint(np.minimum(latency * 1e6, _LONGEST_NS)).astype(np.int64)
        return Links(_bits_per_second(up), _bits_per_second(down), delay, speed.copy())


def _bits_per_second(megabits: NDArray[np.float64]) -> NDArray[np.int64]:
    # A slow line must not round to 0, which means "no limit".
    rounded = np.rint(np.clip(megabits * 1e6, 1.0, _FASTEST_BPS))
    return np.where(megabits > 0, rounded, 0.0).astype(np.int64)
