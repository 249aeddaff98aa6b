"""FedPAQ: federated averaging whose clients send their changes quantised without bias."""

from __future__ import annotations

from dataclasses import dataclass

from fedsparse.compress import QSGD, Compressor
from fedsparse.options import option
from fedsparse.protocol import Theory
from fedsparse.strategies.fedavg import FedAvg


@dataclass(frozen=True)
class FedPAQ(FedAvg):
    """FedPAQ (Reisizadeh, Mokhtari, Hassani, Jadbabaie, Pedarsani, AISTATS 2020, arXiv:1909.13014).

    The rule is FedAvg's, with K = ``steps``, η = ``lr``, an unbiased Q = ``uplink``, S clients a round::

        client:   y_i = x;   K times:  y_i <- y_i - η g_i(y_i);   send Q(y_i - x)
        server:   x <- x + (1/S) sum_S Q(y_i - x)

    Sent: down x (d values); up one compressed vector. Clients keep no state.
    Limit: a distance. Where clients differ their changes do not vanish, and neither does the noise of Q. The paper lets
    η shrink; here ``lr`` is constant unless it is given as a schedule, such as ``invsqrt(0.2,10)``. With
    ``uplink=identity`` it is FedAvg.

    Departures: a step of the server other than 1, momentum and the like are FedAvg's and not in the paper.
    """

    theory = Theory("neighbourhood", {"lr": 0.02, "steps": 5}, rounds=300, within=1e-2)

    weighting: str = option("one", "weights p_i of the clients in the mean", choices=("examples", "one"))
    uplink: Compressor = QSGD(16)
