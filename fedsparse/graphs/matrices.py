"""The mixing matrices of a run."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
import numpy as np
from scipy.sparse import csr_array

from fedsparse import registry
from fedsparse.errors import ConfigError
from fedsparse.graphs.base import Topology
from fedsparse.graphs.links import Links, links_of
from fedsparse.graphs.rule import Mixing, with_diagonal
from fedsparse.lazy import cached_property

__all__ = ["Matrices"]


@dataclass(frozen=True)
class Matrices:
    """W of every exchange.

    Attributes:
        topology: who sends to whom.
        clients: n, two or more.
        mixing: the rule; ``None``: the weights that the graph brings, and if it brings none the topology's usual rule.
            A rule that is given takes the place of the graph's own weights.
        seed: the run's seed.
        steps: exchanges of a round; exchange ``step`` of a round is number ``round * steps + step`` of the run.

    Raises:
        ConfigError: the topology is that of a server, or there are fewer than two clients.
    """

    topology: Topology
    clients: int
    mixing: Mixing | None = None
    seed: int = 0
    steps: int = 1

    def __post_init__(self) -> None:
        if self.topology.server:
            self.topology.refuse(
                "its clients talk to a server, and not to each other; the star whose centre is a client is topology=hub"
            )
        if self.clients < 2:
            self.topology.refuse(f"gossip needs two clients or more, not {self.clients}")

    @cached_property
    def period(self) -> int | None:
        """After how many exchanges W repeats; 1: it never changes; ``None``: it never repeats."""
        return self.topology.period(self.clients)

    def weights(self, round: int, step: int = 0) -> csr_array:  # noqa: A002 - a round is a round
        """W of an exchange of a round, ``[n, n]`` float64; row = receiver. Not to be changed."""
        return self.at(round * self.steps + step)

    def at(self, t: int) -> csr_array:
        """W of exchange t of the run, as :meth:`weights`."""
        if self.period is None:
            return self._made(t)
        t %= self.period
        if t not in self._kept:
            self._kept[t] = self._made(t)
        return self._kept[t]

    def graph(self, t: int) -> nx.Graph:
        """The topology's graph of exchange t."""
        return self.topology.graph(self.clients, self.seed, t)

    @cached_property
    def rule(self) -> Mixing | None:
        """The rule that makes the weights, as the first exchange has it; ``None``: the graph brings them."""
        return self._rule_for(self._links(0))

    @property
    def name(self) -> str:
        """For messages: the topology, and the rule that was chosen."""
        chosen = "" if self.mixing is None else f" mixing={self.mixing.name}"
        return f"topology={self.topology.name}{chosen}"

    @cached_property
    def _last(self) -> dict[int, Links]:
        return {}

    @cached_property
    def _kept(self) -> dict[int, csr_array]:
        return {}

    def _made(self, t: int) -> csr_array:
        links = self._links(t)
        rule = self._rule_for(links)
        return _own(links) if rule is None else _ruled(rule, links)

    def _links(self, t: int) -> Links:
        # The last one is kept: whoever asks for the rule mostly asks for the weights as well.
        if t not in self._last:
            self._last.clear()
            self._last[t] = links_of(self.graph(t), self.clients, f"topology={self.topology.name}")
        return self._last[t]

    def _rule_for(self, links: Links) -> Mixing | None:
        if self.mixing is not None or links.weighted:
            return self.mixing
        made: Mixing = registry.mixings.get(self.topology.rule)()
        return made


def _own(links: Links) -> csr_array:
    sums = np.asarray(links.matrix.sum(axis=1)).ravel()
    worst = int(sums.argmax())
    if sums[worst] > 1 + 1e-9:
        raise ConfigError(
            f"{links.name}: client {worst} gives its neighbours weights that sum to {sums[worst]:.6g}; at most 1 is "
            "there to give"
        )
    return with_diagonal(links.matrix)


def _ruled(rule: Mixing, links: Links) -> csr_array:
    lonely = None if rule.directed else links.one_way
    if lonely is not None:
        raise ConfigError(
            f"{links.name}: client {lonely[0]} sends to {lonely[1]} and hears nothing from it, but "
            f"mixing={rule.name} needs links that go both ways; choose mixing=push_sum or "
            "mixing=uniform"
        )
    return rule.weights(links.ones)
