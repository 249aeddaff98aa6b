"""What clients optimise, where nobody has the examples of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fedsparse.cohort.calibration import Calibration
from fedsparse.engine.block import Workload
from fedsparse.protocol import Predict

__all__ = ["Elsewhere"]


class Elsewhere:
    """A :class:`~fedsparse.engine.block.Workload` with other numbers of examples than are here.

    Args:
        here: makes tasks of the examples that are here, and evaluates.
        total: examples of all clients together.
        sizes: examples of each client, where they are known.
    """

    def __init__(self, here: Workload, total: int, sizes: Mapping[int, int] | None = None) -> None:
        self._here, self._sizes = here, sizes
        self.clients, self.start, self.total = here.clients, here.start, total

    @property
    def has_optimum(self) -> bool:
        """As here."""
        return self._here.has_optimum

    @property
    def personal(self) -> bool:
        """As here."""
        return self._here.personal

    @property
    def chunks(self) -> int:
        """As here."""
        return self._here.chunks

    @property
    def client_bytes(self) -> int:
        """As here."""
        return self._here.client_bytes

    @property
    def notes(self) -> list[str]:
        """As here."""
        return self._here.notes

    def sizes(self, ids: Tensor) -> Tensor:
        """Examples of the clients ``ids``, ``[C]``."""
        if self._sizes is None:
            return self._here.sizes(ids)
        return torch.tensor([self._sizes.get(client, 0) for client in ids.tolist()], dtype=torch.int64)

    def task(self, ids: Tensor, seed: int, round: int, buffers: Tensor) -> Any:  # noqa: A002
        """The task of clients whose examples are here."""
        return self._here.task(ids, seed, round, buffers)

    def evaluate(self, x: Tensor, buffers: Tensor, chunk: int, predict: Predict) -> dict[str, float]:
        """As here."""
        return self._here.evaluate(x, buffers, chunk, predict)

    def minibatches(self, asked: Calibration) -> int:
        """As here."""
        return self._here.minibatches(asked)

    def calibrated(
        self, x: Tensor, buffers: Tensor, asked: Calibration, minibatch: int, predict: Predict
    ) -> Tensor:
        """As here."""
        return self._here.calibrated(x, buffers, asked, minibatch, predict)

    def metrics(self, parts: list[Mapping[str, Any]]) -> dict[str, float]:
        """As here."""
        return self._here.metrics(parts)
