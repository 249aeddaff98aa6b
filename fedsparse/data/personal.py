"""Every client's own test part: examples of its own that it does not train on, for personal evaluation."""

from __future__ import annotations

import numpy as np

from fedsparse.data.holdings import Partition, Positions, Stored, compact
from fedsparse.rng import stream

__all__ = ["set_aside"]


def set_aside(held: Partition, share: float, seed: int) -> tuple[Stored, Stored]:
    """Who trains on what, and who tests on what.

    Args:
        held: the examples of each client.
        share: of its examples that a client tests on, in (0, 1), rounded to the nearest number; it trains on at least
            one where it has any.
        seed: the run's seed, which keys the draw, client by client.
    """
    kept, taken = [], []
    for client in range(held.clients):
        own = held.examples(client)
        wanted = min(round(share * len(own)), max(0, len(own) - 1))
        order = stream(seed, "personal", 0, client).permutation(len(own))
        taken.append(np.sort(own[order[:wanted]]))
        kept.append(np.sort(own[order[wanted:]]))
    return _stored(kept), _stored(taken)


def _stored(parts: list[np.ndarray]) -> Stored:
    offsets = np.concatenate(([0], np.cumsum([len(part) for part in parts]))).astype(np.int64)
    every = np.concatenate([np.zeros(0, dtype=np.int64), *parts])
    indices: Positions = compact(every, int(every.max(initial=0)) + 1)
    return Stored(indices, offsets)
