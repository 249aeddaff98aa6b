"""What sits in a Ray actor: a runner, and nothing that would be missed if the process died."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from fedsparse.engine.arrays import FileArray
from fedsparse.engine.letters import post
from fedsparse.engine.memory import keep_memory
from fedsparse.engine.pool import Arrays, Failure, Job, Runner, attempt
from fedsparse.engine.shelves import Parcel, Reader, Shelves
from fedsparse.errors import FedSparseError
from fedsparse.process import start_time

__all__ = ["Asked", "Hello", "Host", "OnShelf"]


@dataclass(frozen=True)
class Hello:
    """A worker introduces itself: its machine, its process, and the threads that torch computes with (1)."""

    node: str
    pid: int
    start: int | None
    threads: int


@dataclass(frozen=True)
class OnShelf:
    """Named arrays, where they lie."""

    names: tuple[str, ...]
    parcel: Parcel


@dataclass(frozen=True)
class Asked:
    """A call, in one piece: each argument by itself would cost Ray as much.

    Attributes:
        sent: the call.
        shared: what all calls of the phase read, for a worker that finds it on a shelf.
        done: shelves whose arrays the driver does not need any more.
    """

    sent: Any
    shared: OnShelf | None
    done: list[int]


class Host:
    """One worker in a process of its own.

    Args:
        preload: modules to import while the driver is still busy.
        path: where the driver looks for modules, so that a strategy in the user's folder is found here, too.
    """

    def __init__(self, preload: Sequence[str], path: Sequence[str]) -> None:
        import torch  # a Ray worker imports this module before its threads are pinned

        torch.set_num_threads(1)
        keep_memory()
        sys.path.extend(entry for entry in path if entry not in sys.path)
        for module in preload:
            import_module(module)
        self._runner: Runner | None = None
        self._reader = Reader()
        self._shelves: Shelves | None = None
        self._jobs = 0

    def setup(
        self,
        job: Job,
        arrays: Mapping[str, FileArray | np.ndarray[Any, Any]],
        near: bool,
        shelves: Path | None = None,
    ) -> Hello | Failure:
        """Map the arrays and build the runner; answering is the sign of life before the first call.

        Args:
            job: recipe of the runner.
            arrays: the data set.
            near: this is the driver's machine.
            shelves: a folder in shared memory for large results; they go through Ray where there is none.
        """
        import ray
        import torch

        if self._shelves is not None:
            self._shelves.close()
        self._jobs += 1
        self._shelves = None if shelves is None else Shelves(shelves, f"{os.getpid()}-{self._jobs}")
        self._runner = None
        built = attempt(_build, job, arrays, near)
        if isinstance(built, Failure):
            return _portable(built)
        self._runner = built
        node: str = ray.get_runtime_context().get_node_id()
        return Hello(node, os.getpid(), start_time(os.getpid()), torch.get_num_threads())

    def run(self, asked: Asked, shared: Arrays | None = None) -> Any | Failure:
        """One call; an exception is returned, not raised, so that it looks as it does from a thread.

        Args:
            asked: the call.
            shared: what all calls of the phase read, if that came through Ray.
        """
        if asked.shared is not None:
            shared = dict(zip(asked.shared.names, self._reader.open(asked.shared.parcel), strict=True))
        if self._shelves is not None:
            self._shelves.free(asked.done)
        result = attempt(_run, self._runner, shared or {}, asked.sent)
        if isinstance(result, Failure):
            return _portable(result)
        return result if self._shelves is None else post(result, self._shelves)


def _build(job: Job, arrays: Mapping[str, FileArray | np.ndarray[Any, Any]], near: bool) -> Runner:
    opened = {name: array.open() if isinstance(array, FileArray) else array for name, array in arrays.items()}
    return job.build(opened, near)


def _run(runner: Runner | None, shared: Arrays, sent: Any) -> Any:
    if runner is None:
        raise FedSparseError("this worker has no job; set up the pool first")
    return runner(shared, sent)


def _portable(failure: Failure) -> Failure:
    """Without the exception, unless it is of a class that surely survives the way to the driver."""
    return (
        failure if isinstance(failure.cause, FedSparseError | MemoryError) else replace(failure, cause=None)
    )
