"""The plain PyTorch loop: one client after the other, nothing but training.

The data set lies in memory as float32, parameters are restored and stepped in place, and there is no optimiser object.
With ``--contiguous`` images keep torch's default memory layout instead of the faster one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from experiments.benchmarks.rivals.nets import images, network
from experiments.benchmarks.rivals.work import Work, arguments, mark, save


def train(
    net: nn.Module, parameters: list[nn.Parameter], x: Tensor, y: Tensor, steps: Tensor, lr: float
) -> None:
    """Local SGD of one client on the examples ``steps [K, B]``."""
    for at in steps:
        loss = cross_entropy(net(x.index_select(0, at)), y.index_select(0, at))
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.add_(gradient, alpha=-lr)


def run(work: Work, rounds: int, net: nn.Module, x: Tensor) -> list[nn.Parameter]:
    """The final parameters."""
    y, batches = torch.from_numpy(work.y), torch.from_numpy(work.batches)
    parameters = list(net.parameters())
    server = [p.detach().clone() for p in parameters]
    total = [torch.zeros_like(p) for p in server]
    mark("start")
    for cohort in batches[:rounds]:
        for steps in cohort:
            train(net, parameters, x, y, steps, work.lr)
            with torch.no_grad():
                for parameter, start, sum_ in zip(parameters, server, total, strict=True):
                    sum_.add_(parameter)
                    parameter.copy_(start)
        with torch.no_grad():
            for parameter, start, sum_ in zip(parameters, server, total, strict=True):
                start.copy_(sum_.div_(len(cohort)))
                parameter.copy_(start)
                sum_.zero_()
        mark("round")
    return parameters


def main() -> None:
    """Runs the program."""
    given = arguments()
    torch.set_num_threads(1)
    work = Work.load(given.work)
    net, x = network(work), images(work)
    if "--contiguous" in given.rest:
        net = net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    if work.model == "mlp":
        x = x.flatten(1)
    final = run(work, given.rounds, net, x)
    save(given.final, [p.detach().numpy() for p in final])


if __name__ == "__main__":
    main()
