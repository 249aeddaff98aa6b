"""A model as a list of batched steps: what :mod:`fedsparse.cohort.tracing` makes of a module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from fedsparse.cohort.layers.base import Layer, Pass

__all__ = ["Program", "Ref", "Step"]


@dataclass(frozen=True)
class Ref:
    """The result of a step, by its number; the input of the model is number 0, the first step 1."""

    number: int


@dataclass(frozen=True)
class Step:
    """One layer or function.

    Attributes:
        layer: its batched form.
        inputs: results of earlier steps, and constants.
        options: arguments by name.
        name: of the layer in the model; empty for functions.
        module: the layer itself; ``None`` for functions.
        function: the function, or a method's name; ``None`` for layers.
        alone: why it goes through one client after the other; empty where it is batched.
    """

    layer: Layer
    inputs: tuple[Any, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    module: nn.Module | None = None
    function: Any = None
    alone: str = ""


@dataclass(frozen=True)
class Program:
    """Steps in order; the last one gives the outputs.

    Attributes:
        steps: the steps.
    """

    steps: tuple[Step, ...]

    def __call__(self, run: Pass, inputs: Tensor) -> Tensor:
        """Outputs ``[C * B, ...]`` for inputs ``[C * B, ...]``."""
        found: Tensor = self.results(run, inputs)[-1]
        return found

    def results(self, run: Pass, inputs: Tensor) -> list[Any]:
        """The inputs, and what every step gives."""
        results: list[Any] = [inputs]
        for step in self.steps:
            args = [_look_up(results, value) for value in step.inputs]
            options = {name: _look_up(results, value) for name, value in step.options.items()}
            results.append(step.layer(run, *args, **options))
        return results

    @property
    def alone(self) -> list[str]:
        """What goes through one client after the other, and why."""
        return [f"{step.name or 'the model'} ({step.alone})" for step in self.steps if step.alone]

    def leading(self) -> set[str]:
        """Names of layers whose input is the model's input, but for its shape."""
        untouched, found = {0}, set()
        for number, step in enumerate(self.steps, start=1):
            direct = all(not isinstance(v, Ref) or v.number in untouched for v in step.inputs)
            if direct and isinstance(step.module, nn.Flatten | nn.Identity):
                untouched.add(number)
            elif direct and step.name:
                found.add(step.name)
        return found


def _look_up(results: Sequence[Any], value: Any) -> Any:
    if isinstance(value, Ref):
        return results[value.number]
    if isinstance(value, tuple | list):
        return type(value)(_look_up(results, v) for v in value)
    return value
