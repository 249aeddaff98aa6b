"""The plain PyTorch loop of gossip: one node of a ring after the other takes its steps, then all models are mixed.

All models are one tensor ``[n, d]``, in whose rows the parameters of the nodes lie, and mixing is one product with the
Metropolis weights, into a second tensor that takes the first one's place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from experiments.benchmarks.rivals.nets import images, network
from experiments.benchmarks.rivals.work import Work, arguments, mark, save


def ring(nodes: int) -> Tensor:
    """Metropolis weights ``[n, n]``: a node and both of its neighbours count a third each."""
    third = torch.eye(nodes) / 3
    return third + third.roll(1, 0) + third.roll(-1, 0)


def run(work: Work, rounds: int, net: nn.Module, x: Tensor) -> Tensor:
    """The mean of the final models, ``[d]``."""
    y, batches = torch.from_numpy(work.y), torch.from_numpy(work.batches)
    parameters = list(net.parameters())
    start = torch.cat([p.detach().reshape(-1) for p in parameters])
    models, mixed = start.repeat(batches.shape[1], 1), torch.empty(batches.shape[1], len(start))
    weights = ring(len(models))
    mark("start")
    for cohort in batches[:rounds]:
        for model, steps in zip(models, cohort, strict=True):
            parts = model.split([p.numel() for p in parameters])
            for parameter, part in zip(parameters, parts, strict=True):
                parameter.data = part.view_as(parameter)
            for at in steps:
                loss = cross_entropy(net(x.index_select(0, at)), y.index_select(0, at))
                gradients = torch.autograd.grad(loss, parameters)
                with torch.no_grad():
                    for parameter, gradient in zip(parameters, gradients, strict=True):
                        parameter.add_(gradient, alpha=-work.lr)
        torch.mm(weights, models, out=mixed)
        models, mixed = mixed, models
        mark("round")
    return models.mean(0)


def main() -> None:
    """Runs the program."""
    given = arguments()
    torch.set_num_threads(1)
    work = Work.load(given.work)
    save(given.final, [run(work, given.rounds, network(work), images(work).flatten(1)).numpy()])


if __name__ == "__main__":
    main()
