"""Chains of dense layers, trained for all clients of a block at once: one batched product a layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedsparse.protocol import Layout

__all__ = ["Stacked", "chain"]


def chain(module: nn.Module) -> list[nn.Module] | None:
    """The layers of a module that is a chain of Linear, ReLU and Flatten, ending in a Linear; else ``None``."""
    layers = list(_flatten(module))
    known = all(type(layer) in {nn.Linear, nn.ReLU, nn.Flatten, nn.Identity} for layer in layers)
    names = [layer for layer in layers if isinstance(layer, nn.Linear)]
    shared = len({id(layer.weight) for layer in names}) < len(names)
    flat = all(
        layer.start_dim == 1 and layer.end_dim == -1 for layer in layers if isinstance(layer, nn.Flatten)
    )
    frozen = not all(p.requires_grad for p in module.parameters())
    if not known or frozen or shared or not flat or not names or layers[-1] is not names[-1]:
        return None
    return layers


def _flatten(module: nn.Module) -> Iterator[nn.Module]:
    if type(module) is nn.Sequential:
        for child in module:
            yield from _flatten(child)
    else:
        yield module


class Stacked:
    """Loss and gradient of a chain under cross-entropy, forward and backward written out.

    Rows never mix: every product is one matrix a client, every sum runs within a client, so that a client's result is
    the same in any block.
    """

    together = True
    """All clients of a block go through a step side by side."""

    def __init__(self, layers: list[nn.Module], layout: Layout) -> None:
        self._layout = layout
        self._steps: list[tuple[str, str] | None] = []
        dense = iter([f.name for f in layout if len(f.shape) == 2])
        biases = {f.name for f in layout}
        for layer in layers:
            if isinstance(layer, nn.Linear):
                weight = next(dense)
                bias = weight.removesuffix("weight") + "bias"
                self._steps.append((weight, bias if bias in biases else ""))
            elif isinstance(layer, nn.ReLU):
                self._steps.append(None)

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
        """Mean gradient over each client's first ``counts`` rows, written to ``out``.

        Args:
            y: parameters ``[C, d]``.
            stats: buffers, ``[C, 0]``.
            inputs: ``[C, B, ...]``.
            targets: classes ``[C, B]``.
            counts: real rows ``[C]``; the others are padding.
            out: ``[C, d]``.
            keys: seeds of dropout layers, of which a chain has none.

        Returns:
            mean loss ``[C]``.
        """
        if len(y) == 1:
            # A batch of one takes other routines, with other bits: one client goes as two.
            a, b, c, d, e = (t.expand(2, *t.shape[1:]) for t in (y, stats, inputs, targets, counts))
            twice = torch.empty(2, out.shape[1], dtype=out.dtype)
            loss = self.gradient(a, b, c, d, e, twice, keys)
            out.copy_(twice[:1])
            return loss[:1]
        del stats, keys
        p, g = self._layout.split(y), self._layout.split(out)
        kept: list[Tensor] = []
        h = inputs.flatten(2)
        for step in self._steps:
            kept.append(h)
            h = torch.relu(h) if step is None else _affine(h, p[step[0]], p.get(step[1]))
        real = torch.arange(h.shape[1]) < counts[:, None]
        share = (real / counts.clamp(min=1)[:, None]).to(h.dtype)
        logs = functional.log_softmax(h, dim=-1)
        loss = -(logs.gather(-1, targets[..., None]).squeeze(-1) * share).sum(1)
        d = (logs.exp() - functional.one_hot(targets, h.shape[-1])) * share[..., None]
        for k in reversed(range(len(self._steps))):
            step, h = self._steps[k], kept[k]
            if step is None:
                d = torch.ops.aten.threshold_backward(d, h, 0)
                continue
            g[step[0]].copy_(torch.bmm(d.mT, h))
            if step[1]:
                g[step[1]].copy_(d.sum(1))
            if k:
                d = torch.bmm(d, p[step[0]])
        return loss


def _affine(h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.bmm(h, weight.mT) if bias is None else torch.baddbmm(bias[:, None], h, weight.mT)
