"""Label skew by a Dirichlet distribution, the usual measure of heterogeneity.

For each class the shares of the clients are drawn from Dir(alpha, ..., alpha): a small alpha gives a class to
few clients, a large one to all alike. Clients differ in their labels and in how much they hold.

Source: M. Yurochkin et al., "Bayesian Nonparametric Federated Learning of Neural Networks", ICML 2019. (T.
Hsu et al., arXiv:1909.06335, draw labels per client instead and give all clients equally many examples: see
``bootstrap``.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedsparse.data.checks import whole, within
from fedsparse.data.dataset import Dataset
from fedsparse.data.partitions._common import labels_of, level_up, require_clients, rng_of
from fedsparse.data.split import apportion

__all__ = ["divide"]


def divide(
    dataset: Dataset, clients: int, seed: int, *, alpha: float = 0.3, minimum: int = 1
) -> NDArray[np.int64]:
    """Divide each class by its own draw of shares.

    Args:
        dataset: what is divided; one label for each example.
        clients: the number of clients.
        seed: the run's seed.
        alpha: concentration, above 0.
        minimum: examples that every client has at least; the missing ones come from the largest clients, see
            :func:`~fedsparse.data.partitions._common.level_up`. (Others draw again until it holds, which may
            never end.)
    """
    within("alpha", alpha, 0, open_low=True)
    whole("minimum", minimum, 0)
    require_clients(dataset, clients, max(minimum, 1))
    labels, rng = labels_of(dataset, "dirichlet"), rng_of(seed)
    owner = np.empty(len(labels), dtype=np.int64)
    for label in range(dataset.classes):
        members = rng.permutation(np.flatnonzero(labels == label))
        shares = rng.dirichlet(np.full(clients, alpha))
        owner[members] = np.repeat(np.arange(clients), apportion(len(members), shares))
    return level_up(owner, clients, minimum, rng)
