"""Compressors as plain functions of (round, client, vector); each factory returns one.

Random ones draw from one generator in the order of the calls, so they are not functions of round and client.
"""

from collections.abc import Callable

import numpy as np

from .toys import Array

Compress = Callable[[int, int, Array], Array]

SERVER = -1
"""The client number under which the server compresses."""


def identity(_round: int, _client: int, x: Array) -> Array:
    """No compression."""
    return x


def top_k(k: int) -> Compress:
    """Keep the k entries of largest magnitude; on ties the lowest index. Contractive, delta = k/d."""

    def compress(_round: int, _client: int, x: Array) -> Array:
        kept = np.argsort(-np.abs(x), kind="stable")[:k]
        out = np.zeros_like(x)
        out[kept] = x[kept]
        return out

    return compress


def rand_k(k: int, seed: int, *, unbiased: bool = True) -> Compress:
    """Keep a uniform k-subset, scaled by d/k (omega = d/k - 1) or unscaled (contractive, delta = k/d)."""
    rng = np.random.default_rng(seed)

    def compress(_round: int, _client: int, x: Array) -> Array:
        kept = rng.permutation(x.size)[:k]
        out = np.zeros_like(x)
        out[kept] = x[kept] * (x.size / k if unbiased else 1.0)
        return out

    return compress


def scaled(alpha: float, compressor: Compress) -> Compress:
    """Give alpha times what `compressor` gives."""
    return lambda t, i, x: alpha * compressor(t, i, x)


def scaled_sign(_round: int, _client: int, x: Array) -> Array:
    """(|x|_1 / d) sign(x). Contractive, delta = |x|_1^2 / (d |x|_2^2)."""
    return np.abs(x).mean() * np.sign(x)


def dithering(levels: int, seed: int, norm: float = 2) -> Compress:
    """Round |x_i| levels / |x| up or down at random. Unbiased.

    Norm 2 is QSGD; norm inf with one level is TernGrad.
    """
    rng = np.random.default_rng(seed)

    def compress(_round: int, _client: int, x: Array) -> Array:
        scale = np.linalg.norm(x, norm)
        if scale == 0:
            return np.zeros_like(x)
        exact = levels * np.abs(x) / scale
        code = np.floor(exact + rng.random(x.size))
        return scale * np.sign(x) * code / levels

    return compress


def natural(seed: int) -> Compress:
    """Round |x_i| to a neighbouring power of two at random. Unbiased, omega = 1/8."""
    rng = np.random.default_rng(seed)

    def compress(_round: int, _client: int, x: Array) -> Array:
        mantissa, exponent = np.frexp(np.abs(x))
        up = rng.random(x.size) < 2 * mantissa - 1
        return np.where(x == 0, 0.0, np.sign(x) * np.ldexp(1.0, exponent - 1 + up))

    return compress
