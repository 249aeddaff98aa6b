"""A data set and who holds what, as clients see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch
from torch import Tensor

from fedsparse.cohort.device import on
from fedsparse.data.dataset import Dataset
from fedsparse.data.holdings import Partition
from fedsparse.wire.arrays import tensor_view

__all__ = ["Examples"]


@dataclass(frozen=True)
class Examples:
    """A data set and who holds what; arrays are shared, read-only, and possibly mapped from a file.

    Attributes:
        x: inputs ``[n, ...]``, uint8, float32 or int64 tokens.
        y: targets ``[n]`` or ``[n, t]``.
        x_test: test inputs.
        y_test: test targets.
        held: the examples of each client.
        scale: inputs that are not tokens become ``x * scale + shift``.
        shift: see ``scale``.
        x_validation: inputs held back from training; None where there are none.
        y_validation: their targets.
        own_test: examples of each client that only it is tested on, positions in ``x``; None where there are none.
    """

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    held: Partition
    scale: float = 1.0
    shift: float = 0.0
    x_validation: np.ndarray | None = None
    y_validation: np.ndarray | None = None
    own_test: Partition | None = None
    _kept: dict[torch.device, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, dataset: Dataset, held: Partition, own_test: Partition | None = None) -> Self:
        """A data set, divided by a partition of it, and perhaps what each client is tested on by itself."""
        d = dataset
        parts = (d.x, d.y, d.x_test, d.y_test, held, d.scale, d.shift, d.x_validation, d.y_validation)
        return cls(*parts, own_test)

    @property
    def clients(self) -> int:
        """Registered clients."""
        return self.held.clients

    @property
    def total(self) -> int:
        """Examples of all clients together."""
        return self.held.total

    @property
    def largest(self) -> int:
        """Examples of the client that has the most."""
        return self.held.largest

    def sizes(self, ids: Tensor) -> Tensor:
        """Examples of the clients ``ids``, ``[C]`` int64."""
        return torch.from_numpy(self.held.sizes(ids.numpy()))

    def own(self, client: int) -> np.ndarray:
        """Positions of a client's examples in ``x``, ascending, int64. Ask once a task: they may have to be drawn."""
        return self.held.examples(client)

    def taken(self, at: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
        """Inputs and targets of the training part at the positions ``at [...]``, on ``device``."""
        # On another device the data set stays there: only positions travel.
        if device not in self._kept:
            self._kept[device] = (_held(self.x, device), _held(self.y, device))
        x, y = self._kept[device]
        positions = on(device, torch.from_numpy(at.ravel()))
        inputs, targets = (
            values.index_select(0, positions).view(*at.shape, *values.shape[1:]) for values in (x, y)
        )
        return self._ready(inputs), targets

    def inputs(self, x: np.ndarray, at: np.ndarray) -> Tensor:
        """Inputs at the positions ``at [...]`` of ``x``, ready for the model: ``[..., *shape]``."""
        return self._ready(torch.from_numpy(np.asarray(x[at])))

    def _ready(self, taken: Tensor) -> Tensor:
        if taken.dtype == torch.int64:
            return taken
        taken = taken.to(torch.float32)
        return taken if self.scale == 1 and self.shift == 0 else taken.mul_(self.scale).add_(self.shift)


def _held(values: np.ndarray, device: torch.device) -> Tensor:
    # Not by NumPy's indexing, which keeps other threads from running.
    return tensor_view(values).to(device)
