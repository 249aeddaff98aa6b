"""Clients with unequal amounts of data, small models, and a plain loop over clients to compare with."""

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedsparse.cohort.batches import Batches
from fedsparse.cohort.examples import Examples
from fedsparse.cohort.supervised import SupervisedTask, SupervisedWorkload
from fedsparse.data.holdings import Stored

SIZES = [7, 20, 1, 0, 13]
SEED, ROUND, BATCH = 3, 2, 4


def examples(shape: tuple[int, ...] = (6,), sizes: list[int] = SIZES, seed: int = 0) -> Examples:
    """Random inputs of three classes."""
    generator = np.random.default_rng(seed)
    count = sum(sizes)
    x = generator.standard_normal((count, *shape)).astype(np.float32)
    y = generator.integers(0, 3, count)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    return Examples(x, y, x[:9], y[:9], Stored(generator.permutation(count), offsets))


def mlp() -> nn.Module:
    """Trained in stacked form."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)
        )


def cnn() -> nn.Module:
    """Trained client by client."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 3))


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (mlp, (6,)),
    "cnn": (cnn, (1, 5, 5)),
}


def workload(model: str, batch: int = BATCH, sizes: list[int] = SIZES) -> SupervisedWorkload:
    build, shape = MODELS[model]
    return SupervisedWorkload(examples(shape, sizes), build(), batch)


def task_of(work: SupervisedWorkload, ids: list[int] | None = None, round_: int = ROUND) -> SupervisedTask:
    chosen = torch.arange(work.clients) if ids is None else torch.tensor(ids)
    return work.task(chosen, SEED, round_, work.start.buffers[None])


def batch_of(work: SupervisedWorkload, client: int, step: int, round_: int = ROUND) -> tuple[Tensor, Tensor]:
    """A client's minibatch, unpadded."""
    held = work.examples
    own = held.own(client)
    at = own[Batches(SEED, round_, [client], np.array([len(own)]), work.batch).of(0, step)]
    return torch.from_numpy(held.x[at]), torch.from_numpy(held.y[at])


def loaded(module: nn.Module, x: Tensor) -> nn.Module:
    """A copy of the module with the parameters ``x [d]``."""
    module = copy.deepcopy(module)
    nn.utils.vector_to_parameters(x.clone(), module.parameters())
    return module


def flat(module: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(module.parameters()).detach()


def plain_gradient(module: nn.Module, x: Tensor, inputs: Tensor, targets: Tensor) -> tuple[Tensor, float]:
    """Gradient ``[d]`` by autograd, and the loss."""
    module = loaded(module, x)
    loss = functional.cross_entropy(module(inputs), targets)
    loss.backward()
    return torch.cat([p.grad.flatten() for p in module.parameters()]), float(loss.detach())


def plain_sgd(
    model: str,
    work: SupervisedWorkload,
    client: int,
    steps: int,
    lr: float,
    *,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    prox: float = 0.0,
    shift: Tensor | None = None,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor, float]:
    """Local training of one client: final parameters, mean gradient, mean loss."""
    module, x = MODELS[model][0](), work.start.x
    y = x.clone() if mask is None else x * mask
    velocity, gradients, losses = torch.zeros_like(y), torch.zeros_like(y), 0.0
    for step in range(steps):
        g, loss = plain_gradient(module, y, *batch_of(work, client, step))
        gradients, losses = gradients + g, losses + loss
        velocity = momentum * velocity + g + weight_decay * y + prox * (y - x)
        velocity = velocity if shift is None else velocity + shift
        y = y - lr * velocity
        y = y if mask is None else y * mask
    return y, gradients / max(steps, 1), losses / max(steps, 1)
