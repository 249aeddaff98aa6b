"""Every layer that has a batched form, with settings and shapes drawn at random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from fedsparse.cohort.layers import Layer, Pass, batched
from fedsparse.cohort.layers.dropout import KeyedDropout
from fedsparse.cohort.steady import steady
from fedsparse.models._adapter import Adapter
from fedsparse.models._blocks import Positions

Shape = tuple[int, ...]


def pick(rng: np.random.Generator, *values: int) -> int:
    return int(rng.choice(values))


def size(rng: np.random.Generator) -> int:
    return pick(rng, 1, 2, 3, 5, 8, 13, 16, 33)


def image(rng: np.random.Generator, channels: int | None = None) -> Shape:
    return channels or pick(rng, 1, 2, 3, 8), *rng.integers(4, 9, 2).tolist()


def sequence(rng: np.random.Generator, width: int) -> Shape:
    return pick(rng, 1, 2, 5, 9), width


def flag(rng: np.random.Generator) -> bool:
    return bool(rng.integers(2))


def anywhere(rng: np.random.Generator) -> Shape:
    return image(rng) if flag(rng) else (size(rng),)


def linear(rng: np.random.Generator) -> tuple[nn.Module, Shape]:
    n = size(rng)
    return nn.Linear(n, size(rng), bias=flag(rng)), (n,) if flag(rng) else sequence(rng, n)


def conv1d(rng: np.random.Generator) -> tuple[nn.Module, Shape]:
    n = pick(rng, 1, 2, 4)
    return nn.Conv1d(n, pick(rng, 1, 2, 6), 3, padding=1, stride=pick(rng, 1, 2), bias=flag(rng)), (n, 7)


def conv2d(rng: np.random.Generator) -> tuple[nn.Module, Shape]:
    groups = pick(rng, 1, 1, 2)
    n, m = groups * pick(rng, 1, 3), groups * pick(rng, 1, 2, 3, 8)
    layer = nn.Conv2d(n, m, pick(rng, 1, 3), 1 + flag(rng), 1, 1 + flag(rng), groups, flag(rng))
    return layer, image(rng, n)


def batch_norm(
    kind: Callable[..., nn.Module], dims: int
) -> Callable[[np.random.Generator], tuple[nn.Module, Shape]]:
    def make(rng: np.random.Generator) -> tuple[nn.Module, Shape]:
        n = size(rng)
        layer = kind(n, momentum=0.3, affine=flag(rng), track_running_stats=rng.random() < 0.8)
        return layer, (n, *rng.integers(2, 6, dims).tolist())

    return make


def group_norm(rng: np.random.Generator) -> tuple[nn.Module, Shape]:
    groups = pick(rng, 1, 2, 4)
    n = groups * pick(rng, 1, 2, 3)
    return nn.GroupNorm(groups, n, affine=rng.random() < 0.8), image(rng, n)


def instance_norm(
    kind: Callable[..., nn.Module], dims: int
) -> Callable[[np.random.Generator], tuple[nn.Module, Shape]]:
    def make(rng: np.random.Generator) -> tuple[nn.Module, Shape]:
        n = pick(rng, 1, 3, 8)
        return kind(n, affine=flag(rng)), (n, *rng.integers(2, 6, dims).tolist())

    return make


def layer_norm(rng: np.random.Generator) -> tuple[nn.Module, Shape]:
    if flag(rng):
        shape = image(rng)
        return nn.LayerNorm(shape[1:], bias=flag(rng)), shape
    n = 1 + size(rng)
    return nn.LayerNorm(n, elementwise_affine=flag(rng)), sequence(rng, n)


def embedding(rng: np.random.Generator) -> tuple[nn.Module, Shape]:
    padding = 1 if flag(rng) else None
    return nn.Embedding(7, size(rng), padding_idx=padding), (pick(rng, 1, 2, 5, 9),)


def recurrent(kind: Callable[..., nn.Module]) -> Callable[[np.random.Generator], tuple[nn.Module, Shape]]:
    def make(rng: np.random.Generator) -> tuple[nn.Module, Shape]:
        n, options = size(rng), {"nonlinearity": "relu"} if kind is nn.RNN and flag(rng) else {}
        layer = kind(
            n,
            size(rng),
            pick(rng, 1, 1, 2),
            bias=flag(rng),
            batch_first=True,
            bidirectional=flag(rng),
            **options,
        )
        return layer, sequence(rng, n)

    return make


def attention(rng: np.random.Generator) -> tuple[nn.Module, Shape]:
    heads = pick(rng, 1, 2, 3)
    n = heads * pick(rng, 1, 4, 5)
    return nn.MultiheadAttention(n, heads, bias=flag(rng), batch_first=True), sequence(rng, n)


def positions(rng: np.random.Generator) -> tuple[nn.Module, Shape]:
    shape = sequence(rng, size(rng))
    layer = Positions(*shape)
    nn.init.normal_(layer.weight)
    return layer, shape


def adapter(rng: np.random.Generator) -> tuple[nn.Module, Shape]:
    base, shape = linear(rng)
    rank, dropout = pick(rng, 1, 2, 5), 0.5 * flag(rng)
    a, b = torch.randn(rank, base.in_features), torch.randn(base.out_features, rank)
    layer = Adapter(base, a, b, 0.5, dropout)
    if flag(rng):
        count = pick(rng, 1, 4)
        layer.free(
            *(torch.from_numpy(rng.integers(0, n, count)) for n in (base.out_features, base.in_features))
        )
        layer.lora_S.data.normal_()
    steady(layer)
    return layer, shape


def prelu(rng: np.random.Generator) -> tuple[nn.Module, Shape]:
    shape = image(rng)
    return nn.PReLU(shape[0] if flag(rng) else 1), shape


def plain(layer: Callable[[], nn.Module], shape: Callable[[np.random.Generator], Shape] = anywhere):
    return lambda rng: (layer(), shape(rng))


def softmax(kind: Callable[[int], nn.Module]) -> Callable[[np.random.Generator], tuple[nn.Module, Shape]]:
    def make(rng: np.random.Generator) -> tuple[nn.Module, Shape]:
        shape = anywhere(rng)
        return kind(pick(rng, -1, 1, len(shape))), shape

    return make


CASES: dict[type[nn.Module], Callable[[np.random.Generator], tuple[nn.Module, Shape]]] = {
    Adapter: adapter,
    nn.AdaptiveAvgPool1d: plain(lambda: nn.AdaptiveAvgPool1d(3), lambda rng: (size(rng), 7)),
    nn.AdaptiveAvgPool2d: plain(lambda: nn.AdaptiveAvgPool2d((2, 1)), image),
    nn.AdaptiveMaxPool2d: plain(lambda: nn.AdaptiveMaxPool2d(2), image),
    nn.AvgPool1d: plain(lambda: nn.AvgPool1d(2), lambda rng: (size(rng), 7)),
    nn.AvgPool2d: plain(lambda: nn.AvgPool2d(2), image),
    nn.BatchNorm1d: batch_norm(nn.BatchNorm1d, 0),
    nn.BatchNorm2d: batch_norm(nn.BatchNorm2d, 2),
    nn.BatchNorm3d: batch_norm(nn.BatchNorm3d, 3),
    nn.CELU: plain(nn.CELU),
    nn.ConstantPad2d: plain(lambda: nn.ConstantPad2d(1, 0.5), image),
    nn.Conv1d: conv1d,
    nn.Conv2d: conv2d,
    nn.ELU: plain(nn.ELU),
    nn.Embedding: embedding,
    nn.Flatten: plain(nn.Flatten),
    nn.GELU: plain(nn.GELU),
    nn.GRU: recurrent(nn.GRU),
    nn.GroupNorm: group_norm,
    nn.Hardsigmoid: plain(nn.Hardsigmoid),
    nn.Hardswish: plain(nn.Hardswish),
    nn.Hardtanh: plain(nn.Hardtanh),
    nn.Identity: plain(nn.Identity),
    nn.InstanceNorm1d: instance_norm(nn.InstanceNorm1d, 1),
    nn.InstanceNorm2d: instance_norm(nn.InstanceNorm2d, 2),
    nn.InstanceNorm3d: instance_norm(nn.InstanceNorm3d, 3),
    KeyedDropout: plain(lambda: KeyedDropout(0.5, channels=False)),
    nn.LSTM: recurrent(nn.LSTM),
    nn.LayerNorm: layer_norm,
    nn.LeakyReLU: plain(lambda: nn.LeakyReLU(0.1, inplace=True)),
    nn.Linear: linear,
    nn.LogSigmoid: plain(nn.LogSigmoid),
    nn.LogSoftmax: softmax(nn.LogSoftmax),
    nn.MaxPool1d: plain(lambda: nn.MaxPool1d(2), lambda rng: (size(rng), 7)),
    nn.MaxPool2d: plain(lambda: nn.MaxPool2d(3, 2, 1), image),
    nn.Mish: plain(nn.Mish),
    nn.MultiheadAttention: attention,
    nn.PReLU: prelu,
    nn.PixelShuffle: plain(lambda: nn.PixelShuffle(2), lambda rng: image(rng, 4 * pick(rng, 1, 3))),
    Positions: positions,
    nn.RNN: recurrent(nn.RNN),
    nn.ReLU: plain(lambda: nn.ReLU(inplace=True)),
    nn.ReLU6: plain(nn.ReLU6),
    nn.ReflectionPad2d: plain(lambda: nn.ReflectionPad2d(1), image),
    nn.ReplicationPad2d: plain(lambda: nn.ReplicationPad2d((1, 0, 2, 1)), image),
    nn.SELU: plain(nn.SELU),
    nn.SiLU: plain(lambda: nn.SiLU(inplace=True)),
    nn.Sigmoid: plain(nn.Sigmoid),
    nn.Softmax: softmax(nn.Softmax),
    nn.Softplus: plain(nn.Softplus),
    nn.Softsign: plain(nn.Softsign),
    nn.Tanh: plain(nn.Tanh),
    nn.Unflatten: plain(lambda: nn.Unflatten(1, (2, -1)), lambda rng: image(rng, 2)),
    nn.Upsample: plain(lambda: nn.Upsample(scale_factor=2, mode="bilinear"), image),
    nn.ZeroPad2d: plain(lambda: nn.ZeroPad2d(2), image),
}
"""Layer and shape of one input, of a random generator."""


@dataclass
class Cohort:
    """Clients of one layer: inputs ``[C, B, ...]``, real rows, parameters and statistics ``[C, ...]``, seeds."""

    layer: nn.Module
    inputs: Tensor
    counts: list[int]
    values: dict[str, Tensor]
    keys: list[int]
    order: torch.memory_format = torch.contiguous_format

    def part(self, clients: list[int]) -> Cohort:
        values = {name: value[clients] for name, value in self.values.items()}
        counts, keys = ([of[i] for i in clients] for of in (self.counts, self.keys))
        return replace(self, inputs=self.inputs[clients], counts=counts, values=values, keys=keys)


@dataclass
class Outcome:
    """What comes out for real rows, and gradients of its product with fixed numbers; a row or entry for each client."""

    outputs: list[list[Tensor]]
    of_inputs: list[Tensor]
    of_values: dict[str, Tensor]
    statistics: dict[str, Tensor]


def cohort(kind: type[nn.Module], seed: int, clients: int | None = None) -> Cohort:
    """Clients with unequal numbers of real rows; one without any."""
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(seed)
        layer, shape = CASES[kind](rng)
        clients, rows = clients or int(rng.integers(2, 6)), int(rng.integers(2, 12))
        inputs = torch.randn(clients, rows, *shape)
        if isinstance(layer, nn.Embedding):
            inputs = torch.randint(7, inputs.shape)
        counts = rng.integers(2, rows + 1, clients).tolist()
        if clients > 1:
            counts[int(rng.integers(clients))] = 0
        named = {**dict(layer.named_parameters()), **dict(layer.named_buffers())}
        values = {
            f"x.{name}": value.detach() + torch.empty(clients, *value.shape).uniform_(-0.2, 0.2)
            for name, value in named.items()
            if value.is_floating_point()
        }
    keys = rng.integers(1, 1000, clients).tolist()
    channels_last = inputs.dim() == 5 and flag(rng)
    order = torch.channels_last if channels_last else torch.contiguous_format
    return Cohort(layer, inputs, counts, values, keys, order)


def trainable(of: Cohort) -> list[str]:
    return [f"x.{name}" for name, _ in of.layer.named_parameters()]


def _parts(layer: nn.Module, out: object) -> list[Tensor]:
    """All results of a layer, examples first."""
    if isinstance(out, Tensor):
        return [out]
    assert isinstance(out, tuple)
    if isinstance(layer, nn.MultiheadAttention):
        return [part for part in out if part is not None]
    first, states = out
    return [first, *(s.transpose(0, 1) for s in (states if isinstance(states, tuple) else (states,)))]


def _given(layer: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    return (x, x, x) if isinstance(layer, nn.MultiheadAttention) else (x,)


def _fixed(like: Tensor) -> Tensor:
    """Numbers to multiply with."""
    return torch.arange(like.numel(), dtype=like.dtype).mul(0.7).sin().view(like.shape)


def together(of: Cohort, train: bool, form: Layer | None = None) -> Outcome:
    """By the layer's batched form, or the one that is given."""
    form = form or batched(of.layer, "x")
    assert form is not None
    clients = len(of.inputs)
    leaves = {name: of.values[name].detach().requires_grad_() for name in trainable(of)}
    statistics = {name: value.clone() for name, value in of.values.items() if name not in leaves}
    inputs = of.inputs.clone()
    if inputs.is_floating_point():
        inputs.requires_grad_()
    run = Pass(clients, of.counts, leaves | statistics, train, of.keys)
    rows = inputs.flatten(0, 1).contiguous(memory_format=of.order)
    out = _parts(of.layer, form(run, *_given(of.layer, rows)))
    outputs = [[run.apart(part)[i, :n] for part in out] for i, n in enumerate(of.counts)]
    total = sum((part * _fixed(part)).sum() for own in outputs for part in own)
    if isinstance(total, Tensor) and total.requires_grad:
        total.backward()
    of_inputs = torch.zeros(inputs.shape) if inputs.grad is None else inputs.grad
    return Outcome(
        [[part.detach() for part in own] for own in outputs],
        [of_inputs[i, :n] for i, n in enumerate(of.counts)],
        {name: torch.zeros_like(v) if v.grad is None else v.grad for name, v in leaves.items()},
        statistics,
    )


def one_by_one(of: Cohort, train: bool) -> Outcome:
    """By the layer itself, for each client's real rows."""
    layer = of.layer.train(train)
    found = Outcome([], [], {name: torch.zeros_like(of.values[name]) for name in trainable(of)}, {})
    found.statistics = {name: v.clone() for name, v in of.values.items() if name not in found.of_values}
    for i, n in enumerate(of.counts):
        x = of.inputs[i, :n].clone()
        if x.is_floating_point():
            x.requires_grad_()
        own = {name: of.values[name][i].clone().requires_grad_() for name in found.of_values}
        held = {name: found.statistics[name][i] for name in found.statistics}
        for part in (m for m in layer.modules() if isinstance(m, KeyedDropout)):
            part.generator = torch.Generator().manual_seed(of.keys[i])
        if not n:
            found.outputs.append([])
            found.of_inputs.append(torch.zeros(x.shape))
            continue
        values = {name.removeprefix("x."): value for name, value in (own | held).items()}
        given = x * 1 if x.is_floating_point() else x  # some layers work in place
        out = _parts(layer, torch.func.functional_call(layer, values, _given(layer, given)))
        total = sum((part * _fixed(part)).sum() for part in out)
        if isinstance(total, Tensor) and total.requires_grad:
            total.backward()
        found.outputs.append([part.detach() for part in out])
        found.of_inputs.append(torch.zeros(x.shape) if x.grad is None else x.grad)
        for name, value in own.items():
            if value.grad is not None:
                found.of_values[name][i] = value.grad
    return found
