"""Bytes and examples to nanoseconds of virtual time: integers, so that a tie is a tie on every machine."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedsparse.network.links import Links

__all__ = ["NEVER", "Nanoseconds", "compute_ns", "finish_times", "transfer_ns"]

Nanoseconds: TypeAlias = NDArray[np.int64]
"""Virtual time, int64."""

NEVER = 2**62
"""146 years: the longest time there is, and that of a message which does not arrive."""

_BITS_TIMES_NANO = (8, 1000, 1000, 1000)


def transfer_ns(nbytes: ArrayLike, bps: ArrayLike, latency_ns: ArrayLike = 0) -> Nanoseconds:
    """How long a message is under way: latency + 8e9 nbytes / bps, rounded up, exact.

    Args:
        nbytes: length of the message, payload and header, 0 .. 2**62; any shape.
        bps: bits per second, 0 .. 1e15, 0 for no limit; broadcast against ``nbytes``.
        latency_ns: delay before the first bit, broadcast as well.

    Returns:
        nanoseconds, at most ``NEVER``.
    """
    rate = np.asarray(bps, dtype=np.int64)
    sending = _divide(np.asarray(nbytes, dtype=np.int64), np.maximum(rate, 1), _BITS_TIMES_NANO)
    return _add(np.asarray(latency_ns, dtype=np.int64), np.where(rate > 0, sending, 0))


def compute_ns(examples: ArrayLike, examples_per_s: ArrayLike) -> Nanoseconds:
    """How long training on so many examples takes, rounded up.

    Args:
        examples: gradients of single examples that are computed, e.g. steps times batch size; any shape.
        examples_per_s: the client's speed, 0 for no time at all; broadcast against ``examples``.

    Returns:
        nanoseconds, at most ``NEVER``.
    """
    speed = np.asarray(examples_per_s, dtype=np.float64)
    with np.errstate(over="ignore"):
        spent = np.ceil(np.asarray(examples, dtype=np.float64) * 1e9 / np.where(speed > 0, speed, np.inf))
    return np.minimum(spent, float(NEVER)).astype(np.int64)


def finish_times(
    links: Links, down_bytes: ArrayLike, examples: ArrayLike, up_bytes: ArrayLike
) -> Nanoseconds:
    """When each client's message is at the server, counted from the start of the broadcast.

    The three legs follow one another: the broadcast arrives, the client computes, its message arrives. The
    server's own line is not a bottleneck.

    Args:
        links: what the C clients have.
        down_bytes: length of what each client hears, ``[C]`` or one number.
        examples: what each client computes, ``[C]`` or one number.
        up_bytes: length of what each client sends, ``[C]`` or one number.

    Returns:
        ``[C]`` nanoseconds, at most ``NEVER``.
    """
    heard = transfer_ns(down_bytes, links.down_bps, links.latency_ns)
    computed = _add(heard, compute_ns(examples, links.examples_per_s))
    return _add(computed, transfer_ns(up_bytes, links.up_bps, links.latency_ns))


def _divide(value: Nanoseconds, divisor: Nanoseconds, factors: tuple[int, ...]) -> Nanoseconds:
    # Long division, one digit for each factor: value * 8e9 itself would leave 64 bits at one gigabyte.
    whole, rest = np.divmod(value, divisor)
    over = np.zeros(np.shape(whole), dtype=bool)
    for factor in factors:
        digit, rest = np.divmod(rest * factor, divisor)
        over = over | (whole >= NEVER // factor)
        whole = np.where(over, 0, whole) * factor + digit
    return np.where(over, NEVER, whole + (rest > 0))


def _add(a: Nanoseconds, b: Nanoseconds) -> Nanoseconds:
    return np.asarray(a + np.minimum(b, NEVER - a))
