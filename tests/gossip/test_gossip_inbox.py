"""What an inbox answers, and what a strategy may not ask of it or do with it."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pytest
import torch
from engine_cases import gaussian, gossip, idle, rows

from fedsparse.engine.faults import Faults
from fedsparse.errors import ProtocolError
from fedsparse.gossip import Gossip, Neighbours
from fedsparse.message import Dense
from fedsparse.protocol import Audience, Context, Message, Role, Start, State, Task
from fedsparse.topologies.ring import Ring


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
