"""A device that gossips: it trains, and then mixes what its neighbours sent with its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from flwr.app import RecordDict

from fedsparse.engine.block import BUFFERS, Workload
from fedsparse.engine.calls import MessageShape, MixCall, MixReply, Slots
from fedsparse.engine.checks import finite_rows, shape_of
from fedsparse.engine.gates import Gates
from fedsparse.engine.gossip.shelf import lay_out
from fedsparse.engine.plan import Plan
from fedsparse.engine.slab import Ids
from fedsparse.errors import DecodeError
from fedsparse.flower.device import Device
from fedsparse.flower.hearing import Memory
from fedsparse.flower.letters import Answer, Order, Stamp
from fedsparse.flower.parcels import Parcel, Receipt, Ridden
from fedsparse.flower.versions import Versions
from fedsparse.message import Dense, Payload, concatenate
from fedsparse.wire import Envelope, Limits, decode_message, decode_payload, encode_message

__all__ = ["SHOWN", "Peer"]

SHOWN = 255
"""The number in envelopes of models that are shown, which no exchange of a round reaches."""

_LONGEST = 1 << 33
"""Coordinates and bytes of its own message, at most."""


class Peer(Device):
    """A client of a run without a server; arguments as of :class:`~fedsparse.flower.device.Device`.

    Each exchange has two stamps, an even one for training and the odd one after it for mixing.
    """

    def __init__(self, client: int, run: int, plan: Plan, workload: Workload, folder: Path) -> None:
        super().__init__(client, run, plan, workload, folder)
        self._sent = Versions(folder, "sent")

    def obey(self, order: Order) -> RecordDict:
        """Does one half of an exchange, or shows its model.

        Raises:
            DecodeError: the order is for another client or run, or what it says is damaged.
            CheckpointError: this device has not the state that the order builds on.
            FedSparseError: as the strategy's part of the work has it.
        """
        self._check(order)
        self._states.forget_from(order.stamp)
        self._sent.forget_from(order.stamp)
        work = {"train": self._train, "mix": self._mix, "show": self._show}[order.work]
        return work(order)

    def _number(self, stamp: Stamp) -> int:
        return stamp.number // 2

    # ---- the first half

    def _train(self, order: Order) -> RecordDict:
        reply = self._work(order, self._rows(order.accepted), Memory())
        answer = self._answer(reply)
        self._states.write(order.stamp, reply.rows or {})
        self._sent.write(order.stamp, {"message": np.frombuffer(answer.message, dtype=np.uint8)})
        self._keep(order, order.stamp)
        return answer.content()

    def _keep(self, order: Order, trained: Stamp) -> None:
        """What may be gone back to, and what the other half builds on."""
        self._states.keep({order.accepted, order.saved, trained, order.stamp})
        self._sent.keep({trained})

    # ---- the other half

    def _mix(self, order: Order) -> RecordDict:
        parcel, trained = order.parcel, Stamp(order.stamp.round, order.stamp.number - 1)
        if parcel is None or self._client in parcel.senders:
            raise DecodeError("parcel: is missing, or has this client's own message")
        letters = dict(zip(parcel.senders, parcel.letters, strict=True))
        letters[self._client] = self._sent.read(trained)["message"].tobytes()
        ids = np.array(sorted(letters), dtype=np.int64)
        shapes = shape_of(decode_message(letters[self._client], Limits(_LONGEST, _LONGEST))[1])
        gates = Gates(
            type(self._plan.strategy).__name__,
            self._run,
            order.stamp.round,
            self._number(order.stamp),
            shapes,
            self._plan.aggregator.max_norm,
        )
        message = gates.read([letters[i] for i in ids.tolist()], ids, np.ones(len(ids), dtype=bool))
        if gates.refused:
            return Receipt(self._client, gates.refused).content()
        late, overdue = (_Riding(some, shapes) for some in (parcel.late, parcel.overdue))
        reply = self._mixed(order, trained, parcel, ids, message, late, overdue)
        self._states.write(order.stamp, reply.rows or {})
        self._keep(order, trained)
        return Receipt(self._client, {}, late.dropped).content()

    def _mixed(
        self,
        order: Order,
        trained: Stamp,
        parcel: Parcel,
        ids: Ids,
        message: dict[str, Payload],
        late: _Riding,
        overdue: _Riding,
    ) -> MixReply:
        mail = parcel.mail(self._client, ids, late.good, overdue.good)
        names = sorted({*late.payloads, *overdue.payloads})
        ridden = {n: concatenate([*late.payloads[n], *overdue.payloads[n]]) for n in names}
        letters, shared = lay_out([message], "letter")
        others, more = lay_out([ridden] if ridden else [], "late")
        call = MixCall(
            order.stamp.round,
            order.phase,
            self._number(order.stamp),
            order.now,
            mail,
            letters,
            others,
            Slots(rows=self._rows(trained)),
        )
        reply: MixReply = self._runner({**shared, **more}, call)
        return reply

    # ---- evaluation

    def _show(self, order: Order) -> RecordDict:
        """The model and its BatchNorm statistics, as they are."""
        ctx = self._context(order.stamp, "evaluate", order.now, torch.tensor([self._client]))
        state = {name: torch.from_numpy(row) for name, row in self.state(order.accepted).items()}
        x = self._strategy(order.stamp).model(state, ctx)
        message = {"x": Dense(x[None])}
        if BUFFERS in state:
            message[BUFFERS] = Dense(state[BUFFERS][None])
        envelope = Envelope(self._run, order.stamp.round, SHOWN, self._client)
        return Answer(self._client, encode_message(message, 0, envelope), float("nan"), 0, 0).content()


class _Riding:
    """Messages of earlier exchanges, without those that are damaged or of another kind.

    Attributes:
        good: those that count.
        payloads: what they say, by name.
        dropped: how many do not.
    """

    def __init__(self, some: Sequence[Ridden], shapes: MessageShape) -> None:
        self.good: list[Ridden] = []
        self.payloads: dict[str, list[Payload]] = defaultdict(list)
        for one in some:
            payload = _opened(one, shapes)
            if payload is not None:
                self.good.append(one)
                self.payloads[one.name].append(payload)
        self.dropped = len(some) - len(self.good)


def _opened(one: Ridden, shapes: MessageShape) -> Payload | None:
    size = shapes[one.name][1] if one.name in shapes else 0
    try:
        payload = decode_payload(one.payload, Limits(size, len(one.payload)))
    except DecodeError:
        return None
    message = {one.name: payload}
    right = shape_of(message)[one.name] == shapes.get(one.name)
    return payload if right and bool(finite_rows(message).all()) else None
