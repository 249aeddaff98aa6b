"""Every strategy and trainer on an accelerator: the processor's models but for rounding, and the same bits again."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedsparse import Result, data, models, run, simulate
from fedsparse.cohort.examples import Examples
from fedsparse.cohort.trainer import Trainer
from fedsparse.data.holdings import Stored
from fedsparse.data.partition import partition
from fedsparse.errors import ConfigError
from fedsparse.gossip import Gossip
from fedsparse.protocol import Strategy
from fedsparse.registry import strategies, topologies, trainers
from fedsparse.runfolder import read_rounds
from fedsparse.strategies.fedavg import FedAvg

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")

CLIENTS, ROUNDS = 6, 3
TEXTS = ["charmodel"]
ADAPTERS = [
    "adapter_lth",
    "cellm",
    "fedavg",
    "fedex_lora",
    "ffa_lora",
    "flasc",
    "flora",
    "hetlora",
    "sparse_adapter",
]


@cache
def examples() -> Examples:
    """Digits among six clients, unequally."""
    found = data.load("digits")
    assert isinstance(found, data.Dataset)
    return Examples.of(found, partition("dirichlet", found, CLIENTS, seed=3, alpha=1.0))


@cache
def texts() -> Examples:
    """Random symbols, of which the next one is to be said."""
    x = np.random.default_rng(0).integers(30, size=(CLIENTS * 20, 9))
    held = Stored(np.arange(len(x)), np.arange(0, len(x) + 1, 20))
    return Examples(x[:, :-1], x[:, 1:], x[:9, :-1], x[:9, 1:], held)


OPTIONS: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": (32, 16)},
    "cnn": {"width": 4, "hidden": 16},
    "resnet": {"width": 4, "norm": "batch"},
    "vit": {},
    "lora": {"base": "vit"},
}
"""Small models of images."""


@cache
def module(name: str) -> nn.Module:
    if name in TEXTS:
        return models.build(name, (8,), 30, 0)
    return models.build(name, (1, 8, 8), 10, 0, **OPTIONS.get(name, {}))


def small(name: str) -> Strategy:
    """A strategy with a small step, and two local steps if it has any."""
    cls = strategies.get(name)
    given = {"lr": 0.02, "steps": 2}
    made: Strategy = cls(**{field.name: given[field.name] for field in fields(cls) if field.name in given})
    return made


def trained(
    strategy: Strategy, model: str, device: str, trainer: Trainer | None = None, **options: Any
) -> Result:
    if isinstance(strategy, Gossip):
        options["topology"] = topologies.get("ring")()
    return simulate(
        strategy,
        examples=texts() if model in TEXTS else examples(),
        model=module(model),
        batch=8,
        rounds=ROUNDS,
        device=device,
        trainer=trainer,
        seed=3,
        **options,
    )


def arrays(result: Result) -> dict[str, torch.Tensor]:
    """What is left of a run."""
    found = {"buffers": result.buffers}
    for kind, values in (("server", result.server), ("client", result.clients)):
        found |= {f"{kind}.{name}": torch.as_tensor(value) for name, value in values.items()}
    return found


def assert_near(found: Result, expected: Result) -> None:
    """Most of what is left is equal but for rounding: of compressed vectors a few entries may be others."""
    for name, value in arrays(expected).items():
        own = arrays(found)[name]
        assert own.shape == value.shape
        if value.is_floating_point() and value.numel():
            apart = float((own.double() - value.double()).norm())
            assert apart <= 0.02 * float(value.double().norm()) + 1e-6, name


def judge(strategy: Strategy, model: str, trainer: Trainer | None = None, **options: Any) -> None:
    try:
        expected = trained(strategy, model, "cpu", trainer, **options)
    except ConfigError as error:
        pytest.skip(f"not on this model: {error}")
    found, again = (trained(strategy, model, "cuda", trainer, **options) for _ in range(2))
    for name, value in arrays(found).items():
        assert value.equal(arrays(again)[name]), name
    assert_near(found, expected)
    for own, other in zip(found.history, expected.history, strict=True):
        assert own.gradient_calls == other.gradient_calls
        assert own.metrics["accuracy"] == pytest.approx(other.metrics["accuracy"], abs=0.05)


@pytest.mark.parametrize("name", strategies.names())
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_a_strategy(name: str, model: str):
    judge(small(name), model)


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_strategy_of_adapters(name: str):
    judge(small(name), "lora")


@pytest.mark.parametrize("name", trainers.names())
@pytest.mark.parametrize("model", ["mlp", "cnn", "charmodel"])
def test_a_trainer(name: str, model: str):
    judge(FedAvg(lr=0.02, steps=3), model, trainers.get(name)())


@pytest.mark.parametrize("name", [*OPTIONS, *TEXTS])
def test_a_model(name: str):
    judge(FedAvg(lr=0.02, steps=3, momentum=0.9), name, calibration=100 if name == "resnet" else 0)


def test_blocks_change_only_the_last_digits():
    whole, cut = (trained(FedAvg(lr=0.02, steps=3), "mlp", "cuda", block=block) for block in (6, 2))
    assert_near(cut, whole)


WORDS = "strategy=scafcom data=digits model=cnn clients=12 cohort=6 rounds=4 batch=8 device=cuda"


def finished(folder: Path, name: str, *words: str) -> tuple[list[dict[str, Any]], bytes]:
    """Records without clocks, and the final model."""
    assert run.main([*WORDS.split(), *words, f"runs={folder}", f"name={name}"]) == 0
    clocks = {"wall_s", "flower"}
    rounds = [{k: v for k, v in record.items() if k not in clocks} for record in read_rounds(folder / name)]
    return rounds, (folder / name / "model.safetensors").read_bytes()


def test_a_command_ends_at_the_same_bits_again_and_under_ray(tmp_path: Path):
    first, again = (finished(tmp_path, name, "engine=local") for name in ("first", "again"))
    ray = finished(tmp_path, "ray", "engine=ray")
    assert first == again == ray
