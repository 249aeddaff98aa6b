"""Clocks without a server: every client waits for its own neighbours only."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from engine_cases import gossip, idle, line

from fedsparse.engine.gossip.clock import Clock
from fedsparse.engine.gossip.edges import Edges
from fedsparse.graphs import Matrices
from fedsparse.network import Network
from fedsparse.protocol import Context, Message, State, Task
from fedsparse.strategies.dpsgd import DPSGD
from fedsparse.topologies.path import Path as Line
from fedsparse.topologies.ring import Ring


def test_nobody_waits_for_more_than_its_neighbours() -> None:
    """One slow client on a path: after one exchange its neighbour is late, after two also the next one."""
    network = Network(profile="constant", up=0, down=0, latency=0, speed=1.0)  # a second for each example
    clock = Clock(SimpleNamespace(network=network, seed=0), 4)  # type: ignore[arg-type]
    edges = Edges.of(Matrices(Line(), 4).weights(0))
    everyone, nothing = np.arange(4), np.zeros(len(edges), dtype=np.int64)
    seen = []
    for number in range(2):
        clock.work(everyone, np.array([7, 1, 1, 1]), number)
        clock.exchange(everyone, edges, np.ones(len(edges), dtype=bool), nothing, number)
        seen.append((clock.at / 1e9).tolist())
    assert seen == [[7, 7, 1, 1], [14, 14, 8, 2]]


def test_nobody_waits_for_a_message_that_is_lost() -> None:
    network = Network(profile="constant", up=0, down=0, latency=0, speed=1.0)
    clock = Clock(SimpleNamespace(network=network, seed=0), 3)  # type: ignore[arg-type]
    edges = Edges.of(Matrices(Line(), 3).weights(0))
    arrived = edges.senders != 0
    clock.work(np.arange(3), np.array([7, 1, 1]), 0)
    clock.exchange(np.arange(3), edges, arrived, np.zeros(len(edges), dtype=np.int64), 0)
    assert (clock.at / 1e9).tolist() == [7, 1, 1]


def test_messages_take_the_time_of_both_lines() -> None:
    d = 10
    network = Network(profile="constant", up=1.0, down=2.0, latency=5.0, speed=0)
    record = gossip(DPSGD(), idle(3, d), Ring(), 1, network=network).history[0]
    each = (record.traffic["up_payload_bytes"] + record.traffic["up_header_bytes"]) // 6
    expected = 5e-3 + 2 * each * 8 / 1e6 + 2 * each * 8 / 2e6  # two messages out, two in
    assert record.virtual_s == pytest.approx(expected, abs=2e-9)


def test_a_phase_without_messages_takes_only_the_time_of_computing() -> None:
    @dataclass(frozen=True)
    class Alone(DPSGD):
        """Trains, and says nothing."""

        def client_update(
            self, client: State, heard: State, task: Task, ctx: Context
        ) -> tuple[State, Message]:
            return {"x": task.sgd(client["x"], lr=0.1, steps=3).x}, {}

    network = Network(profile="constant", up=1.0, down=1.0, latency=5.0, speed=2.0)
    record = gossip(Alone(), line(4), Ring(), 1, network=network).history[0]
    assert record.virtual_s == 1.5
    assert record.traffic["up_messages"] == 0
    assert record.gradient_calls == 12
