"""What a strategy says of itself: what it sends, where it ends, and which step size its theory gives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "CompressorClass",
    "Delivery",
    "Facts",
    "FromTheory",
    "Limit",
    "Participation",
    "ProblemClass",
    "Stochastic",
    "Theory",
    "Vectors",
]

ProblemClass = Literal["minimisation", "operators"]
"""Losses to be minimised; or monotone operators of which a zero is sought (saddle points, variational inequalities)."""

CompressorClass = Literal["any", "unbiased", "contractive", "either"]
"""The compressors that theory allows; ``"either"`` of unbiased and contractive ones."""

Participation = Literal["partial", "full"]
"""Whether a cohort may be a part of the clients, or theory needs all of them in every round."""

Limit = Literal["optimum", "fixed_point", "neighbourhood"]

Delivery = Literal["latest", "shared", "kept", "queued"]
"""What becomes of the weight of a message that a neighbour did not get: it goes to the receiver's own message
(``latest``), to all that it has (``shared``), or to the sender's own message (``kept``); or the message arrives later,
together with the next one that does (``queued``)."""

Stochastic = Literal["doubly", "row", "column"]
"""What sums to one in a mixing matrix, whose rows are receivers: rows and columns, which keeps the mean; rows alone;
columns alone, which needs push-sum."""


@dataclass(frozen=True)
class Vectors:
    """What goes between the server and one client in one exchange, in vectors of d values.

    Without a server ``up`` is what a client sends to each of its neighbours, and nothing comes ``down``. Short messages
    beside vectors (coins, votes of a few numbers) are not declared.

    Attributes:
        down: vectors that the server sends uncompressed.
        up: vectors that the client sends uncompressed; not a whole number where a part of one is sent.
        down_compressed: vectors that go through a compressor of the strategy. What ``downlink`` does to broadcasts of
            any strategy is not its own and not said here.
        up_compressed: vectors that go through ``uplink``, or that the strategy itself makes shorter.
        probability: of the exchange in a round; below 1 for synchronisations at random times, or in some of the rounds.
        round: only in this round, from 0 (-1: the last), in which there is nothing but exchanges for this round.
        everyone: not to each neighbour, but by an all-reduce, in which each of n clients sends 2 (n-1)/n times as much.
    """

    down: float = 0
    up: float = 0
    down_compressed: float = 0
    up_compressed: float = 0
    probability: float = 1.0
    round: int | None = None
    everyone: bool = False


@dataclass(frozen=True)
class Theory:
    """What a strategy promises on a problem whose clients differ, and the trial that measures it.

    Attributes:
        limit: ``"optimum"``: reaches the minimiser of the mean of the clients' losses (the zero of the mean operator).
            ``"fixed_point"``: reaches the closed-form fixed point of local gradient descent with averaging.
            ``"neighbourhood"``: stalls at a distance.
        settings: hyper-parameters of the trial.
        rounds: length of the trial.
        within: relative distance that must be reached (``optimum``, ``fixed_point``), or stayed above
            (``neighbourhood``).
        cohort: clients a round of the ten; all of them unless said.
        problem: strongly convex quadratics, or a strongly monotone saddle problem.
        rate: ``"linear"``: the distance shrinks by a constant factor a round until the limit; ``"sublinear"``: by less
            and less. Not said, not tested.
    """

    limit: Limit
    settings: Mapping[str, Any] = field(default_factory=dict)
    rounds: int = 300
    within: float = 1e-6
    cohort: int | None = None
    problem: Literal["quadratic", "saddle"] = "quadratic"
    rate: Literal["linear", "sublinear"] | None = None


@dataclass(frozen=True)
class FromTheory:
    """In place of the number ``lr``: it follows from theory once the problem is known. Typed as ``theory``."""

    def __str__(self) -> str:
        return "theory"


@dataclass(frozen=True)
class Facts:
    """What a step size from theory may depend on. F_i is a client's gradient (or operator), F their mean.

    Attributes:
        mu: strong convexity or strong monotonicity of F.
        L: Lipschitz constant of F.
        L_max: largest Lipschitz constant of an F_i.
        L_rms: root of the mean of their squares.
        size: d.
        clients: N.
        cohort: clients of a round, S.
        omega: of the uplink, if unbiased: E||C(x) - x||^2 <= omega ||x||^2; infinite if not; 0 without compression.
        delta: of the uplink, if contractive: E||C(x) - x||^2 <= (1 - delta) ||x||^2; 0 if not; 1 without compression.
    """

    mu: float
    L: float
    L_max: float
    L_rms: float
    size: int
    clients: int
    cohort: int
    omega: float = 0.0
    delta: float = 1.0

    @property
    def full(self) -> bool:
        """Whether all clients take part."""
        return self.cohort == self.clients

    @property
    def exact(self) -> bool:
        """Whether messages are not compressed."""
        return self.omega == 0.0 or self.delta == 1.0

    @property
    def damping(self) -> float:
        """1 / (1 + omega): the share of an unbiased message that a memory takes."""
        return 1 / (1 + self.omega)

    @property
    def xi(self) -> float:
        """sqrt(b / θ) of EF21, with θ = 1 - sqrt(1 - delta) and b = (1 - delta) / θ; infinite for delta = 0."""
        theta = 1 - math.sqrt(1 - self.delta)
        return math.sqrt(1 - self.delta) / theta if theta > 0 else math.inf
