"""The random state that all code of a process shares, which no run may touch."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

__all__ = ["kept", "shared_state"]


def shared_state() -> dict[str, bytes]:
    """The state of the global generators of torch, NumPy and Python, by name."""
    _, keys, position, *gauss = np.random.get_state()  # noqa: NPY002 - watched, not used
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy.random": np.asarray(keys).tobytes() + repr((position, gauss)).encode(),
        "random": repr(random.getstate()).encode(),
    }


@contextmanager
def kept() -> Iterator[None]:
    """Puts the shared state back to what it was."""
    before: tuple[Any, Any, Any] = (torch.get_rng_state(), np.random.get_state(), random.getstate())  # noqa: NPY002
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])  # noqa: NPY002 - put back, not used
        random.setstate(before[2])
