"""Gossip at random: epidemic learning, gossip learning with ages, and training that ends with a single merging.

x [n, d] has the nodes' first models. Who hears whom is given.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .common import Gradient, local_steps
from .mixing import GossipTrace, Lost, Recorder, realised, renormalised, trained, uniform_over
from .toys import Array


class Send(NamedTuple):
    """`sender` sends one partition of its model, or all of it, to `receiver`."""

    sender: int
    receiver: int
    partition: int = 0


def epidemic(
    gradient: Gradient | None,
    x: Array,
    heard: NDArray[np.bool_],
    *,
    lr: float = 0.0,
    steps: int = 1,
    lost: Lost | None = None,
) -> GossipTrace:
    """Epidemic learning (de Vos et al. 2023): train, then average evenly with what was heard, [T, receiver, sender].

    With losses the mean is over what arrived.
    """
    W = uniform_over(heard)
    record = Recorder(x=x)
    for t in range(len(heard)):
        x = realised(W, lost, t, renormalised) @ trained(gradient, x, lr, steps)
        record.add(x=x)
    return record.trace()


def gossip_learning(
    gradient: Gradient | None,
    x: Array,
    rounds: Sequence[Sequence[Send]],
    *,
    lr: float = 0.0,
    steps: int = 1,
    merge: str = "age",
    partitions: Sequence[NDArray[np.int64]] | None = None,
    ages: Array | None = None,
    gained: float = 1.0,
) -> GossipTrace:
    """Gossip learning (Ormandi et al. 2013, Hegedus et al. 2021): whoever hears a model merges it, then trains.

    merge "age": x_i <- (a_i x_i + a_j x_j) / (a_i + a_j), evenly if both ages are 0; "avg": evenly; "none": x_j.
    Then a_i <- max(a_i, a_j), local steps, and all ages of i grow by `gained`. Ages [n, S] are kept for each of S
    partitions, lists of coordinates; only what was sent is merged. The messages of one round leave before any of it
    arrives, and arrive in the order given; rounds of a single message are asynchronous gossip.
    """
    parts = [np.arange(x.shape[1])] if partitions is None else partitions
    x, age = x.copy(), np.zeros((len(x), len(parts))) if ages is None else np.array(ages, dtype=np.float64)
    record = Recorder(x=x, age=age)
    for sends in rounds:
        sent, sent_age = x.copy(), age.copy()
        for j, i, s in sends:
            w = _weight(merge, age[i, s], sent_age[j, s])
            x[i, parts[s]] = (1 - w) * x[i, parts[s]] + w * sent[j, parts[s]]
            age[i, s] = max(age[i, s], sent_age[j, s])
            if gradient is not None:
                x[i] = local_steps(gradient, i, x[i], lr, steps)
                age[i] += gained
        record.add(x=x, age=age)
    return record.trace()


def _weight(merge: str, own: float, received: float) -> float:
    """The weight of a received model."""
    if merge == "none":
        return 1.0
    if merge == "avg" or own + received == 0:
        return 0.5
    return received / (own + received)


def single_merging(
    gradient: Gradient | None,
    x: Array,
    heard: NDArray[np.bool_],
    *,
    lr: float = 0.0,
    steps: int = 1,
    lost: Lost | None = None,
) -> tuple[GossipTrace, Array]:
    """Sparse gossip, then one merging (Zhu et al. 2026): the run, and the merged model [d], the mean of x^T.

    A round trains and then averages evenly with the peers that a node draws, [T, node, peer]: mostly none.
    """
    run = epidemic(gradient, x, heard, lr=lr, steps=steps, lost=lost)
    return run, run.last.mean(0)


def peers(
    schedule: str, progress: float, start: float, end: float, point: float = 1.0, window: float = 1.0
) -> float:
    """Expected number of peers r at progress u = t/T: from `start`, the usual r_0, to `end`, at most n - 1.

    "truncate": r_0 before `point`, then r_end; "window": r_end only in [point, point + window). From u = 1 on it is
    r_end for all but "fixed".
    """
    u = progress
    if schedule == "fixed":
        return start
    if u >= 1:
        return end
    return {
        "truncate": end if u >= point else start,
        "window": end if point <= u < point + window else start,
        "linear": start + (end - start) * u,
        "cosine": end + (start - end) * (1 + np.cos(np.pi * u)) / 2,
        "slow_decrease": end + (start - end) * np.exp(-10 * u),
        "slow_grow": start + (end - start) * np.log10(1 + 9 * u**80),
    }[schedule]


def drawn_peers(rng: np.random.Generator, nodes: int, r: float) -> NDArray[np.bool_]:
    """Each node's peers, [node, peer]: floor(r), and one more with the probability of the rest, without replacement."""
    heard = np.zeros((nodes, nodes), dtype=bool)
    for i in range(nodes):
        count = int(r) + (rng.random() < r - int(r))
        others = np.delete(np.arange(nodes), i)
        heard[i, rng.permutation(others)[:count]] = True
    return heard
