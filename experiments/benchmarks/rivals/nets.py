"""The models of the comparison as plain PyTorch modules, for programs that have no fedsparse."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from experiments.benchmarks.rivals.work import Work

__all__ = ["images", "network"]


def network(work: Work) -> nn.Module:
    """The model of the work with its initial weights, in the memory layout that is fastest on CPUs."""
    module = _LAYERS[work.model]()
    module.load_state_dict({name: torch.from_numpy(value) for name, value in work.start.items()})
    return module if work.model == "mlp" else module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def images(work: Work) -> torch.Tensor:
    """All inputs ``[N, 1, 28, 28]`` float32."""
    return torch.from_numpy(work.inputs())


def _mlp() -> nn.Module:
    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            fc1=nn.Linear(784, 200),
            relu1=nn.ReLU(),
            fc2=nn.Linear(200, 200),
            relu2=nn.ReLU(),
            head=nn.Linear(200, 10),
        )
    )


def _cnn() -> nn.Module:
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 32, 5, padding=2),
            pool1=nn.MaxPool2d(2),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(32, 64, 5, padding=2),
            pool2=nn.MaxPool2d(2),
            relu2=nn.ReLU(),
            flatten=nn.Flatten(),
            fc1=nn.Linear(3136, 512),
            relu3=nn.ReLU(),
            head=nn.Linear(512, 10),
        )
    )


def _lenet5() -> nn.Module:
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 6, 5, padding=2),
            pool1=nn.MaxPool2d(2),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(6, 16, 5),
            pool2=nn.MaxPool2d(2),
            relu2=nn.ReLU(),
            flatten=nn.Flatten(),
            fc1=nn.Linear(400, 120),
            relu3=nn.ReLU(),
            fc2=nn.Linear(120, 84),
            relu4=nn.ReLU(),
            head=nn.Linear(84, 10),
        )
    )


_LAYERS = {"mlp": _mlp, "cnn": _cnn, "lenet5": _lenet5}
