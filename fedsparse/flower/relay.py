"""Devices without a server: their messages are passed on to their neighbours, closed as they came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from flwr.app import RecordDict

from fedsparse.engine.block import BUFFERS, Workload
from fedsparse.engine.blocks import Answer
from fedsparse.engine.exchange import Exchange
from fedsparse.engine.gossip.judging import Model
from fedsparse.engine.gossip.mail import Mail
from fedsparse.engine.plan import Plan
from fedsparse.engine.slab import Ids
from fedsparse.engine.slots import SlotStore
from fedsparse.errors import DecodeError
from fedsparse.flower import letters
from fedsparse.flower.devices import Devices
from fedsparse.flower.letters import NEVER, Order, Stamp
from fedsparse.flower.line import Meter
from fedsparse.flower.parcels import Parcel, Receipt
from fedsparse.flower.peer import SHOWN
from fedsparse.flower.post import Post, Terms
from fedsparse.message import Payload
from fedsparse.protocol import Context
from fedsparse.wire import Limits, check_envelope, decode_message, pass_on

__all__ = ["Relay"]

_SHOW = 998
"""The number of an order that asks for models, after all exchanges of a round."""


class Relay(Devices):
    """The devices of a run without a server.

    Args:
        plan: what is run.
        post: the way to them.
        accepted: of each client, the exchange of which its answer was accepted last.
        patience: seconds that an answer may take.
        meter: of what passes on the line, where that is measured.
        workload: says what a model is like.
    """

    def __init__(
        self,
        plan: Plan,
        post: Post,
        accepted: SlotStore,
        patience: float,
        meter: Meter | None,
        workload: Workload,
    ) -> None:
        super().__init__(plan, post, accepted, patience, meter, read=pass_on)
        self._workload = workload
        self._letters: dict[int, bytes] = {}

    # ---- the first half of an exchange

    def train(self, exchange: Exchange, at: Ids, shared: Mapping[str, np.ndarray]) -> list[Answer]:
        """Asks the clients at the positions ``at``; those who answer in time, ascending.

        Raises:
            WorkerError: all of them failed.
        """
        del shared  # nobody says anything to all
        ids, stamp = exchange.ids[at].tolist(), Stamp(exchange.ctx.round, 2 * exchange.number)
        orders = {client: self._order(exchange.ctx, stamp, client).content() for client in ids}
        returned = self._post.ask(orders, self._terms(exchange, len(ids)))
        self._check(exchange, ids, returned)
        answered = {c: r for c, r in sorted(returned.items()) if r.content is not None}
        answers = self._answers(exchange, answered, dict(zip(ids, at.tolist(), strict=True)))
        self._letters = {int(call.ids[0]): (reply.encoded or [b""])[0] for call, reply in answers}
        for _, reply in answers:
            self._count("up", reply.payload_bytes.sum(), reply.header_bytes.sum(), bool(reply.shapes))
        return answers

    def commit(self, answer: Answer, accepted: np.ndarray) -> None:
        """Where something was said, a client's state counts when it has mixed."""
        if accepted.all() and not answer.reply.shapes:
            self._accept(answer.call.ids, Stamp(answer.call.round, 2 * answer.call.number))

    # ---- the other half

    def mix(
        self, exchange: Exchange, mails: Sequence[Mail], late: Mapping[str, Payload]
    ) -> dict[int, Receipt | None]:
        """Gives out what was sent; what those say who answer in time, None where it cannot be read.

        Args:
            exchange: the phase.
            mails: of each client.
            late: by name, closed messages of earlier exchanges that arrive somewhere now.

        Raises:
            WorkerError: all of them failed.
        """
        stamp, orders = Stamp(exchange.ctx.round, 2 * exchange.number + 1), {}
        for mail in mails:
            client, parcel = int(mail.ids[0]), Parcel.pack(mail, self._letters, late)
            order = replace(self._order(exchange.ctx, stamp, client), work="mix", parcel=parcel)
            orders[client] = order.content()
            self._count_parcel(parcel)
        returned = self._post.ask(orders, Terms(len(orders), self._patience))
        self._check(exchange, sorted(orders), returned)
        return {c: _receipt(c, r.content) for c, r in sorted(returned.items()) if r.content is not None}

    def mixed(self, exchange: Exchange, clients: Ids) -> None:
        """These clients' new states count, and no other state of this exchange."""
        self._accept(clients, Stamp(exchange.ctx.round, 2 * exchange.number + 1))

    # ---- evaluation

    def models(self, ctx: Context) -> dict[int, Model]:
        """The models of the devices that answer in time, by client; they do not count as messages."""
        stamp = Stamp(ctx.round, _SHOW)
        asked = range(self._workload.clients)
        orders = {i: replace(self._order(ctx, stamp, i), work="show").content() for i in asked}
        returned = self._post.ask(orders, Terms(len(orders), self._patience))
        shown = {client: self._shown(ctx, client, r.content) for client, r in sorted(returned.items())}
        return {client: model for client, model in shown.items() if model is not None}

    def _shown(self, ctx: Context, client: int, content: RecordDict | None) -> Model | None:
        """None where nobody can read it, or it is no model of this run."""
        start = self._workload.start
        longest = max(len(start.x), len(start.buffers))
        if content is None:
            return None
        try:
            data = letters.Answer.of(content).message
            envelope, message = decode_message(data, Limits(longest, len(data)))
            check_envelope(envelope, self.run, ctx.round, SHOWN, (client,))
        except DecodeError:
            return None
        like = {"x": start.x, BUFFERS: start.buffers}
        found = {name: payload.dense()[0] for name, payload in message.items()}
        found.setdefault(BUFFERS, torch.zeros_like(start.buffers))
        if {n: (v.shape, v.dtype) for n, v in found.items()} != {
            n: (v.shape, v.dtype) for n, v in like.items()
        }:
            return None
        return found["x"], found[BUFFERS]

    # ---- orders

    def _order(self, ctx: Context, stamp: Stamp, client: int) -> Order:
        return Order(
            run=self.run,
            client=client,
            stamp=stamp,
            phase=ctx.phase,
            now=ctx.now,
            accepted=self._stamp(client),
            saved=self._saved.get(client, NEVER),
            safe=self._safe,
            life=self._life,
            total=ctx.total,
            audible=(),
            told=(),
        )

    # ---- both hops

    def _count_parcel(self, parcel: Parcel) -> None:
        """From the SuperLink to a neighbour: each message once for each who gets it."""
        for letter in parcel.letters:
            message = pass_on(letter, Limits(len(letter), len(letter)))[1]
            payload = sum(int(part.nbytes()[0]) for part in message.values())
            self._count("down", payload, len(letter) - payload, True)
        self._count("down", parcel.payload_bytes, 0, False)

    def _count(self, way: str, payload: int, header: int, message: bool) -> None:
        counts = {"payload_bytes": payload, "header_bytes": header, "messages": message}
        for name, value in counts.items():
            self._post.counted[f"{way}_relay_{name}"] += int(value)


def _receipt(client: int, content: RecordDict | None) -> Receipt | None:
    try:
        found = Receipt.of(content if content is not None else RecordDict())
    except DecodeError:
        return None
    return found if found.client == client else None
