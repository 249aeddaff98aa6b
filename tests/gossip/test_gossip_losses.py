"""Messages that are lost or come later, and clients that are away or whose messages are not finite."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from engine_cases import Quadratics, gaussian, gossip, idle, rows

from fedsparse.archive import read, write
from fedsparse.compress import TopK
from fedsparse.engine.faults import Faults
from fedsparse.errors import Diverged
from fedsparse.message import Dense
from fedsparse.protocol import Context, Message, State, Task
from fedsparse.strategies.choco import Choco
from fedsparse.strategies.dpsgd import DPSGD
from fedsparse.testing.trial import Setting, difference, opened, snapshot
from fedsparse.topologies.complete import Complete
from fedsparse.topologies.ring import Ring


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
