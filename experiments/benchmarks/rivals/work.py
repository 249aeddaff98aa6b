"""What every program of the comparison is given, and what it says while it runs. Needs NumPy alone.

A program is called with the file of the work, the number of rounds, and where its final model goes. It prints a line
when its set-up is done and a line after every round; all programs read one clock.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["Arguments", "Work", "arguments", "mark", "save"]


@dataclass(frozen=True)
class Work:
    """Who trains on what, from which weights: R rounds of S clients with K steps of B examples.

    Attributes:
        model: one of ``mlp``, ``cnn`` and ``lenet5``.
        lr: step size of local SGD.
        clients: registered clients.
        cohorts: ids of each round's clients ``[R, S]``.
        batches: positions of the examples of each step ``[R, S, K, B]``.
        start: the initial weights by name, in the order of the layers and in the shapes of torch.
        x: images ``[N, 1, 28, 28]`` uint8; a program trains on ``x * scale`` in float32.
        y: classes ``[N]`` int64.
        scale: see ``x``.
    """

    model: str
    lr: float
    clients: int
    cohorts: NDArray[np.int64]
    batches: NDArray[np.int64]
    start: dict[str, NDArray[np.float32]]
    x: NDArray[np.uint8]
    y: NDArray[np.int64]
    scale: float

    @property
    def order(self) -> NDArray[np.int64]:
        """Positions of each client's examples in the order in which it uses them, ``[R, S, K B]``."""
        rounds, cohort, *_ = self.batches.shape
        return self.batches.reshape(rounds, cohort, -1)

    def inputs(self) -> NDArray[np.float32]:
        """All inputs as a model takes them, ``[N, 1, 28, 28]``."""
        return self.x.astype(np.float32) * np.float32(self.scale)

    @staticmethod
    def load(path: Path) -> Work:
        """The work in ``path``; the data set lies beside it."""
        with np.load(path) as held:
            start = {name[6:]: held[name] for name in held.files if name.startswith("start/")}
            return Work(
                model=str(held["model"]),
                lr=float(held["lr"]),
                clients=int(held["clients"]),
                cohorts=held["cohorts"],
                batches=held["batches"],
                start=start,
                x=np.load(path.with_name("x.npy")),
                y=np.load(path.with_name("y.npy")),
                scale=float(held["scale"]),
            )


@dataclass(frozen=True)
class Arguments:
    """The command line of a program.

    Attributes:
        work: the file of the work.
        rounds: how many rounds to run.
        final: where to write the final model.
        rest: what this program alone understands.
    """

    work: Path
    rounds: int
    final: Path
    rest: list[str]


def arguments() -> Arguments:
    """The arguments of this process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--final", type=Path, required=True)
    known, rest = parser.parse_known_args()
    return Arguments(known.work, known.rounds, known.final, rest)


def mark(what: str, **more: int) -> None:
    """Says that this moment is the ``start`` of the first round, the end of a ``round``, or how many ``bytes``."""
    print(json.dumps({"mark": what, "at": time.monotonic(), **more}), flush=True)


def save(path: Path, parameters: list[NDArray[np.float32]]) -> None:
    """Writes a model as one vector, in the order and the shapes of :attr:`Work.start`."""
    np.save(path, np.concatenate([part.reshape(-1) for part in parameters]))
