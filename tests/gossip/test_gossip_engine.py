"""Rounds without a server: bytes, time, who is away, what is evaluated, what is refused."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from engine_cases import Quadratics, gaussian, gossip, idle, line, rows

from fedsparse import config, experiment
from fedsparse.archive import read, write
from fedsparse.compress import TopK
from fedsparse.engine.faults import Faults
from fedsparse.engine.gossip.clock import Clock
from fedsparse.engine.gossip.edges import Edges
from fedsparse.errors import ConfigError, Diverged, ProtocolError
from fedsparse.gossip import Gossip, Neighbours
from fedsparse.graphs import Matrices
from fedsparse.message import Dense
from fedsparse.network import Network
from fedsparse.protocol import Audience, Context, Message, Role, Start, State, Task
from fedsparse.strategies.allreduce import AllReduce
from fedsparse.strategies.choco import Choco
from fedsparse.strategies.dpsgd import DPSGD
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.testing.trial import Setting, difference, opened, snapshot
from fedsparse.topologies.complete import Complete
from fedsparse.topologies.hub import Hub
from fedsparse.topologies.one_peer_exponential import OnePeerExponential
from fedsparse.topologies.path import Path as Line
from fedsparse.topologies.ring import Ring
from fedsparse.topologies.star import Star

QUIET = Network(profile="none")


# ---- bytes


def test_a_message_is_charged_on_every_link_and_by_radio_once() -> None:
    n, d = 6, 10
    found = gossip(DPSGD(), idle(n, d), Hub(), 1).history[0].traffic
    each = Dense(torch.zeros(1, d, dtype=torch.float64)).nbytes().item()
    links = 2 * (n - 1)  # of a star, in both directions
    assert found["up_messages"] == links
    assert found["up_payload_bytes"] == links * each
    assert found["radio_messages"] == n
    assert found["radio_payload_bytes"] == n * each
    assert found["down_messages"] == found["down_payload_bytes"] == 0


def test_an_all_reduce_is_charged_two_times_n_minus_one_nths_of_a_message() -> None:
    n, d = 5, 100
    found = gossip(AllReduce(), idle(n, d), Complete(), 1).history[0].traffic
    each = Dense(torch.zeros(1, d, dtype=torch.float64)).nbytes().item()
    assert found["up_payload_bytes"] == n * math.ceil(2 * (n - 1) * each / n)
    assert found["up_dense_bytes"] == n * math.ceil(2 * (n - 1) * 8 * d / n)


def test_all_reduce_gives_everybody_the_mean() -> None:
    x = gaussian(7, 3)
    found = rows(gossip(AllReduce(), idle(7, 3), Ring(), 1, x, block=2))
    np.testing.assert_allclose(found, np.tile(x.mean(0), (7, 1)), rtol=0, atol=1e-15)


def test_lost_messages_are_paid_for_and_counted() -> None:
    record = gossip(DPSGD(), idle(8, 4), Ring(), 1, faults=Faults(link_loss=1.0)).history[0]
    assert record.traffic["up_messages"] == record.traffic["up_lost"] == 16


def test_nothing_is_sent_to_or_by_clients_that_are_away() -> None:
    faults = Faults(dropout=0.5)
    record = gossip(DPSGD(), idle(8, 4), Complete(), 1, faults=faults).history[0]
    there = 8 - record.absent
    assert 1 < there < 8
    assert record.traffic["up_messages"] == there * (there - 1)


# ---- losses


def test_a_symmetric_loss_keeps_the_mean_and_a_one_way_loss_does_not() -> None:
    x = gaussian(10, 5)
    both, one = (
        rows(gossip(DPSGD(), idle(10, 5), Ring(), 20, x, faults=Faults(link_loss=0.4, symmetric=s)))
        for s in (True, False)
    )
    np.testing.assert_allclose(both.mean(0), x.mean(0), rtol=0, atol=1e-14)
    assert abs(one.mean(0) - x.mean(0)).max() > 1e-3


def test_clients_that_are_away_keep_the_mean_too() -> None:
    x = gaussian(10, 5)
    found = rows(gossip(DPSGD(), idle(10, 5), Ring(), 20, x, faults=Faults(dropout=0.3)))
    np.testing.assert_allclose(found.mean(0), x.mean(0), rtol=0, atol=1e-14)


def test_queued_messages_arrive_later_and_the_mean_is_kept() -> None:
    x = gaussian(8, 20)
    strategy = Choco(steps=0, gamma=0.1, uplink=TopK(0.1))
    found = rows(gossip(strategy, idle(8, 20), Ring(), 300, x, faults=Faults(link_loss=0.3)))
    np.testing.assert_allclose(found.mean(0), x.mean(0), rtol=0, atol=1e-14)
    assert np.square(found - x.mean(0)).sum() < 1e-2 * np.square(x - x.mean(0)).sum()


def test_clients_that_come_and_go_agree_too_if_on_another_value() -> None:
    """A client that is away takes no step towards the others, though they take theirs towards it."""
    x = gaussian(8, 20)
    strategy, faults = Choco(steps=0, gamma=0.1, uplink=TopK(0.1)), Faults(dropout=0.2, link_loss=0.2)
    found = rows(gossip(strategy, idle(8, 20), Ring(), 300, x, faults=faults))
    assert np.square(found - found.mean(0)).sum() < 1e-2 * np.square(x - x.mean(0)).sum()
    assert 1e-3 < abs(found.mean(0) - x.mean(0)).max() < 0.3


def test_what_is_queued_is_paid_for_again() -> None:
    x = gaussian(8, 20)
    strategy = Choco(steps=0, gamma=0.1, uplink=TopK(0.1))
    plain, lossy = (
        gossip(strategy, idle(8, 20), Ring(), 200, x, faults=Faults(link_loss=share))
        .history[-1]
        .traffic_total
        for share in (0.0, 0.2)
    )
    # Of each message 1 + 0.2 + 0.2^2 + ... = 1.25 copies are sent, about.
    assert 1.2 < lossy["up_payload_bytes"] / plain["up_payload_bytes"] < 1.3
    assert plain["up_messages"] == lossy["up_messages"]


def test_a_run_that_owes_messages_is_resumed_to_the_same_bits(tmp_path) -> None:
    setting = Setting(rounds=5, faults=Faults(link_loss=0.5, dropout=0.2))
    strategy, problem = (
        Choco(steps=1, gamma=0.1, uplink=TopK(0.3)),
        Quadratics(gaussian(6, 7) ** 2, gaussian(6, 7)),
    )
    with opened(strategy, problem, setting) as session:
        shots = [snapshot(session.engine)]
        for number in range(setting.rounds):
            session.engine.round(number)
            shots.append(snapshot(session.engine))
    assert len(shots[3]["backlog.q.links"]) > 0
    write(tmp_path / "it", {}, shots[3])
    with opened(replace(strategy), problem, setting) as session:
        session.engine.restore(read(tmp_path / "it")[1])
        for number in (3, 4):
            session.engine.round(number)
        assert difference(shots[-1], snapshot(session.engine)) == ""


# ---- one client's message is not finite


@dataclass(frozen=True)
class Poisoned(DPSGD):
    """Client 2 has a model that is not a number, from round 1 on."""

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        new, _ = super().client_update(client, heard, task, ctx)
        bad = (ctx.ids == 2) & (ctx.round >= 1)
        x = torch.where(bad[:, None], torch.nan, new["x"])
        return {"x": x}, {"x": Dense(x)}


def test_a_client_without_finite_numbers_is_not_heard_and_keeps_what_it_had() -> None:
    x = gaussian(5, 3)
    run = gossip(Poisoned(), idle(5, 3), Complete(), 3, x, block=2)
    found = rows(run)
    np.testing.assert_allclose(found, np.tile(x.mean(0), (5, 1)), rtol=0, atol=1e-14)
    assert [record.rejected for record in run.history] == [{}, {"not finite": 1}, {"not finite": 1}]


def test_a_run_in_which_nobody_is_finite_has_diverged() -> None:
    with pytest.raises(Diverged, match="all 4 messages of round 1 are not finite"):
        gossip(DPSGD(), Quadratics(np.full((4, 2), np.inf), gaussian(4, 2)), Ring(), 2)


# ---- time


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


# ---- evaluation


def test_metrics_are_those_of_the_clients_and_of_the_mean_model() -> None:
    x = gaussian(6, 3)
    problem = Quadratics(np.ones((6, 3)), np.zeros((6, 3)))
    found = (
        gossip(DPSGD(lr=1e-12), problem, Complete(), 1, x, faults=Faults(link_loss=1.0)).history[-1].metrics
    )
    own = np.linalg.norm(x, axis=1)
    assert found["distance"] == pytest.approx(own.mean(), rel=1e-9)
    assert found["distance_std"] == pytest.approx(own.std(), rel=1e-9)
    assert found["distance_worst"] == pytest.approx(own.max(), rel=1e-9)
    assert found["distance_of_average"] == pytest.approx(np.linalg.norm(x.mean(0)), rel=1e-9)
    assert found["consensus"] == pytest.approx(math.sqrt(np.square(x - x.mean(0)).sum() / 6), rel=1e-9)


def test_evaluating_changes_nothing_of_the_run() -> None:
    x = gaussian(6, 3)
    often, once = (
        rows(gossip(DPSGD(), line(6), Ring(), 9, x[:, :1], evaluate_every=every)) for every in (1, 9)
    )
    np.testing.assert_array_equal(often, once)


def test_the_result_has_the_mean_model_and_all_clients() -> None:
    x = gaussian(6, 3)
    run = gossip(DPSGD(), idle(6, 3), Ring(), 2, x)
    np.testing.assert_allclose(run.x.numpy(), x.mean(0), rtol=0, atol=1e-15)
    assert rows(run).shape == (6, 3)


def test_a_part_of_the_clients_can_be_judged() -> None:
    x = gaussian(9, 3)
    problem = Quadratics(np.ones((9, 3)), np.zeros((9, 3)))
    options = {"faults": Faults(link_loss=1.0), "judged": 3}
    found = gossip(DPSGD(lr=1e-12), problem, Complete(), 1, x, **options).history[-1].metrics
    assert found["distance_worst"] == pytest.approx(np.linalg.norm(x, axis=1)[[0, 4, 8]].max(), rel=1e-9)


# ---- contracts


def test_a_strategy_with_a_server_refuses_a_graph_and_gossip_refuses_a_server() -> None:
    with pytest.raises(ConfigError, match=r"topology=ring: strategy=fedavg needs a server"):
        gossip(FedAvg(), idle(4, 2), Ring(), 1)  # type: ignore[arg-type]
    with pytest.raises(
        ConfigError, match=r"strategy=dpsgd has no server.*choose a topology, as in topology=ring"
    ):
        gossip(DPSGD(), idle(4, 2), None, 1)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"its clients talk to a server"):
        gossip(DPSGD(), idle(4, 2), Star(), 1)


def test_a_graph_that_changes_is_refused_where_it_must_stay() -> None:
    with pytest.raises(ConfigError, match="changes from exchange to exchange; a graph that stays is needed"):
        gossip(Choco(), idle(4, 2), OnePeerExponential(), 1)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["strategy=dpsgd"], r"strategy=dpsgd has no server.*topology=ring"),
        (["strategy=fedavg", "topology=ring"], r"strategy=fedavg needs a server"),
        (["cohort=3"], r"cohort=3: in gossip .* all clients=100 take part"),
        (["deadline=3"], r"deadline=3.0: in gossip .* waits for more than its own neighbours"),
        (["sampler=weighted"], r"sampler="),
        (["aggregator=median"], r"aggregator=median: in gossip .* mixed with the weights of the topology"),
        (["downlink=topk"], r"downlink=topk: in gossip .* no server to send"),
        (["faults.uplink_loss=0.1"], r"faults.uplink_loss=0.1: in gossip .* faults.link_loss"),
        (["strategy=fedavg", "topology=star", "init=independent"], r"init=independent: is about gossip"),
        (["strategy=fedavg", "topology=star", "mixing=lazy"], r"mixing=lazy: is about gossip"),
        (
            ["strategy=fedavg", "topology=star", "faults.link_loss=0.1"],
            r"faults.link_loss=0.1: is about gossip",
        ),
        (["strategy=fedavg", "topology=star", "judged=2"], r"judged=2: is about gossip"),
        (["mixing=nonsense"], r"mixing=nonsense: no such"),
    ],
)
def test_keys_that_make_no_sense_are_refused(words: list[str], text: str) -> None:
    base = ["strategy=dpsgd", "topology=ring"] if "strategy=dpsgd" not in words else []
    with pytest.raises(ConfigError, match=text):
        config.parse([*base, *words])


def test_independent_starts_are_refused_where_formulas_say_where_to_start() -> None:
    made = config.parse(
        ["strategy=dpsgd", "topology=ring", "data=quadratic", "clients=10", "init=independent"]
    )
    with pytest.raises(ConfigError, match=r"init=independent: data=quadratic is given by formulas"):
        experiment.run(made)


class Asking(Gossip):
    """Sends its model, and asks the inbox."""

    delivery: ClassVar[Mapping[str, str]] = {"x": "latest"}  # type: ignore[assignment]

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        return {"x": start.x[None]}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        return client, {"x": Dense(client["x"])}

    def ask(self, inbox: Neighbours) -> torch.Tensor:
        raise NotImplementedError

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        return {"x": self.ask(inbox)}


def asked(ask, topology, faults: Faults | None = None, audience: Audience = "cohort") -> np.ndarray:
    class Made(Asking):
        def ask(self, inbox: Neighbours) -> torch.Tensor:
            return ask(inbox)

        def audience(self, ctx: Context) -> Audience:
            return audience

    return rows(gossip(Made(), idle(6, 4), topology, 1, gaussian(6, 4), faults=faults or Faults(), block=4))


def test_neighbours_are_averaged_without_oneself() -> None:
    x = gaussian(6, 4)
    found = asked(lambda inbox: inbox.neighbours("x"), Ring())
    np.testing.assert_allclose(found, (np.roll(x, 1, 0) + np.roll(x, -1, 0)) / 2, rtol=0, atol=1e-15)
    alone = asked(lambda inbox: inbox.neighbours("x"), Ring(), Faults(link_loss=1.0))
    np.testing.assert_array_equal(alone, x)
    everyone = asked(lambda inbox: inbox.neighbours("x"), Ring(), audience="all")
    np.testing.assert_allclose(everyone, (x.sum(0) - x) / 5, rtol=0, atol=1e-14)


def test_messages_can_be_mapped_before_they_are_mixed() -> None:
    x = gaussian(6, 4)
    for audience, W in (("cohort", (np.eye(6) + np.roll(np.eye(6), 1, 0) + np.roll(np.eye(6), -1, 0)) / 3),
                        ("all", np.full((6, 6), 1 / 6))):  # fmt: skip
        found = asked(lambda inbox: inbox.mix("x", of=torch.square), Ring(), audience=audience)
        np.testing.assert_allclose(found, W @ x**2, rtol=0, atol=1e-15)


def test_an_inbox_tells_who_sent_what() -> None:
    x = gaussian(6, 4)

    def first(inbox: Neighbours) -> torch.Tensor:
        assert (inbox.receivers.diff() >= 0).all()
        heard = inbox.heard("x")
        np.testing.assert_array_equal(heard.numpy(), x[inbox.senders.numpy()])
        out = inbox.own("x").clone()
        return out.index_add(0, inbox.receivers, heard)

    found = asked(first, Ring())
    np.testing.assert_allclose(found, x + np.roll(x, 1, 0) + np.roll(x, -1, 0), rtol=0, atol=1e-14)


def test_what_is_mixed_and_what_is_delivered_have_one_sum() -> None:
    """Also where messages get lost, if they are queued: what was lost is in neither, and comes into both later."""

    class Balanced(Asking):
        delivery = {"x": "queued"}  # noqa: RUF012 - a declaration

        def init(self, role: Role, start: Start, ctx: Context) -> State:
            return {"x": start.x[None], "mixed": 0 * start.x[None], "delivered": 0 * start.x[None]}

        def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
            return {"x": client["x"], "mixed": inbox.mix("x"), "delivered": inbox.delivered("x")}

    x = gaussian(6, 4)
    for faults in (Faults(), Faults(link_loss=0.4), Faults(dropout=0.3)):
        for rounds in (1, 2, 5):
            run = gossip(Balanced(), idle(6, 4), Ring(), rounds, x, faults=faults, block=4)
            there = ~faults.absent(0, rounds - 1, range(6))
            sums = [rows(run, name)[there].sum(0) for name in ("mixed", "delivered")]
            np.testing.assert_allclose(*sums, rtol=0, atol=1e-13)
    plain = rows(gossip(Balanced(), idle(6, 4), Ring(), 1, x), "delivered")
    np.testing.assert_allclose(plain, x, rtol=0, atol=1e-15)


def test_questions_that_make_no_sense_are_errors() -> None:
    with pytest.raises(ProtocolError, match="no message is named 'y'; there are x"):
        asked(lambda inbox: inbox.mix("y"), Ring())
    with pytest.raises(ProtocolError, match="there are 'weights' and 'one'"):
        asked(lambda inbox: inbox.neighbours("x", by="two"), Ring())  # type: ignore[arg-type]
    with pytest.raises(ProtocolError, match=r"weights 'own' \(5,\); it must be \(3,\)"):
        asked(lambda inbox: inbox.combine("x", torch.ones(5), inbox.weights), Ring())
    with pytest.raises(ProtocolError, match="audience gave 'new'; without a server"):
        asked(lambda inbox: inbox.mix("x"), Ring(), audience="new")


def test_a_strategy_that_writes_to_a_client_s_state_is_told_so() -> None:
    def spoil(client: State, inbox: Neighbours) -> State:
        client["x"].add_(1)
        return {"x": inbox.mix("x")}

    class Spoiling(Asking):
        def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
            return spoil(client, inbox)

    with pytest.raises(ProtocolError, match="Spoiling: aggregate writes to its argument, the state 'x'"):
        gossip(Spoiling(), idle(6, 4), Ring(), 2)
