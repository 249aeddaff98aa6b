"""The clients' minibatches as tensors, and the count of what was used."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from fedsparse import rng
from fedsparse.cohort.batches import Batches, padded
from fedsparse.cohort.examples import Examples
from fedsparse.data.holdings import Partition

__all__ = ["Minibatches"]


class Minibatches:
    """The minibatches of C clients in one round.

    Clients of nearly equal numbers of examples go side by side, padded to a width that depends on each of them alone:
    whom else a block has must not show in a bit.

    Args:
        examples: the data set and who holds what.
        ids: the clients ``[C]``.
        seed: of the run.
        round: of the run.
        batch: examples of a minibatch; 0 for all of a client's.
        device: where inputs and targets are wanted; counts stay with the processor.
        held: which examples; by default those that clients train on.

    Attributes:
        gradient_calls: minibatches that were taken to train on, ``[C]``.
        used: examples in them, ``[C]``.
        nominal: examples of a minibatch, by configuration and data set alone.
        per_epoch: minibatches of one pass, ``[C]``.
        longest_epoch: minibatches of a pass of the client with the most examples.
    """

    def __init__(
        self,
        examples: Examples,
        ids: Tensor,
        seed: int,
        round: int,  # noqa: A002
        batch: int,
        device: torch.device,
        held: Partition | None = None,
    ) -> None:
        self._examples, self._name, self._device = examples, (seed, round), device
        self._ids: list[int] = ids.tolist()
        self._held = [(held or examples.held).examples(i) for i in self._ids]
        self._sizes = np.array([len(own) for own in self._held], dtype=np.int64)
        self._batches = Batches(seed, round, self._ids, self._sizes, batch)
        self.per_epoch = torch.from_numpy(self._batches.per_epoch)
        self.nominal = batch or max(1, examples.total // examples.clients)
        self.longest_epoch = -(-examples.largest // batch) if batch else 1
        self.gradient_calls = torch.zeros(len(ids), dtype=torch.int64)
        self.used = torch.zeros(len(ids), dtype=torch.int64)
        self._at = list(range(len(ids)))
        widths = [min(batch, padded(size)) if batch else padded(size) for size in self._sizes.tolist()]
        self._widths, self._width = widths, max(widths, default=0)

    def groups(self) -> Iterator[tuple[Tensor, Minibatches]]:
        """The clients with minibatches of one width, as places in the block ``[G]``, and their minibatches."""
        return self._parts(self._widths)

    def sweeps(self) -> Iterator[tuple[Tensor, Iterator[tuple[Tensor, Tensor, Tensor]], Minibatches]]:
        """Likewise all examples of the clients, in pieces; not counted."""
        piece = _PIECE
        if (
            self._device.type != "cpu"
        ):  # there blocks are so large that they have room for a minibatch of each client
            piece = max(self.nominal, _PIECE // max(1, len(self._at)))
        for at, part in self._parts([min(piece, padded(size)) for size in self._sizes.tolist()]):
            yield at, part._sweep(), part

    def _parts(self, widths: Sequence[int]) -> Iterator[tuple[Tensor, Minibatches]]:
        for width in sorted(set(widths)):
            part = copy.copy(self)
            part._at = [client for client, own in enumerate(widths) if own == width]
            part._width = width
            yield torch.tensor(part._at), part

    def take(self, step: int, count: bool = True) -> tuple[Tensor, Tensor, Tensor]:
        """The minibatches of one step: inputs and targets ``[C, B, ...]``, padded, and the real rows ``[C]``.

        Args:
            step: which.
            count: they are trained on.
        """
        everybody = torch.full((len(self._at),), step + 1)
        inputs, targets, counts = self.several(range(step, step + 1), everybody, count)
        return inputs[:, 0], targets[:, 0], counts[:, 0]

    def several(self, steps: range, limit: Tensor, count: bool = True) -> tuple[Tensor, Tensor, Tensor]:
        """The minibatches of some steps: inputs and targets ``[C, steps, B, ...]``, real rows ``[C, steps]``.

        Args:
            steps: which.
            limit: steps that each client takes in all, ``[C]``; later ones are empty.
            count: they are trained on.
        """
        chosen: list[np.ndarray] = []
        for client, last in zip(self._at, limit.tolist(), strict=True):
            own, span = self._held[client], self._batches.span(client, steps)
            if span is not None and last >= steps.stop and len(span) == self._width * len(steps):
                chosen.extend(own[span].reshape(len(steps), -1))
            else:
                chosen.extend(
                    own[self._batches.of(client, step)] if step < last else _NOTHING for step in steps
                )
        inputs, targets, counts = self._gather(chosen)
        shape = (len(self._at), len(steps))
        counts = counts.view(shape)
        if count:
            at = torch.tensor(self._at)
            self.gradient_calls.index_add_(0, at, (counts > 0).sum(1))
            self.used.index_add_(0, at, counts.sum(1))
        return inputs.unflatten(0, shape), targets.unflatten(0, shape), counts  # type: ignore[no-untyped-call]

    def _sweep(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        held = [self._held[client] for client in self._at]
        for first in range(0, max(map(len, held), default=0), self._width):
            yield self._gather([own[first : first + self._width] for own in held])

    @property
    def no_keys(self) -> list[int]:
        """Keys for models that draw nothing."""
        return [0] * len(self._at)

    def keys(self, purpose: str | int) -> list[int]:
        """Seeds of the clients' dropout, for a step or another purpose."""
        seed, round_ = self._name
        return [rng.seed64(seed, f"dropout:{purpose}", round_, self._ids[i]) for i in self._at]

    def _gather(self, chosen: Sequence[np.ndarray]) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs and targets ``[len(chosen), width, ...]`` at these positions, padded, and the real rows."""
        width, counts = self._width, np.array([len(own) for own in chosen], dtype=np.int64)
        if (counts == width).all():
            positions = np.stack(chosen)
        else:
            positions = np.zeros((len(chosen), width), dtype=np.int64)
            for row, own in zip(positions, chosen, strict=True):
                row[: len(own)] = own
        inputs, targets = self._examples.taken(positions, self._device)
        return inputs, targets, torch.from_numpy(counts)


_PIECE = 256
"""Examples of a client that go through the model at once, where all of them do."""

_NOTHING = np.zeros(0, dtype=np.int64)
