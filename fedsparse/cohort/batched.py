"""A model in batched form: its program, and what is known about its layers."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fedsparse.cohort.layers.base import Dense, Pass
from fedsparse.cohort.layers.dropout import KeyedDropout
from fedsparse.cohort.line import Line
from fedsparse.cohort.program import Program
from fedsparse.cohort.steady import steady
from fedsparse.cohort.tracing import as_one, traced
from fedsparse.cohort.untraced import untraced
from fedsparse.errors import ConfigError
from fedsparse.models._adapter import Adapter
from fedsparse.protocol import Layout, Start

__all__ = ["Batched", "Linear", "layouts", "parameters_of"]


@dataclass(frozen=True)
class Linear:
    """A linear layer that is used once.

    Attributes:
        name: of the layer.
        shape: of its weights, ``(m, n)``.
        biased: whether it has a bias.
        positions: its rows for each example: more than one in sequences.
        leading: its input is the model's own, but for the shape.
    """

    name: str
    shape: tuple[int, int]
    biased: bool
    positions: int
    leading: bool


_WEIGHED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers whose single weights may be pruned, and are multiplied at every position."""


def layouts(module: nn.Module) -> tuple[Layout, Layout]:
    """The layouts of a module's trainable parameters and of its floating-point buffers (BatchNorm statistics)."""
    parameters = {name: tuple(p.shape) for name, p in module.named_parameters() if p.requires_grad}
    buffers = {name: tuple(b.shape) for name, b in module.named_buffers() if b.is_floating_point()}
    layout = Layout.of(parameters, _weights_of(module, _WEIGHED), _weights_of(module, (nn.Embedding,)))
    return layout, Layout.of(buffers)


def _weights_of(module: nn.Module, types: tuple[type[nn.Module], ...]) -> frozenset[str]:
    """Names of the weights of layers of these types."""
    return frozenset(
        f"{prefix}.weight" if prefix else "weight"
        for prefix, layer in module.named_modules()
        if isinstance(layer, types)
    )


def parameters_of(module: nn.Module) -> Tensor:
    """A module's trainable parameters, flat ``[d]``, in the order of its layout."""
    named, (layout, _) = dict(module.named_parameters()), layouts(module)
    return torch.cat([*(named[f.name].detach().flatten() for f in layout), torch.zeros(0)])


_CPU = torch.device("cpu")

_MIXES = "its forward mixes examples, or depends on their number"


class Batched:
    """A module for many clients at once.

    Args:
        module: with its initial weights; left alone.
        examples: a few inputs ``[n, ...]``, ready for the module; to see what it does with them.
        device: where clients train.
        own_models: whether clients have models of their own, even where these are alike.

    Attributes:
        own_models: likewise.
        start: its initial parameters and statistics.
        layout: its trainable parameters.
        buffer_layout: its statistics.
        program: the steps.
        linear: linear layers that are trainable and used once.
        line: the program, where it is linear layers and ReLUs one behind the other.
        notes: what goes through one client after the other, a line for people each.
    """

    def __init__(
        self, module: nn.Module, examples: Tensor, device: torch.device = _CPU, own_models: bool = False
    ) -> None:
        self.own_models = own_models
        module, examples = _copied(module, device), examples.to(device)
        steady(module)
        self.layout, self.buffer_layout = layouts(module)
        self._fixed = {
            name: p.detach()[None].to(device) for name, p in module.named_parameters() if not p.requires_grad
        }
        self._adapters = {name: layer for name, layer in module.named_modules() if isinstance(layer, Adapter)}
        self._random = any(isinstance(m, KeyedDropout) and m.p for m in module.modules())
        named = dict(module.named_parameters()) | dict(module.named_buffers())
        x, stats = (
            torch.cat([*(named[f.name].detach().flatten() for f in part), torch.zeros(0)])
            for part in (self.layout, self.buffer_layout)
        )
        self._x, self._stats = x.to(device), stats.to(device)
        module.to(device)
        self._norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        self.program = self._proven(module, traced(module), examples)
        self.notes = [f"model: clients go one at a time through {what}" for what in self.program.alone]
        self.linear = self._find_linear(examples)
        self.layout = self._measured(examples)
        shape = tuple(examples.shape[1:])
        self.start = Start(
            self._x.cpu(), self.layout, self._stats.cpu(), self.buffer_layout, shape, self._forward
        )
        self.line = Line.of(self.program, {layer.name for layer in self.linear if layer.positions == 1})

    def merged(self, products: Tensor) -> Batched:
        """The same model with something merged into its frozen weights, which are then held once more.

        Args:
            products: beside B A of each adapter, ``[f]`` in the order of ``layout.products``; of no width: nothing.
        """
        if not products.numel():
            return self
        made, changes = copy.copy(self), self.layout.products.split(products.to(self._x.device))
        made._fixed = dict(self._fixed)
        for name, layer in self._adapters.items():
            weight = f"{name}.base.weight"
            made._fixed[weight] = layer.merged(self._fixed[weight], changes[f"{name}.lora"][None])
        return made

    def run(
        self,
        values: Mapping[str, Tensor],
        inputs: Tensor,
        counts: Tensor,
        keys: Sequence[int] | None,
        dense: Mapping[str, Dense] | None = None,
    ) -> Tensor:
        """Outputs ``[C, B, ...]``, differentiable in ``values``.

        Args:
            values: parameters and statistics ``[C, *shape]``; statistics advance in place in training mode.
            inputs: ``[C, B, ...]``.
            counts: real rows ``[C]``.
            keys: seeds of each client's dropout; ``None`` is evaluation mode.
            dense: linear layers in another form, by name.
        """
        run = self._pass(values, len(inputs), counts.tolist(), keys, dense or {})
        return run.apart(self.program(run, inputs.flatten(0, 1)))

    def _pass(
        self,
        values: Mapping[str, Tensor],
        clients: int,
        counts: list[int],
        keys: Sequence[int] | None,
        dense: Mapping[str, Dense],
    ) -> Pass:
        fixed = {name: value.expand(clients, *value.shape[1:]) for name, value in self._fixed.items()}
        return Pass(clients, counts, {**fixed, **values}, keys is not None, keys or (), dense)

    def outputs(self, x: Tensor, stats: Tensor, inputs: Tensor, keys: Sequence[int] | None = None) -> Tensor:
        """Outputs ``[C, B, ...]`` for ``x [C, d]``, differentiable in ``x``; ``stats [C, b]`` are not advanced.

        In training mode with ``keys``, which seed each client's dropout; without, in evaluation mode.
        """
        counts = torch.full((len(inputs),), inputs.shape[1])
        return self.run(self.values(x, stats.clone()), inputs, counts, keys)

    def calibrated(
        self, x: Tensor, stats: Tensor, inputs: Tensor, counts: Tensor, keys: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Outputs ``[C, B, ...]`` in training mode, and BatchNorm statistics ``[C, b]`` of these inputs alone.

        Of a client without inputs, and where a buffer is no statistic, they are those of ``stats [C, b]``.
        """
        rows, momenta = stats.clone(), [norm.momentum for norm in self._norms]
        try:
            for norm in self._norms:
                norm.momentum = 1.0
            with torch.no_grad():
                out = self.run(self.values(x, rows), inputs, counts, keys)
        finally:
            for norm, momentum in zip(self._norms, momenta, strict=True):
                norm.momentum = momentum
        return out, rows

    def client_bytes(self, batch: int) -> int:
        """Memory that a client of a block takes while it trains, about: parameters, activations, gradients."""
        return 4 * (2 * self.layout.size + 2 * batch * self.layout.activations)

    @property
    def normed(self) -> bool:
        """Whether it has BatchNorm statistics."""
        return any(norm.running_mean is not None for norm in self._norms)

    @property
    def random(self) -> bool:
        """Whether training mode draws random numbers."""
        return self._random

    def values(self, x: Tensor, stats: Tensor) -> dict[str, Tensor]:
        """Views ``[C, *shape]`` of parameters ``[C, d]`` and statistics ``[C, b]``, by name."""
        # Split at once: backward puts the parts together in one pass.
        parts = torch.split(x, [f.size for f in self.layout], dim=1)
        shaped = {f.name: part.view(-1, *f.shape) for f, part in zip(self.layout, parts, strict=True)}
        return shaped | self.buffer_layout.split(stats)

    def _proven(self, module: nn.Module, program: Program, examples: Tensor) -> Program:
        """A program that does what the module does; where none does, the module as a whole, one client at a time."""
        if all(
            type(m).__module__.startswith(("torch.nn.", KeyedDropout.__module__)) for m in module.modules()
        ):
            return program
        # A forward of the user's own was taken apart: whether it keeps examples apart, only a trial can tell.
        plain, why = as_one(module, _MIXES), ""
        expected = [self._trial(plain, examples, train) for train in (True, False)]
        if program.alone:
            try:
                whole = untraced(module)
                why = self._differs(whole, examples, expected)
            except ConfigError as refused:
                why = _reason(refused)
            if not why:
                return whole
        differs = self._differs(program, examples, expected)
        return as_one(module, why or differs) if differs else program

    def _differs(self, program: Program, examples: Tensor, expected: Sequence[tuple[Tensor, Tensor]]) -> str:
        """Why a program is not what was expected, in training and in evaluation; empty where it is."""
        try:
            found = [self._trial(program, examples, train) for train in (True, False)]
        except ConfigError as refused:
            return _reason(refused)
        except Exception:  # noqa: BLE001 - whatever a user's forward raises for another number of examples
            return _MIXES
        same = all(
            a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-4)
            for mine, theirs in zip(found, expected, strict=True)
            for a, b in zip(mine, theirs, strict=True)
        )
        return "" if same else _MIXES

    def _trial(self, program: Program, examples: Tensor, train: bool) -> tuple[Tensor, Tensor]:
        """Outputs for two clients of two and three examples, and the statistics after it."""
        self.program = program
        chosen = examples[torch.arange(6) % len(examples)]
        if chosen.is_floating_point():  # examples may be all the same, and weights zero
            chosen = chosen + _wave(chosen)
        elif chosen.dim() > 1:  # a text that is shorter than the others
            chosen[0, chosen.shape[1] // 2 + 1 :] = 0
        inputs = chosen.view(2, 3, *examples.shape[1:])
        x = torch.stack([self._x, self._x])
        both = x + 0.1 * _wave(x), self._stats.repeat(2, 1)
        with torch.no_grad():
            counts = torch.tensor([3, 2])
            found = self.run(self.values(*both), inputs, counts, [1, 2] if train else None)
        found[1, 2:] = 0
        return found, both[1]

    def _find_linear(self, examples: Tensor) -> tuple[Linear, ...]:
        names = Counter(step.name for step in self.program.steps if type(step.module) is nn.Linear)
        leading, known = self.program.leading(), {f.name for f in self.layout}
        layers = {
            step.name: step.module
            for step in self.program.steps
            if isinstance(step.module, nn.Linear) and names[step.name] == 1 and f"{step.name}.weight" in known
        }
        seen = {name: _Seen(layer) for name, layer in layers.items()}
        self._results(examples, seen)
        return tuple(
            Linear(
                name,
                (layer.out_features, layer.in_features),
                layer.bias is not None,
                seen[name].rows // 2,
                name in leading,
            )
            for name, layer in layers.items()
        )

    def _results(
        self, examples: Tensor, dense: Mapping[str, Dense]
    ) -> list[tuple[str, nn.Module | None, Any]]:
        """What was computed for two examples (some layers refuse a single one) in evaluation mode, with the layers."""
        run = self._pass(self.values(self._x[None], self._stats[None]), 1, [2], None, dense)
        run.made = []
        with torch.no_grad():
            found = self.program.results(run, examples[torch.arange(2) % len(examples)])
        steps = [
            (step.name, step.module, made) for step, made in zip(self.program.steps, found[1:], strict=True)
        ]
        return [("", None, found[0]), *run.made, *steps]

    def _measured(self, examples: Tensor) -> Layout:
        """The layout, and what one example costs: positions of each weight, and numbers computed."""
        results = [made for made in self._results(examples, {}) if isinstance(made[2], Tensor)]
        positions = Counter[str]()
        for name, layer, made in results:
            if isinstance(layer, (*_WEIGHED, Adapter)):
                adapted = isinstance(layer, Adapter)
                channels = made.shape[-1 if adapted or isinstance(layer, nn.Linear) else 1]
                for weight in ("lora_A", "lora_B", "lora_S") if adapted else ("weight",):
                    positions[f"{name}.{weight}"] += made.numel() // (2 * channels)
        fields = tuple(replace(f, positions=positions[f.name]) for f in self.layout)
        return Layout(fields, sum(made.numel() for _, _, made in results) // 2)

    def _forward(self, x: Tensor, inputs: Tensor) -> Tensor:
        """Outputs ``[B, ...]`` of the module in evaluation mode with its first statistics, at ``x [d]``.

        In the precision of ``x``; they lie where ``x`` does.
        """
        own, device = copy.copy(self), self._x.device
        own._fixed = {name: value.to(x.dtype) for name, value in self._fixed.items()}
        out = own.outputs(x[None].to(device), self._stats[None].to(x.dtype), inputs[None].to(device))
        return out[0].to(x.device)


def _reason(refused: ConfigError) -> str:
    return str(refused).removeprefix("model: ")


def _copied(module: nn.Module, device: torch.device) -> nn.Module:
    """A copy; frozen parameters, which nobody writes to, are the same tensors where the device is."""
    frozen = [p for p in module.parameters() if not p.requires_grad and device == p.device]
    return copy.deepcopy(module, {id(p): p for p in frozen})


def _wave(like: Tensor) -> Tensor:
    """Numbers between -1 and 1, all different."""
    return torch.arange(like.numel(), dtype=like.dtype, device=like.device).sin().view(like.shape)


class _Seen:
    """Notes how many rows a layer gets."""

    def __init__(self, layer: nn.Linear) -> None:
        self._layer, self.rows = layer, 0

    def __call__(self, h: Tensor) -> Tensor:
        self.rows = h.shape[1]
        out: Tensor = self._layer(h)
        return out
