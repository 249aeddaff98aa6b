"""pfl-research: its simulated backend and its federated averaging, on one thread.

Under ``torchrun`` it divides the clients among the processes, as its documentation has it for several cores.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any

import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.hyperparam import NNTrainHyperParams
from pfl.internal.ops import pytorch_ops
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from experiments.benchmarks.rivals.nets import images, network
from experiments.benchmarks.rivals.work import Work, arguments, mark, save


class Net(nn.Module):
    """What pfl trains: a module that knows its loss."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean cross entropy of a minibatch."""
        return cross_entropy(self.net(x), y)

    def metrics(self, x: Tensor, y: Tensor) -> dict[str, Weighted]:
        """What pfl wants to know of clients before and after the first round, and only there."""
        with torch.no_grad():
            return {"loss": Weighted(float(self.loss(x, y)) * len(y), len(y))}


class Marks(TrainingProcessCallback):
    """Tells when the set-up and each round is done, in the first process."""

    def __init__(self) -> None:
        self._speaks = pytorch_ops.distributed.global_rank == 0

    def on_train_begin(self, *, model: Any) -> Metrics:  # noqa: ARG002 - pfl's signature
        """Before the first round."""
        if self._speaks:
            mark("start")
        return Metrics()

    def after_central_iteration(self, *_: Any, **__: Any) -> tuple[bool, Metrics]:
        """After each round."""
        if self._speaks:
            mark("round")
        return False, Metrics()


def users(work: Work) -> FederatedDataset:
    """The clients of each round in turn; a client's examples lie in the order in which it uses them."""
    x, y, order = images(work), torch.from_numpy(work.y), torch.from_numpy(work.order)
    x = x.flatten(1) if work.model == "mlp" else x
    turns: Iterator[tuple[int, int]] = product(range(order.shape[0]), range(order.shape[1]))

    def examples(turn: tuple[int, int]) -> Dataset:
        at = order[turn]
        return Dataset([x.index_select(0, at), y.index_select(0, at)], user_id=str(work.cohorts[turn]))

    return FederatedDataset(examples, partial(next, turns))


def main() -> None:
    """Runs the program."""
    given = arguments()
    torch.set_num_threads(1)
    asyncio.set_event_loop(asyncio.new_event_loop())
    work = Work.load(given.work)
    net = Net(network(work))
    model = PyTorchModel(
        net,
        local_optimizer_create=torch.optim.SGD,
        central_optimizer=torch.optim.SGD(net.parameters(), lr=1.0),
    )
    data = users(work)
    FederatedAveraging().run(
        NNAlgorithmParams(
            central_num_iterations=given.rounds,
            evaluation_frequency=given.rounds + 1,
            train_cohort_size=work.cohorts.shape[1],
            val_cohort_size=0,
        ),
        SimulatedBackend(training_data=data, val_data=data),
        model,
        NNTrainHyperParams(
            local_learning_rate=work.lr,
            local_num_epochs=1,
            local_batch_size=work.batches.shape[-1],
        ),
        callbacks=[Marks()],
        send_metrics_to_platform=False,
    )
    if pytorch_ops.distributed.global_rank == 0:
        save(given.final, [p.detach().numpy() for p in net.parameters()])
    if pytorch_ops.distributed.world_size > 1:
        torch.distributed.barrier()
        os._exit(0)  # now and then the threads of gloo abort an interpreter that ends in the usual way


if __name__ == "__main__":
    main()
