"""FedAvg that promises what it does not keep, or less than it does."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from sound import Sound

from fedsparse.options import option
from fedsparse.protocol import State, Task, Theory
from fedsparse.schedule import InverseSqrt, Schedule


@dataclass(frozen=True)
class PromisesOptimum(Sound):
    """Is FedAvg, and claims to be exact."""

    caught_by = "theory"
    theory = Theory("optimum", {"lr": 0.02}, rounds=50, within=1e-6)


@dataclass(frozen=True)
class PromisesTooLittle(Sound):
    """Is exact, and claims not to be: one local step of FedAvg is gradient descent."""

    caught_by = "theory"
    theory = Theory("neighbourhood", {"lr": 0.1}, rounds=120, within=1e-3)

    def change(self, heard: State, task: Task) -> torch.Tensor:
        return task.sgd(heard["x"], lr=self.lr, steps=1).x - heard["x"]


@dataclass(frozen=True)
class PromisesLinear(Sound):
    """One local step, ever shorter: it is exact, and its rate is not linear."""

    caught_by = "theory"
    theory = Theory("optimum", rounds=200, within=1e-3, rate="linear")

    lr: float | Schedule = option(InverseSqrt(0.1), "local step size", above=0)

    def change(self, heard: State, task: Task) -> torch.Tensor:
        return task.sgd(heard["x"], lr=self.lr, steps=1).x - heard["x"]


@dataclass(frozen=True)
class PromisesSublinear(PromisesTooLittle):
    """Is gradient descent, and claims to be slower."""

    caught_by = "theory"
    theory = Theory("optimum", {"lr": 0.1}, rounds=120, within=1e-3, rate="sublinear")


@dataclass(frozen=True)
class SecondPromise(PromisesTooLittle):
    """Keeps its first promise and breaks the second."""

    caught_by = "theory"
    theory = (
        Theory("optimum", {"lr": 0.1}, rounds=120, within=1e-3),
        Theory("optimum", {"lr": 0.01}, rounds=120, within=1e-3),
    )


@dataclass(frozen=True)
class RateToNowhere(Sound):
    """Declares a rate to a limit that it does not reach."""

    caught_by = "theory"
    theory = Theory("neighbourhood", {"lr": 0.02}, rounds=10, within=1e-3, rate="linear")


@dataclass(frozen=True)
class Diverges(Sound):
    """Promises to come near, with a step that is far too long."""

    caught_by = "theory"
    theory = Theory("neighbourhood", {"lr": 1e6}, rounds=60, within=1e-3)
