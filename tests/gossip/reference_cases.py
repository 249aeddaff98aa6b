"""What the comparisons of gossip strategies share: one trial, for the product and for its transcription."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedsparse import rng
from fedsparse.compress import Compressor
from fedsparse.engine.faults import Faults
from fedsparse.gossip import Gossip
from fedsparse.graphs import Matrices, Topology
from fedsparse.lazy import cached_property
from fedsparse.protocol import Context, Layout
from fedsparse.testing.trial import SEED, Setting, played
from fedsparse.topologies.one_peer_exponential import OnePeerExponential
from fedsparse.topologies.ring import Ring
from fedsparse.topologies.torus import Torus
from tests.reference import GossipTrace
from tests.reference.common import Gradient
from tests.reference.compressors import Compress
from tests.reference.gossip_oracle import Bowls, bowls, cloud
from tests.reference.mixing import Lost
from tests.reference.toys import Array

EXACT = 1e-12
"""Largest difference between two orders of the same float64 operations; the values are of the order of 10."""

WRONG = 1e-4
"""By which a wrong version differs at least, somewhere on its way."""

LOSSY = Faults(link_loss=0.2)
AWAY = Faults(link_loss=0.2, dropout=0.2)

Numbered = Callable[[int], tuple[int, int]]
"""Round and step of the minibatch of a client's k-th gradient."""


@dataclass(frozen=True)
class BowlProblem:
    """The reference's toy as a problem, with noise of its own in each minibatch."""

    toy: Bowls
    noise: float = 0.0
    shapes: dict[str, tuple[int, ...]] | None = None

    @property
    def clients(self) -> int:
        return len(self.toy.b)

    @property
    def start(self) -> Tensor:
        return torch.zeros(self.toy.b.shape[1], dtype=torch.float64)

    def gradient(self, ids: Tensor, x: Tensor, draw: rng.Streams) -> Tensor:
        rows = [self.toy.gradient(i, row) for i, row in zip(ids.tolist(), x.numpy(), strict=True)]
        exact = torch.from_numpy(np.stack(rows))
        return exact + self.noise * draw.normal(x.shape[1], x.dtype) if self.noise else exact


@dataclass(frozen=True)
class Trial:
    """Clients that start apart, with noise in their gradients; who hears whom; what gets lost, and who is away.

    Attributes:
        topology: the graph, with the weights of its usual rule.
        faults: drawn as the product draws them.
        rounds: T.
        problem: the clients'.
        x: their first models, ``[n, d]``.
        block: clients that the product trains together.
    """

    topology: Topology = field(default_factory=Ring)
    faults: Faults = field(default_factory=Faults)
    rounds: int = 40
    problem: BowlProblem = field(default_factory=lambda: BowlProblem(bowls(), noise=0.5))
    x: Array = field(default_factory=cloud)
    block: int = 16

    def of(self, strategy: Gossip) -> dict[str, Array]:
        """All states of all clients of the product, before the first round and after each, ``[T + 1, n, ...]``."""
        setting = Setting(
            rounds=self.rounds,
            block=self.block,
            faults=self.faults,
            topology=self.topology,
            starts=lambda client: torch.from_numpy(self.x[client]),
        )
        shots = played(strategy, self.problem, setting).shots
        names = [name.removeprefix("client.") for name in shots[-1] if name.startswith("client.")]
        return {name: np.stack([self._filled(name, shot) for shot in shots]) for name in names}

    def _filled(self, name: str, shot: dict[str, Array]) -> Array:
        """A state of all clients: who has taken part in nothing yet has its first model (in push-sum with weight 1)."""
        known, rows = shot["clients"], shot[f"client.{name}"]
        out = np.array(self.x) if name in {"x", "s"} else np.zeros((len(self.x), *rows.shape[1:]))
        if name == "w":
            out += 1
        out[known] = rows
        return out

    @cached_property
    def W(self) -> Array:  # noqa: N802 - the papers' symbol
        """The weights of the graph ``[n, n]``, or those of each round ``[T, n, n]``."""
        matrices = Matrices(self.topology, len(self.x), seed=SEED)
        if matrices.period == 1:
            return matrices.at(0).toarray()
        return np.stack([matrices.at(t).toarray() for t in range(self.rounds)])

    @cached_property
    def away(self) -> NDArray[np.bool_]:
        """Who is away in each round, ``[T, n]``."""
        clients = np.arange(len(self.x))
        return np.stack([self.faults.absent(SEED, t, clients) for t in range(self.rounds)])

    def lost(self, *phases: str) -> Lost:
        """The losses of each exchange ``[T * phases, receiver, sender]``; who is away neither hears nor is heard."""
        drawn = _lost(self.faults, self.rounds, len(self.x), phases or ("train",))
        away = self.away.repeat(len(phases) or 1, 0)
        return drawn | away[:, None] | away[:, :, None]

    def gradient(self, steps: int = 1, numbered: Numbered | None = None) -> Gradient:
        """The gradients that the product's clients see; who is away has none.

        A client's calls are counted, since the transcription does not name round and step: there are ``steps`` a
        round, unless ``numbered`` tells which one is which.
        """
        calls = dict.fromkeys(range(len(self.x)), 0)
        number = numbered or (lambda k: divmod(k, steps))

        def gradient(client: int, x: Array) -> Array:
            t, step = number(calls[client])
            calls[client] += 1
            if t < self.rounds and self.away[t, client]:
                return np.zeros_like(x)
            exact = self.problem.toy.gradient(client, x)
            return (
                exact + self.problem.noise * _noise(t, step, client, x.size) if self.problem.noise else exact
            )

        return gradient


@cache
def _lost(faults: Faults, rounds: int, clients: int, phases: tuple[str, ...]) -> Lost:
    """What is lost of all that could be sent, ``[T * phases, receiver, sender]``."""
    receivers, senders = np.divmod(np.arange(clients * clients), clients)
    found = [
        faults.lost_links(SEED, t, phase, senders, receivers, clients)
        for t in range(rounds)
        for phase in phases
    ]
    return np.stack(found).reshape(-1, clients, clients)


@cache
def _noise(t: int, step: int, client: int, size: int) -> Array:
    """What the product draws for a minibatch; the same in all trials."""
    return rng.stream(SEED, f"batches:{step}", t, client).standard_normal(size)


def drawn(compressor: Compressor, phase: str = "train", stream: str = "uplink") -> Compress:
    """The product's compressor as the reference calls it, with what each client draws in a trial."""

    def compress(t: int, i: int, x: Array) -> Array:
        ctx = Context(SEED, t, phase, torch.tensor([i]), 1, 1, Layout.of({"x": (x.size,)}))
        return compressor.compress(torch.from_numpy(x)[None], ctx, stream).dense()[0].numpy()

    return compress


def apart(ours: dict[str, Array], theirs: GossipTrace, **named: str) -> float:
    """The largest difference of any client's model in any round, and of states that are named: ours=theirs."""
    pairs = [(ours["x"], theirs.x), *((ours[name], theirs.states[other]) for name, other in named.items())]
    return max(float(np.abs(one - other).max()) for one, other in pairs)


class Directed(Topology):
    """Eight clients, of whom most hear others than those who hear them."""

    rule = "push_sum"

    def graph(self, clients: int, seed: int = 0, t: int = 0) -> nx.Graph:
        """A random graph of eight, whatever the seed; ``clients`` must be 8."""
        del seed, t
        return nx.gnp_random_graph(clients, 0.35, seed=4, directed=True)


def eight(topology: Topology, faults: Faults | None = None) -> Trial:
    """A trial of eight of the clients."""
    toy = bowls()
    return Trial(
        topology, faults or Faults(), problem=BowlProblem(Bowls(toy.a[:8], toy.b[:8]), noise=0.5), x=cloud(8)
    )


TRIALS = {
    "ring": Trial(Ring()),
    "ring-lossy": Trial(Ring(), LOSSY),
    "torus": Trial(Torus()),
    "torus-lossy": Trial(Torus(), LOSSY, block=9),
    "one-peer": Trial(OnePeerExponential()),
    "one-peer-away": Trial(OnePeerExponential(), AWAY),
}
"""Graphs and faults that any method with a doubly stochastic W must bear."""

QUICK = {"ring", "torus-lossy", "one-peer-away"}
"""Those that the default suite has; the others are slow tests."""

STATIC = ("ring", "ring-lossy", "torus", "torus-lossy")


def over(*names: str, trials: Mapping[str, Trial] = TRIALS, quick: Collection[str] = QUICK) -> Any:
    """A test's argument ``trial``: the trials that are named, or all of them; slow unless they are quick."""
    return pytest.mark.parametrize(
        "trial",
        [
            pytest.param(trials[name], id=name, marks=() if name in quick else pytest.mark.slow)
            for name in names or trials
        ],
    )
