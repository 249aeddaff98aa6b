"""The clients of Flower's simulation, in a module of their own that its actors import once."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import Tensor, nn

from experiments.benchmarks.rivals.nets import images, network
from experiments.benchmarks.rivals.plain import train
from experiments.benchmarks.rivals.work import Work

__all__ = ["WORK", "app"]

WORK = "BENCHMARK_WORK"
"""The environment variable in which actors find the file of the work."""

app = ClientApp()


@cache
def _loaded() -> tuple[Work, Tensor, nn.Module, Tensor, Tensor]:
    """What every client of this actor needs: the work, its minibatches, the module, inputs and targets."""
    torch.set_num_threads(1)
    work = Work.load(Path(os.environ[WORK]))
    x = images(work)
    x = x.flatten(1) if work.model == "mlp" else x
    return work, torch.from_numpy(work.batches), network(work), x, torch.from_numpy(work.y)


@app.train()
def fit(message: Message, context: Context) -> Message:  # noqa: ARG001 - Flower's signature
    """Local SGD of the client that the message names by round and place in the cohort."""
    work, batches, net, x, y = _loaded()
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    config = message.content["config"]
    steps = batches[config["round"], config["place"]]
    train(net, list(net.parameters()), x, y, steps, work.lr)
    metrics = MetricRecord({"num-examples": steps.numel()})
    content = RecordDict({"arrays": ArrayRecord(net.state_dict()), "metrics": metrics})
    return Message(content, reply_to=message)
