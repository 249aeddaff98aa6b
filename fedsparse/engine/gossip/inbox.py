"""What the clients of a block have heard; implements :class:`fedsparse.gossip.Neighbours`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from fedsparse.engine.gossip.edges import Weights
from fedsparse.engine.gossip.kernel import mix, ways
from fedsparse.engine.gossip.mail import Late, Mail
from fedsparse.engine.slab import Ids
from fedsparse.errors import ProtocolError
from fedsparse.gossip import Delivery, Map
from fedsparse.message import Dense, MaskedDense, Payload, SeededSparse, Sparse

__all__ = ["Letters", "NeighbourInbox", "picked"]

_MAPPED = 32
"""Messages that are made dense at a time, to be mapped."""

Letters: TypeAlias = Mapping[str, Sequence[Payload]]
"""By name, batches of messages, whose rows one after another are those of all senders."""


class NeighbourInbox:
    """The messages of a phase as C clients have them.

    Args:
        mail: who got what.
        letters: the messages of all senders.
        late: by name, the messages of earlier phases that arrive only now.
        means: by name, the mean of all messages ``[1, d]``, where all have heard all.
        delivery: what becomes of weights, by name.
    """

    def __init__(
        self,
        mail: Mail,
        letters: Letters,
        late: Mapping[str, Payload],
        means: Mapping[str, Tensor],
        delivery: Mapping[str, Delivery],
    ) -> None:
        self.receivers, self.senders = torch.from_numpy(mail.receivers), torch.from_numpy(mail.senders)
        self.weights = torch.from_numpy(mail.weights)
        self._mail, self._late, self._means, self._delivery = mail, late, means, delivery
        self._count = sum(part.rows for part in next(iter(letters.values())))
        used = np.arange(self._count) if mail.everyone else np.concatenate([mail.rows, mail.sources])
        kept = {name: picked(parts, used) for name, parts in letters.items()}
        self._letters = {name: parts for name, (parts, _) in kept.items()}
        self._places = {name: places for name, (_, places) in kept.items()}

    def mix(self, name: str, of: Map | None = None) -> Tensor:
        """Sum of weight times message, the own one included."""
        parts, mail = self._named(name), self._mail
        if mail.everyone:
            return self._mean(name, of)
        kind = self._delivery.get(name, "latest")
        late = mail.late.get(name)
        return mix(*self._terms(name, parts, mail.own[kind], mail.others[kind], late, of))

    def ways(self, name: str) -> list[str]:
        """How ``mix`` sums dense messages of which none is late, for people."""
        kind = self._delivery.get(name, "latest")
        weights = self._mail.own[kind], self._mail.others[kind]
        return ways(*self._terms(name, self._named(name), *weights))

    def completed(self, name: str, own: Tensor) -> Tensor:
        """As ``mix``, where ``own [C, d]`` of the receiver stands in for what a sparse message leaves out."""
        parts, mail = self._named(name), self._mail
        there = [_ones(part) for part in parts if isinstance(part, Sparse | SeededSparse)]
        if len(there) < len(parts):
            return self.mix(name)
        if mail.everyone:
            covered = torch.stack([part.dense().sum(0) for part in there]).sum(0) / self._count
            return self._mean(name, None) + (1 - covered) * own
        kind = self._delivery.get(name, "latest")
        mine, others = mail.own[kind], mail.others[kind]
        whole = torch.from_numpy(mine + np.bincount(mail.receivers, others, len(mail.ids))).to(own.dtype)
        covered = mix(*self._terms(name, there, mine, others))
        return self.mix(name) + (whole[:, None] - covered) * own

    def neighbours(
        self, name: str, of: Map | None = None, by: Literal["weights", "one"] = "weights"
    ) -> Tensor:
        """Mean of what was heard, without the own message; who heard nothing has its own."""
        self._named(name)
        mail, count = self._mail, len(self._mail.ids)
        if by not in {"weights", "one"}:
            raise ProtocolError(f"inbox: by='{by}' is not a weighting; there are 'weights' and 'one'")
        if mail.everyone:
            others = self._count - 1
            whole = self._mean(name, of) * self._count
            return (whole - self.own(name, of)) / others if others else whole
        weights = mail.weights if by == "weights" else np.ones(len(mail.weights))
        sums = np.bincount(mail.receivers, weights, count)
        alone = sums == 0
        shares = weights / np.where(alone, 1.0, sums)[mail.receivers]
        return self._combine(name, alone.astype(np.float64), shares, of)

    def combine(self, name: str, own: Tensor, others: Tensor, of: Map | None = None) -> Tensor:
        """Sum of messages with weights of the strategy's own."""
        for what, weights, count in (
            ("own", own, len(self._mail.ids)),
            ("others", others, len(self.senders)),
        ):
            if tuple(weights.shape) != (count,):
                raise ProtocolError(
                    f"inbox: combine got weights '{what}' {tuple(weights.shape)}; it must be ({count},)"
                )
        if self._mail.everyone:
            raise ProtocolError("inbox: where all hear all, messages have equal weights; use mix")
        return self._combine(name, own.double().numpy(), others.double().numpy(), of)

    def own(self, name: str, of: Map | None = None) -> Tensor:
        """What each client sent itself."""
        return self._rows(self._named(name), self._places[name][self._mail.rows], of)

    def heard(self, name: str, of: Map | None = None) -> Tensor:
        """Each message that was heard."""
        if self._mail.everyone:
            raise ProtocolError("inbox: where all hear all, there is only their mean; use mix")
        return self._rows(self._named(name), self._places[name][self._mail.sources], of)

    def delivered(self, name: str) -> Tensor:
        """How much of a client's own messages its neighbours have got."""
        own, mail = self.own(name), self._mail
        if mail.everyone:
            return own
        out = own * torch.from_numpy(mail.delivered).to(own.dtype)[:, None]
        overdue = mail.overdue.get(name)
        if overdue is not None and len(overdue.rows):
            at = np.searchsorted(mail.ids, overdue.senders)
            order = np.argsort(at, kind="stable")
            matrix = _matrix(at[order], order, overdue.weights[order], len(own), len(order))
            out += mix(matrix, [self._overdue(name, overdue)])
        return out

    # ---- sums

    def _combine(self, name: str, own: Weights, others: Weights, of: Map | None) -> Tensor:
        return mix(*self._terms(name, self._named(name), own, others, of=of))

    def _terms(
        self,
        name: str,
        parts: Sequence[Payload],
        own: Weights,
        others: Weights,
        late: Late | None = None,
        of: Map | None = None,
    ) -> tuple[csr_array, Sequence[Payload | Tensor]]:
        """What is summed: weights, and the messages that they are for."""
        mail, count, places = self._mail, len(self._mail.ids), self._places[name]
        receivers = [np.arange(count), mail.receivers]
        columns, weights = [places[mail.rows], places[mail.sources]], [own, others]
        sources: list[Payload | Tensor] = list(parts)
        width = sum(part.rows for part in parts)
        if late is not None and len(late.rows):
            receivers.append(np.searchsorted(mail.ids, late.receivers))
            columns.append(np.arange(width, width + len(late.rows)))
            weights.append(late.weights)
            sources.append(self._overdue(name, late))
            width += len(late.rows)
        at, column, weight = np.concatenate(receivers), np.concatenate(columns), np.concatenate(weights)
        if of is not None:
            used, column = np.unique(column, return_inverse=True)
            sources, width = [self._rows(sources, used, of)], len(used)
        order = np.lexsort((column, at))
        return _matrix(at[order], column[order], weight[order], count, width), sources

    def _mean(self, name: str, of: Map | None) -> Tensor:
        count = len(self._mail.ids)
        if of is None:
            return self._means[name].expand(count, -1)
        rows = self._rows(self._named(name), np.arange(self._count), of)
        return rows.mean(0, keepdim=True).expand(count, -1)

    def _overdue(self, name: str, late: Late) -> Payload:
        """The messages of earlier phases that are meant, in their order."""
        return self._late[name].select(torch.from_numpy(late.rows))

    # ---- single messages

    def _rows(self, parts: Sequence[Payload | Tensor], wanted: Ids, of: Map | None) -> Tensor:
        """Messages by their positions, dense; of a whole part they are its own memory, which must not be written to."""
        found = [
            rows if of is None else of(rows)
            for rows in _dense(parts, wanted, None if of is None else _MAPPED)
        ]
        return found[0] if len(found) == 1 else torch.cat(found)

    def _named(self, name: str) -> Sequence[Payload]:
        if name not in self._letters:
            raise ProtocolError(f"inbox: no message is named '{name}'; there are {', '.join(self._letters)}")
        return self._letters[name]


def picked(parts: Sequence[Payload], used: Ids) -> tuple[list[Payload], Ids]:
    """The messages without most of those that a block does not use, which it need not decode.

    Dense ones stay in their batches, which would have to be copied.

    Args:
        parts: batches of messages, S in all.
        used: positions of those that are.

    Returns:
        batches of fewer messages, and where each is among these, ``[S]``.
    """
    bounds = np.cumsum([0, *(part.rows for part in parts)])
    kept = np.zeros(bounds[-1], dtype=bool)
    kept[used] = True
    found: list[Payload] = []
    for part, (first, last) in zip(parts, pairwise(bounds), strict=True):
        own = kept[first:last]
        if not own.any():
            continue
        if isinstance(part, Dense | MaskedDense):
            own[:] = True
        found.append(part if own.all() else part.select(torch.from_numpy(own)))
    return found, np.cumsum(kept) - 1


def _matrix(at: Ids, column: Ids, weight: Weights, rows: int, width: int) -> csr_array:
    """A sparse matrix from entries in the order of its rows and columns."""
    starts = np.concatenate([[0], np.cumsum(np.bincount(at, minlength=rows))])
    return csr_array((weight, column, starts), shape=(rows, width))


def _dense(parts: Sequence[Payload | Tensor], wanted: Ids, most: int | None) -> Iterator[Tensor]:
    """The rows ``wanted`` of all parts together, in their order, a run of one part at a time."""
    starts = np.cumsum([0, *(_count(part) for part in parts)])
    place = np.searchsorted(starts, wanted, side="right") - 1
    changes = np.flatnonzero(np.diff(place)) + 1
    if not len(wanted):
        first = parts[0]
        yield (first if isinstance(first, Tensor) else first.dense())[:0]
        return
    for run in np.split(np.arange(len(wanted)), changes):
        part, start = parts[place[run[0]]], starts[place[run[0]]]
        whole = most is None and np.array_equal(wanted[run] - start, np.arange(_count(part)))
        for piece in [run] if most is None else np.array_split(run, -(-len(run) // most)):
            rows = torch.from_numpy(wanted[piece] - start)
            if isinstance(part, Tensor):
                yield part if whole else part[rows]
            else:
                yield part.dense() if whole else part.select(rows).dense()


def _ones(part: Sparse | SeededSparse) -> Payload:
    """One wherever a message has a value."""
    return replace(part, values=torch.ones_like(part.values), kind="", scale=None)


def _count(part: Payload | Tensor) -> int:
    return len(part) if isinstance(part, Tensor) else part.rows
