"""Devices that gossip: what they send each other goes through the server, which does not open it.

A device mixes what its neighbours said in an exchange when it is asked for the next thing, whatever that is: the mail
comes with the order. So there is one task for each device and exchange, as with a server, and a device that falls after
it has sent its own message still gets all that was sent to it when it comes back, before it does anything else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from flwr.app import RecordDict
from torch import Tensor

from fedsparse.archive import under
from fedsparse.engine.block import BUFFERS, Workload
from fedsparse.engine.blocks import Answer as BlockAnswer
from fedsparse.engine.exchange import Exchange
from fedsparse.engine.gossip.judging import Model
from fedsparse.engine.gossip.mail import Late, Mail
from fedsparse.engine.plan import Plan
from fedsparse.engine.slab import Ids
from fedsparse.engine.slots import SlotStore
from fedsparse.errors import DecodeError, WorkerError
from fedsparse.flower.fleet import LAST, Fleet
from fedsparse.flower.judging import SHOWN
from fedsparse.flower.letters import Answer, Order, Stamp
from fedsparse.flower.mail import Mailing, Owed
from fedsparse.flower.post import Post, Returned, Terms
from fedsparse.message import Payload
from fedsparse.wire import Limits, Sealed, check_envelope, decode_message, pass_on

__all__ = ["Neighbourhood"]

_SHOW = 60.0
"""Seconds that models are waited for at least: an evaluation has no deadline, and should be of all who are there."""

_REASONS = 40
"""Letters of a reason that a device gives."""


class Neighbourhood(Fleet):
    """Devices without a server of their own, in the place of :class:`~fedsparse.engine.blocks.Blocks`.

    Args:
        plan: what is run.
        post: the way to the devices.
        workload: for sizes.
        accepted: of each client, the exchange of which its answer was accepted last.
        patience: seconds that an answer may take.

    Attributes:
        refused: why a device could not use a neighbour's message, by neighbour, since it was last emptied.
    """

    _silence: ClassVar[bool] = True

    def __init__(
        self, plan: Plan, post: Post, workload: Workload, accepted: SlotStore, patience: float
    ) -> None:
        super().__init__(plan, post, accepted, patience, real=False, read=pass_on)
        self.refused: dict[int, str] = {}
        self._workload = workload
        self._mail: dict[int, Mailing] = {}
        self._said: dict[int, bytes] = {}

    # ---- what a run asks of its blocks

    def cut(self, clients: Ids) -> list[Ids]:
        """Blocks of one."""
        return [clients[k : k + 1] for k in range(len(clients))]

    def train(self, exchange: Exchange, at: Ids, shared: Mapping[str, np.ndarray]) -> list[BlockAnswer]:
        """Asks all who are there; those who answer in time, ascending.

        Raises:
            WorkerError: all of them failed.
        """
        del shared
        ids = exchange.ids[at].tolist()
        stamp = Stamp(exchange.ctx.round, exchange.number)
        answered = self._ask(exchange, ids, stamp, "train", self._patience)
        place = dict(zip(ids, at.tolist(), strict=True))
        answers = self._answers(exchange, answered, place)
        self._said = {int(a.call.ids[0]): (a.reply.encoded or [b""])[0] for a in answers}
        self._post.counted["up_relayed_bytes"] += sum(map(len, self._said.values()))
        return answers

    def commit(self, answer: BlockAnswer, accepted: np.ndarray) -> None:
        """What it had not heard yet, it has mixed."""
        super().commit(answer, accepted)
        if accepted.all():
            self._mail.pop(int(answer.call.ids[0]), None)

    def deliver(self, exchange: Exchange, mails: Sequence[Mail], late: Mapping[str, Sealed]) -> None:
        """What each of them gets with its next order.

        Args:
            exchange: the phase.
            mails: who heard what, a client each.
            late: by name, the earlier messages that arrive now.
        """
        speakers = [int(mail.ids[0]) for mail in mails]
        for client, mail in zip(speakers, mails, strict=True):
            senders = [s for s in speakers if s != client] if mail.everyone else mail.senders.tolist()
            self._mail[client] = Mailing(
                round=exchange.ctx.round,
                number=exchange.number,
                phase=exchange.ctx.phase,
                now=exchange.ctx.now,
                senders=senders,
                weights=mail.weights.tolist(),
                own={kind: float(found[0]) for kind, found in mail.own.items()},
                others={kind: found.tolist() for kind, found in mail.others.items()},
                delivered=float(mail.delivered[0]),
                everyone=mail.everyone,
                letters=[self._said[sender] for sender in senders],
                late=_owed(mail.late, late, "senders"),
                overdue=_owed(mail.overdue, late, "receivers"),
            )

    def models(self, exchange: Exchange) -> dict[int, Model]:
        """The models of those who answer, by client.

        Raises:
            WorkerError: nobody does.
        """
        ids, stamp = exchange.ids.tolist(), Stamp(exchange.ctx.round, LAST - 1)
        seconds = max(self._patience, _SHOW)
        found: dict[int, Model] = {}
        for client, returned in self._ask(exchange, ids, stamp, "evaluate", seconds).items():
            try:
                found[client] = self._model(client, returned, stamp)
            except DecodeError:
                self._post.counted["refused_models"] += 1
                continue
            if self._mail.pop(client, None) is not None:
                self._write(np.array([client], dtype=np.int64), stamp)
        if not found:
            raise WorkerError(
                f"none of {len(ids)} devices showed its model within {seconds:g} s of the end of round {stamp.round}; "
                "bring them back and resume the run"
            )
        return found

    # ---- orders and answers

    def _ask(
        self, exchange: Exchange, ids: Sequence[int], stamp: Stamp, kind: str, seconds: float
    ) -> dict[int, Returned]:
        orders: dict[int, Order] = {
            client: self._order(exchange, stamp, client, mail=self._mail.get(client)) for client in ids
        }
        contents = {client: order.content() for client, order in orders.items()}
        returned = self._post.ask(contents, Terms(len(ids), seconds), kind)
        self._check(exchange, ids, returned)
        answered = {c: r for c, r in sorted(returned.items()) if r.content is not None}
        for client, found in answered.items():
            if (mail := self._mail.get(client)) is not None:
                self._post.counted["down_relayed_bytes"] += mail.nbytes
                self._complain(mail, found)
        return answered

    def _complain(self, mail: Mailing, returned: Returned) -> None:
        """Notes whose messages a device could not use, of those that it was sent."""
        try:
            answer = Answer.of(returned.content or RecordDict())
        except DecodeError:
            return
        for sender, reason in answer.refused.items():
            if sender in mail.senders:
                self.refused[sender] = reason[:_REASONS] if reason.isprintable() else "no reason"

    def _model(self, client: int, returned: Returned, stamp: Stamp) -> Model:
        """The model in an answer.

        Raises:
            DecodeError: there is none of this run and kind in it.
        """
        answer, start = Answer.of(returned.content or RecordDict()), self._workload.start
        sizes = {"x": start.x.numel()} | ({BUFFERS: start.buffers.numel()} if len(start.buffers) else {})
        limits = Limits(max(sizes.values()), len(answer.message))
        envelope, message = decode_message(answer.message, limits)
        check_envelope(envelope, self.run, stamp.round, SHOWN, (client,))
        found = {name: _vector(message, name, size) for name, size in sizes.items() if name in message}
        if "x" not in found:
            raise DecodeError("x: there is no model in the answer")
        return found["x"].to(start.x.dtype), found.get(BUFFERS, torch.zeros_like(start.buffers))

    # ---- checkpoints

    def arrays(self) -> dict[str, np.ndarray]:
        """What devices have not mixed yet, for a checkpoint."""
        return {
            f"{client}.{name}": value
            for client, mail in sorted(self._mail.items())
            for name, value in mail.arrays().items()
        }

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Goes on from what :meth:`arrays` gave."""
        clients = sorted({int(name.partition(".")[0]) for name in arrays})
        self._mail = {client: Mailing.of_arrays(under(f"{client}.", arrays)) for client in clients}


def _owed(late: Mapping[str, Late], messages: Mapping[str, Sealed], who: str) -> Owed:
    """Late messages as they travel; ``who``: whether the other end of the link is among the senders or receivers."""
    names, clients, weights, payloads = [], [], [], []
    for name, found in late.items():
        names += [name] * len(found.rows)
        clients += getattr(found, who).tolist()
        weights += found.weights.tolist()
        payloads += [messages[name].encode(row) for row in found.rows.tolist()]
    return Owed(names, clients, weights, payloads)


def _vector(message: Mapping[str, Payload], name: str, size: int) -> Tensor:
    payload = message[name]
    if payload.size != size:
        raise DecodeError(f"{name}: {payload.size} numbers, expected are {size}")
    return payload.dense()[0]
