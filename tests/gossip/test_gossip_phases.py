"""Gossip in several phases, some of them silent; an all-reduce on a slow network; what a strategy may not do."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from engine_cases import gaussian, gossip, idle, line, rows
from torch import nn

from fedsparse import config
from fedsparse.cohort.examples import Examples
from fedsparse.data.holdings import Stored
from fedsparse.engine.faults import Faults
from fedsparse.engine.gossip.inbox import picked
from fedsparse.errors import ConfigError, ProtocolError
from fedsparse.gossip import Delivery, Gossip, Neighbours
from fedsparse.message import Dense, Payload, Scalars, SeededSparse
from fedsparse.network import Network
from fedsparse.protocol import Context, Message, Role, Start, State, Task
from fedsparse.simulation import simulate
from fedsparse.strategies.allreduce import AllReduce
from fedsparse.strategies.dpsgd import DPSGD
from fedsparse.topologies.ring import Ring


@dataclass(frozen=True)
class Two(Gossip):
    """Two phases, each with a queued message of a name of its own, and the sums of what was mixed."""

    delivery: ClassVar[Mapping[str, Delivery]] = {"a": "queued", "b": "queued"}

    def phases(self, ctx: Context) -> tuple[str, ...]:
        return ("a", "b")

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        zero = torch.zeros_like(start.x)[None]
        return {"x": start.x[None], "a": zero, "b": zero}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        return client, {ctx.phase: Dense(client["x"])}

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        return {**client, ctx.phase: client[ctx.phase] + inbox.mix(ctx.phase)}


def test_what_is_owed_of_one_name_waits_through_phases_of_other_names() -> None:
    """Of 30 messages on a link all have arrived but those lost since the last that did: less than 2 on average."""
    x, rounds = np.ones((6, 4)), 30
    run = gossip(Two(), idle(6, 4), Ring(), rounds, x, faults=Faults(link_loss=0.4), block=4)
    for name in ("a", "b"):
        assert rows(run, name).mean() > rounds - 2  # two out of five would be missing for ever


@dataclass(frozen=True)
class Telling(DPSGD):
    """Says nothing to neighbours, and records a number."""

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        new, _ = super().client_update(client, heard, task, ctx)
        return new, {"@size": Scalars(new["x"].double().norm(dim=1, keepdim=True))}


def digits(clients: int = 4) -> Examples:
    draw = np.random.default_rng(0)
    x, y = draw.standard_normal((8 * clients, 6)).astype(np.float32), draw.integers(0, 3, 8 * clients)
    return Examples(x, y, x[:8], y[:8], Stored(np.arange(len(x)), np.arange(clients + 1) * 8))


def test_numbers_to_record_do_not_make_statistics_travel() -> None:
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
    run = simulate(Telling(), examples=digits(), model=model, topology=Ring(), rounds=2)
    assert run.history[-1].traffic_total["up_messages"] == 0
    assert run.history[-1].scalars["size"] > 0
    assert len(np.unique(rows(run, "buffers")[:, 0])) == 4  # each has the statistics of its own examples


def test_statistics_are_mixed_with_the_models() -> None:
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
    mixed, alone = (
        simulate(s, examples=digits(), model=model, topology=Ring(), rounds=1) for s in (DPSGD(), Telling())
    )
    W = (np.eye(4) + np.roll(np.eye(4), 1, 0) + np.roll(np.eye(4), -1, 0)) / 3
    np.testing.assert_allclose(rows(mixed, "buffers"), W @ rows(alone, "buffers"), rtol=0, atol=1e-6)


def test_an_all_reduce_takes_a_delay_for_each_of_its_steps_once_the_last_is_ready() -> None:
    n = 5
    network = Network(profile="constant", up=1.0, down=1.0, latency=5.0, speed=2.0)
    record = gossip(AllReduce(), line(n), Ring(), 1, network=network).history[0]
    each = (record.traffic["up_payload_bytes"] + record.traffic["up_header_bytes"]) / n
    assert record.virtual_s == pytest.approx(0.5 + 2 * (n - 1) * 5e-3 + each * 8 / 1e6, abs=2e-9)


def test_mixing_may_not_write_to_the_state_that_it_was_given() -> None:
    class Writing(DPSGD):
        """Mixes in place."""

        def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
            client["x"].copy_(inbox.mix("x"))
            return client

    with pytest.raises(ProtocolError, match="Writing: aggregate writes to its argument, the state 'x'"):
        gossip(Writing(), idle(4, 3), Ring(), 1, gaussian(4, 3))


def test_clients_of_gossip_are_not_tested_on_examples_of_their_own() -> None:
    with pytest.raises(ConfigError, match=r"personal=0.2: in gossip .* common test examples; leave it out"):
        config.parse(["strategy=dpsgd", "topology=ring", "personal=0.2"])


def test_a_block_decodes_only_what_its_clients_hear() -> None:
    x = torch.from_numpy(gaussian(8, 6))
    batches = slice(0, 3), slice(3, 6), slice(6, 8)
    coded: list[Payload] = [SeededSparse(torch.arange(8)[at], x[at, :2], 6) for at in batches]
    dense: list[Payload] = [Dense(x[at]) for at in batches]
    used = np.array([4, 1, 0, 4])
    for parts, many in ((coded, 3), (dense, 6)):  # dense ones are not copied, but whole batches may go
        kept, places = picked(parts, used)
        assert sum(part.rows for part in kept) == many
        whole = torch.cat([part.dense() for part in parts])
        torch.testing.assert_close(torch.cat([part.dense() for part in kept])[places[used]], whole[used])
    assert picked(dense, used)[0][0] is dense[0]
