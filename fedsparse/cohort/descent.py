"""Local training of a block of clients on a data set, step by step, without a gradient as long as the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from fedsparse.cohort import products
from fedsparse.cohort.batched import Batched, Linear
from fedsparse.cohort.device import on
from fedsparse.cohort.inparts import InParts, Layer
from fedsparse.cohort.kept import Kept, part
from fedsparse.cohort.layers.base import Dense
from fedsparse.cohort.loss import losses_of, shares
from fedsparse.cohort.lowrank import LowRank, window
from fedsparse.cohort.minibatches import Minibatches
from fedsparse.cohort.task import Descent
from fedsparse.cohort.weights import Weights
from fedsparse.protocol import Field, Layout, Trained

__all__ = ["descend", "together"]

_PROCESSOR = torch.device("cpu")


def descend(model: Batched, asked: Descent, batches: Minibatches) -> Trained:
    """Trains every client of the block.

    Args:
        model: what is trained.
        asked: how.
        batches: the clients' minibatches; counts who has used what.
    """
    layout, longest = model.layout, int(asked.steps.max())
    low_rank = {} if asked.moves is not None else _low_rank(model, asked, batches.nominal)
    fields = {f"{name}.{kind}" for name in low_rank for kind in ("weight", "bias")}
    weights = _weights(model, asked, batches.nominal)
    tensors = {f.name: weights.get(f.name) or Kept(asked, f) for f in layout if f.name not in fields}
    statistics = model.buffer_layout.split(asked.buffers)
    feed = next((linear.name for linear, _ in low_rank.values() if linear.leading), None)
    dense = {name: layer for name, (_, layer) in low_rank.items()}
    layers: dict[str, Dense] = {**dense, **_layers(tensors)}
    span = dense[feed].window if feed else 1
    line = None if tensors else model.line
    losses = torch.zeros(len(asked.steps), dtype=asked.x.dtype, device=asked.x.device)
    for step in range(longest):
        if step % span == 0:
            steps = range(step, min(step + span, longest))
            named = range(asked.first + steps.start, asked.first + steps.stop)
            inputs, targets, counts = batches.several(named, asked.first + asked.steps)
            if feed:
                dense[feed].feed(inputs.reshape(len(inputs), -1, low_rank[feed][0].shape[1]), len(steps))
            share = shares(targets, counts, asked.x.dtype)
        at = step % span
        if line is not None:
            losses += line.slopes(inputs[:, at], targets[:, at], share[:, at], dense)
            continue
        keys = batches.keys(asked.first + step) if model.random else batches.no_keys
        real = counts[:, at]
        values = {name: tensor.open_step() for name, tensor in tensors.items()}
        with torch.enable_grad():
            out = model.run(values | statistics, inputs[:, at], real, keys, layers)
            loss = losses_of(out, targets[:, at], real)
            loss.sum().backward()  # type: ignore[no-untyped-call]
        losses += loss.detach()
        _close_step(tensors.values(), dense.values(), asked.steps > step)
    return _trained(asked, layout, tensors, dense, losses)


def _close_step(tensors: Iterable[Kept], layers: Iterable[LowRank], taking: Tensor) -> None:
    """Takes the step whose gradients are there; ``taking [C]``: who takes it."""
    everybody = bool(taking.all())
    for tensor in tensors:
        tensor.close_step(None if everybody else on(tensor.point.device, taking))
    for layer in layers:
        layer.close_step()


def _trained(
    asked: Descent,
    layout: Layout,
    tensors: Mapping[str, Kept],
    dense: Mapping[str, LowRank],
    losses: Tensor,
) -> Trained:
    """The result, in the processor's memory; ``losses [C]`` are summed over the steps."""
    losses = on(_PROCESSOR, losses)

    def assembled(write: str) -> Callable[[], Tensor]:
        return lambda: made(write)

    def made(write: str, less: Tensor | None = None) -> Tensor:
        out = asked.x.new_empty(len(asked.steps), layout.size)
        views, off = layout.split(out), {} if less is None else layout.split(less.to(out.device))
        for name, tensor in tensors.items():
            # Only of the mean gradient something is taken off.
            getattr(tensor, write)(views[name], *([off[name]] if off else []))
        for name, layer in dense.items():
            weight, bias = f"{name}.weight", f"{name}.bias"
            getattr(layer, write)(
                views[weight], views.get(bias), *([Weights(off[weight], off.get(bias))] if off else [])
            )
        return on(_PROCESSOR, out)

    def put(into: Tensor, rows: slice, field: Field) -> None:
        out = into.to(asked.x.device)
        view = out.view(len(out), *field.shape)
        if field.name in tensors:
            tensors[field.name].write_mean_grad(view, rows=rows)
        else:
            name, _, kind = field.name.rpartition(".")
            weight, bias = (view, None) if kind == "weight" else (None, view)
            dense[name].write_mean_grad(weight, bias, rows=rows)
        if out is not into:
            into.copy_(out)

    def parts(client: int, field: Field, entries: int) -> Iterator[tuple[slice, Tensor]] | None:
        name, _, kind = field.name.rpartition(".")
        if name not in dense or kind != "weight" or asked.x.device != _PROCESSOR:
            return None
        return dense[name].mean_grad_in_parts(client, entries)

    return Trained(
        asked.steps[:, None].to(losses),
        losses / asked.steps.clamp(min=1).to(losses),
        on(_PROCESSOR, asked.buffers),
        assembled("write_x"),
        assembled("write_change"),
        lambda less: made("write_mean_grad", less),
        put,
        parts,
    )


def together(parts: Sequence[tuple[Tensor, Trained]]) -> Trained:
    """The result of a block from those of the clients at some of its places."""
    order = torch.cat([at for at, _ in parts]).argsort()

    def rows(get: Callable[[Trained], Tensor]) -> Tensor:
        return torch.cat([get(trained) for _, trained in parts])[order]

    return Trained(
        rows(lambda t: t.steps),
        rows(lambda t: t.loss),
        rows(lambda t: t.buffers),
        lambda: rows(lambda t: t.x),
        lambda: rows(lambda t: t.change),
        lambda less: rows(lambda t: t.mean_grad) if less is None else rows(lambda t: t.mean_grad).sub_(less),
    )


def _weights(model: Batched, asked: Descent, batch: int) -> dict[str, InParts]:
    """The weights on a mask whose gradients are made in parts: where the product of a client is a call of its own."""
    if asked.moves is None or not products.by_row(asked.x):
        return {}
    return {
        name: InParts(asked, model.layout[name])
        for linear in model.linear
        for name in [f"{linear.name}.weight"]
        if products.large(linear.shape[0], batch * linear.positions, linear.shape[1])
    }


def _layers(tensors: Mapping[str, Kept]) -> dict[str, Layer]:
    """Linear layers with such weights, by name."""
    found = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, InParts):
            layer = name.removesuffix(".weight")
            found[layer] = Layer(tensor, tensors.get(f"{layer}.bias"))
    return found


def _low_rank(model: Batched, asked: Descent, batch: int) -> dict[str, tuple[Linear, LowRank]]:
    """The linear layers whose changes are kept as low-rank sums, by a rule of model and batch alone."""
    found = {}
    for linear in model.linear:
        steps = window(*linear.shape, batch * linear.positions)
        if steps < 2:
            continue

        def weights(value: Tensor, linear: Linear = linear) -> Weights:
            bias = model.layout[f"{linear.name}.bias"] if linear.biased else None
            return Weights(
                part(value, model.layout[f"{linear.name}.weight"]),
                None if bias is None else part(value, bias),
            )

        shifts = [] if asked.shift is None else [(1.0, weights(asked.shift))]
        apart = [] if asked.control is None else [(-1.0, weights(asked.control))]
        layer = LowRank(
            asked.rule, weights(asked.x), shifts, apart, asked.steps, asked.longest, steps, model.own_models
        )
        found[linear.name] = (linear, layer)
    return found
