"""Rounds without a server on devices: whoever does not go through with an exchange was never in it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from fedsparse.engine.block import Workload
from fedsparse.engine.blocks import Blocks
from fedsparse.engine.checks import check_some_finite
from fedsparse.engine.exchange import Exchange
from fedsparse.engine.gates import Gates
from fedsparse.engine.gossip.backlog import Backlog
from fedsparse.engine.gossip.edges import Edges, Flags
from fedsparse.engine.gossip.judging import Model
from fedsparse.engine.gossip.mail import Post
from fedsparse.engine.gossip.rounds import GossipRounds, Messages, queued
from fedsparse.engine.plan import Plan
from fedsparse.engine.slab import Ids
from fedsparse.engine.slots import SlotStore
from fedsparse.engine.tally import Tally
from fedsparse.flower.parcels import Receipt
from fedsparse.flower.relay import Relay
from fedsparse.message import Payload
from fedsparse.records import Record
from fedsparse.wire import Limits, Sealed, pass_on

__all__ = ["DeviceGossip"]

_LONGEST = 1 << 33
"""Bytes of a message that is passed on, at most."""

_UNREADABLE = "decode: receipt"
"""Why a device is left out that answers something else than a receipt."""


@dataclass(frozen=True)
class _Outcome:
    """What came of an attempt to mix.

    Attributes:
        silent: who did not answer in time, or failed.
        refused: who is left out for what it sent, and why.
        links: messages that their receivers alone refuse, as receiver and sender.
    """

    silent: frozenset[int]
    refused: Mapping[int, str]
    links: frozenset[tuple[int, int]]

    @property
    def out(self) -> frozenset[int]:
        """All who are left out."""
        return self.silent | self.refused.keys()


class DeviceGossip(GossipRounds):
    """The run between two rounds, and how a round is made; every message goes through the server, which reads none.

    Args:
        plan: what is run.
        workload: for sizes and for evaluation.
        relay: the devices.
        accepted: of each client, the exchange of which its state counts.
    """

    def __init__(self, plan: Plan, workload: Workload, relay: Relay, accepted: SlotStore) -> None:
        # What a pool of workers does beyond that, mixing and evaluation of the clients' models, is done here.
        super().__init__(plan, workload, cast("Blocks", relay), accepted)
        self._relay = relay
        self._outcome = _Outcome(frozenset(), {}, frozenset())
        self._shown: tuple[int, dict[int, Model]] | None = None

    def round(self, number: int) -> Record:
        """As in a simulation, with what was on the way."""
        return replace(super().round(number), flower=self._relay.passed())

    def _new_backlog(self) -> Backlog:
        return Backlog(queued(self._strategy), lambda data, _: Sealed((data,)))

    def _gates(self, exchange: Exchange) -> Gates:
        """Envelopes and names; neighbours look at the values."""
        shapes = self._shapes.get(exchange.ctx.phase)
        key = (self.plan.run, exchange.ctx.round, exchange.number)
        return Gates(self._who, *key, shapes, None, Limits(_LONGEST, _LONGEST), pass_on)

    # ---- one phase

    def _phase(self, exchange: Exchange, tally: Tally) -> None:
        """As in a simulation; whoever fell silent in this round is away until the next one."""
        ids = exchange.ids[~np.isin(exchange.ids, sorted(tally.late))]
        if len(ids):
            ctx = replace(exchange.ctx, ids=torch.from_numpy(ids))
            super()._phase(replace(exchange, ctx=ctx), tally)

    def _hear(
        self,
        exchange: Exchange,
        edges: Edges,
        arrived: Flags,
        speakers: Ids,
        parts: Messages,
        tally: Tally,
    ) -> Ids:
        """Mixes until all who are left have done so: states count together, or the weights would not fit."""
        backlog, spoke = self._backlog, len(speakers)
        refused: dict[int, str] = {}
        while len(speakers):
            self._backlog = backlog.copy()
            super()._hear(exchange, edges, arrived, speakers, parts, tally)
            found = self._outcome
            if not found.out and not found.links:
                self._relay.mixed(exchange, speakers)
                return speakers
            refused |= found.refused
            tally.refused.update(found.refused)
            tally.late.update(found.silent)
            check_some_finite(self._who, spoke, refused, exchange.ctx.round)
            pairs = zip(edges.receivers.tolist(), edges.senders.tolist(), strict=True)
            arrived = arrived & ~np.array([pair in found.links for pair in pairs], dtype=bool)
            stays = np.array([client not in found.out for client in speakers.tolist()], dtype=bool)
            parts = [part for part, stay in zip(parts, stays, strict=True) if stay]
            speakers = speakers[stays]
        self._backlog = backlog
        return speakers

    def _mix(
        self,
        exchange: Exchange,
        post: Post,
        parts: Messages,
        late: Messages,
        means: Mapping[str, Tensor],
    ) -> None:
        del parts, means  # the devices have the one, and nobody the other
        mails = post.cut(np.array_split(post.speakers, len(post.speakers)))
        letters: Mapping[str, Payload] = late[0] if late else {}
        receipts = self._relay.mix(exchange, mails, letters)
        hears = {int(mail.ids[0]): mail.senders.tolist() for mail in mails}
        self._outcome = _outcome(hears, receipts)

    # ---- evaluation

    def _models(self, number: int) -> Iterable[Model]:
        return self._all(number).values()

    def _survey(self, number: int, chosen: Ids) -> list[dict[str, float]]:
        shown = self._all(number)
        there = [shown[client] for client in chosen.tolist() if client in shown]
        return [self._relay.evaluate(self.workload, x, buffers) for x, buffers in there or shown.values()]

    def _evaluate(self, number: int) -> dict[str, float]:
        return super()._evaluate(number) if self._all(number) else {}

    def _all(self, number: int) -> dict[int, Model]:
        """The models of those who show them, as of the end of a round."""
        if self._shown is None or self._shown[0] != number:
            ctx = self._context(number, "evaluate", np.zeros(0, dtype=np.int64))
            self._shown = number, self._relay.models(ctx)
        return self._shown[1]

    # ---- checkpoints

    def arrays(self) -> dict[str, Any]:
        """Everything that the next round depends on, but what the devices keep."""
        return {**super().arrays(), "run": np.array([self.plan.run], dtype=np.int64)}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Goes on from what :meth:`arrays` gave."""
        super().restore(arrays)
        self.plan = replace(self.plan, run=int(arrays["run"][0]))
        self._relay.run = self.plan.run


def _outcome(hears: Mapping[int, Sequence[int]], receipts: Mapping[int, Receipt | None]) -> _Outcome:
    """What receipts come to.

    A message that most of its receivers refuse is its sender's fault. What only some of them refuse may be theirs: then
    the message counts as lost for these.

    Args:
        hears: of each client that was asked, whose messages it got.
        receipts: of those who answered.
    """
    out = {client: _UNREADABLE for client, receipt in receipts.items() if receipt is None}
    given = {client: receipt for client, receipt in receipts.items() if receipt is not None}
    getters = Counter(sender for client in given for sender in hears[client])
    reasons: dict[int, list[str]] = defaultdict(list)
    links = set()
    for client, receipt in given.items():
        if receipt.refused.keys() - {client, *hears[client]}:
            out[client] = _UNREADABLE  # it got no such message
            continue
        if client in receipt.refused:
            out[client] = receipt.refused[client]
        for sender, reason in receipt.refused.items():
            reasons[sender].append(reason)
            links.add((client, sender))
    for sender, said in sorted(reasons.items()):
        if 2 * len(said) > getters[sender]:
            out.setdefault(sender, Counter(said).most_common(1)[0][0])
    links = {(receiver, sender) for receiver, sender in links if sender not in out and receiver not in out}
    return _Outcome(frozenset(hears.keys() - receipts.keys()), out, frozenset(links))
