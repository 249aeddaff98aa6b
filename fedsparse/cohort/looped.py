"""Any module, one client after the other: autograd on parameters that are views of the client's row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedsparse.errors import ConfigError
from fedsparse.protocol import Layout

__all__ = ["Looped", "bind", "layouts", "loss_of", "steady"]


def layouts(module: nn.Module) -> tuple[Layout, Layout]:
    """The layouts of a module's trainable parameters and of its floating-point buffers (BatchNorm statistics)."""
    parameters = {name: tuple(p.shape) for name, p in module.named_parameters() if p.requires_grad}
    prunable = frozenset(
        f"{prefix}.weight" if prefix else "weight"
        for prefix, layer in module.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
    )
    buffers = {name: tuple(b.shape) for name, b in module.named_buffers() if b.is_floating_point()}
    return Layout.of(parameters, prunable), Layout.of(buffers)


def bind(module: nn.Module, layout: Layout, flat: Tensor) -> None:
    """Makes the module's parameters or buffers views of ``flat [d]``."""
    views = layout.split(flat)
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    for name, view in views.items():
        tensors[name].data = view.view(tensors[name].shape)


def loss_of(outputs: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    """Cross-entropy for classes, one for each example or for each position; squared error for real targets."""
    if targets.is_floating_point():
        return functional.mse_loss(outputs.reshape(targets.shape), targets, reduction=reduction)
    return functional.cross_entropy(outputs.flatten(0, -2), targets.flatten(), reduction=reduction)


class _KeyedDropout(nn.Module):
    """Dropout that draws from a generator of its own, so that no global random state is touched."""

    def __init__(self, p: float, channels: bool, generator: torch.Generator) -> None:
        super().__init__()
        self.p, self.channels, self.generator = p, channels, generator

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        shape = x.shape[:2] + (1,) * (x.dim() - 2) if self.channels else x.shape
        keep = torch.empty(shape, dtype=x.dtype).bernoulli_(1 - self.p, generator=self.generator)
        return x * keep / (1 - self.p)


def steady(module: nn.Module, generator: torch.Generator) -> None:
    """Replaces dropout layers by keyed ones, in place.

    Raises:
        ConfigError: a layer draws from PyTorch's global generator in a way that cannot be keyed.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm) and child.momentum is None:
            raise ConfigError(
                f"model: layer '{name}' has momentum=None, so its statistics depend on how many minibatches it has "
                "seen in all, which no client knows; give it a momentum, e.g. 0.1"
            )
        if isinstance(child, nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.Dropout3d):
            setattr(module, name, _KeyedDropout(child.p, not isinstance(child, nn.Dropout), generator))
        elif isinstance(child, _UNKEYED) or _share(child) > 0:
            raise ConfigError(
                f"model: layer '{name}' ({type(child).__name__}) draws from PyTorch's global random generator, so runs "
                "would not repeat; use separate nn.Dropout layers instead"
            )
        else:
            steady(child, generator)


_UNKEYED = (nn.RReLU, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)
"""Layers that draw from PyTorch's global generator and cannot be replaced."""


def _share(layer: nn.Module) -> float:
    """Dropout that a layer, such as an LSTM, applies by itself."""
    share = getattr(layer, "dropout", 0.0)  # a child of that name is a module
    return float(share) if isinstance(share, int | float) else 0.0


class Looped:
    """Loss and gradient of any module. A client is computed alone, so its result is the same in any block."""

    together = False
    """One client does all its steps before the next one starts, so that its row stays in cache."""

    def __init__(self, module: nn.Module, layout: Layout, buffers: Layout) -> None:
        self._module, self._layout, self._buffers = module, layout, buffers
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        self.generator = torch.Generator()
        self._proven = False
        steady(module, self.generator)

    def gradient(
        self,
        y: Tensor,
        stats: Tensor,
        inputs: Tensor,
        targets: Tensor,
        counts: Tensor,
        out: Tensor,
        keys: Sequence[int],
    ) -> Tensor:
        """Mean gradient over each client's first ``counts`` rows, written to ``out``; arguments as of ``Stacked``.

        ``stats [C, b]`` is advanced in place, as training mode does. ``keys`` seed each client's dropout.
        """
        self._module.train()
        losses = torch.empty(len(y), dtype=y.dtype)
        for i in range(len(y)):
            bind(self._module, self._layout, y[i])
            bind(self._module, self._buffers, stats[i])
            n = int(counts[i])
            if n == 0:
                out[i], losses[i] = 0, 0
                continue
            self.generator.manual_seed(keys[i])
            with torch.enable_grad():
                loss = loss_of(self._run(inputs[i, :n]), targets[i, :n])
                grads: Any = torch.autograd.grad(
                    loss, self._parameters, allow_unused=True, materialize_grads=True
                )
            views = self._layout.split(out[i])
            for view, grad in zip(views.values(), grads, strict=True):
                view.copy_(grad.view(view.shape))
            losses[i] = loss.detach()
        return losses

    def _run(self, inputs: Tensor) -> Tensor:
        """The outputs; the first time it is seen to that they draw nothing from the global generator."""
        if self._proven:
            outputs: Tensor = self._module(inputs)
            return outputs
        before = torch.get_rng_state()
        outputs = self._module(inputs)
        if not torch.equal(before, torch.get_rng_state()):
            raise ConfigError(
                f"model: {type(self._module).__name__} draws from PyTorch's global random generator in its forward, so "
                "runs would not repeat; use nn.Dropout layers, which get keyed streams, instead"
            )
        self._proven = True
        return outputs
