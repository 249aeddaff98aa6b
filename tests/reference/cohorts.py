"""Who takes part in a round, and whose message gets lost."""

import numpy as np
from numpy.typing import NDArray

Cohort = NDArray[np.int64]


def sampled(clients: int, size: int, rounds: int, seed: int = 7) -> list[Cohort]:
    """`size` of `clients` uniformly without replacement in each round, in sampled order."""
    rg = np.random.default_rng(seed)
    return [rg.permutation(clients)[:size] for _ in range(rounds)]


def everybody(clients: int, rounds: int) -> list[Cohort]:
    """All clients in every round, ascending."""
    return [np.arange(clients)] * rounds


def losses(clients: int, rounds: int, probability: float, seed: int) -> NDArray[np.bool_]:
    """Whether the uplink of client i is lost in round t, independently, [rounds, clients]."""
    return np.random.default_rng(seed).random((rounds, clients)) < probability


def coins(rounds: int, probability: float, seed: int) -> NDArray[np.bool_]:
    """Shared coins, one a round, [rounds]."""
    return np.random.default_rng(seed).random(rounds) < probability
