"""The workers that a configuration names, kept open from one run of a sweep to the next."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from fedsparse import registry
from fedsparse.config import Choice
from fedsparse.errors import ConfigError

if TYPE_CHECKING:
    from fedsparse.engine.pool import Pool

__all__ = ["Workers", "wanted_workers"]

_STORE = 256 << 20
"""Bytes of Ray's shared memory: two broadcasts and two rounds of dense messages fit for small models."""

_PRELOAD = ("fedsparse.engine.block", "fedsparse.simulation")
"""What workers import while the driver is still busy."""


class Workers:
    """The pool of one run after another: Ray takes seconds to start. A context manager, for one thread."""

    def __init__(self) -> None:
        self._pool: Pool | None = None
        self._made_for: tuple[object, ...] = ()

    def pool(self, engine: Choice, device: str, numbers: int, note: Callable[[str], None]) -> Pool:
        """The pool for an engine: that of the last run where it will do, else a new one.

        Args:
            engine: the choice, with its options ``workers`` and ``address``.
            device: what clients train on; each accelerator of this machine gets one worker under Ray.
            numbers: numbers that travel in a round when messages are dense: cohort times parameters.
            note: is told that workers are started.
        """
        address, workers = engine.options.get("address"), wanted_workers(engine, device)
        store = max(_STORE, 5 * 4 * numbers) if engine.name == "ray" else 0
        wanted = (engine.name, device, address, workers, store)
        if self._pool is None or wanted != self._made_for:
            self.close()
            self._pool, self._made_for = _open(engine.name, device, workers, address, store, note), wanted
        if engine.name == "ray":
            _share_files()
        return self._pool

    def close(self) -> None:
        """Ends the workers; the next run gets new ones."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def wanted_workers(engine: Choice, device: str) -> int | None:
    """How many workers a run will have: those asked for, or as many as there is something to compute on.

    Args:
        engine: the choice, with its options ``workers`` and ``address``.
        device: what clients train on.

    Returns:
        the number; ``None``: all that a cluster has.

    Raises:
        ConfigError: there is no such device on this machine, or not one for each worker.
    """
    asked: int | None = engine.options.get("workers")
    if engine.options.get("address"):
        return asked
    if device == "cpu":
        return asked or len(os.sched_getaffinity(0))
    from fedsparse.cohort.device import prepared

    prepared(device)
    import torch

    if engine.name != "ray":
        return asked or 1
    count = torch.cuda.device_count()
    if (asked or 0) > count:
        raise ConfigError(
            f"engine.workers={asked}: with device={device} each worker has an accelerator of its own under Ray, and "
            f"this machine has {count}; leave engine.workers out"
        )
    return asked or count


def _open(
    engine: str,
    device: str,
    workers: int | None,
    address: str | None,
    store: int,
    note: Callable[[str], None],
) -> Pool:
    if engine == "local":
        from fedsparse.engine.local import LocalPool

        return LocalPool(workers or 1)
    note(
        f"joining the Ray cluster at {address} ..." if address else f"starting Ray with {workers} workers ..."
    )
    from fedsparse.engine.ray_pool import RayPool

    return RayPool(workers, address, store=store, preload=_PRELOAD, accelerated=device != "cpu")


def _share_files() -> None:
    """What was given as a path, workers cannot import: it travels with the job."""
    from ray import cloudpickle

    for module in registry.from_files():
        cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]
