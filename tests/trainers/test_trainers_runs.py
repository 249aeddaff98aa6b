"""Trainers in runs: with any strategy, the same bits for any blocks and workers, and refusals before work starts."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from fedsparse import data, models, recorded, simulate
from fedsparse.cohort.examples import Examples
from fedsparse.compress import TopK
from fedsparse.config import parse
from fedsparse.config.groups import GROUPS
from fedsparse.data.holdings import Stored
from fedsparse.data.partition import partition
from fedsparse.engine.suits import check_trainer
from fedsparse.errors import ConfigError
from fedsparse.runfolder import RunFolder
from fedsparse.strategies.dpsgd import DPSGD
from fedsparse.strategies.ef21 import EF21
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.strategies.scafcom import Scafcom
from fedsparse.topologies.ring import Ring

OPTIONS = {
    "set": {"density": 0.3},
    "rigl": {"density": 0.3, "every": 1},
    "gmp": {"density": 0.3},
    "srste": {"ends": True},
    "spdf": {"density": 0.3},
    "sparcl": {"density": 0.3, "ends": True},
    "sara": {"share": 0.3},
    "s2ft": {"share": 0.3},
    "dsl": {"density": 0.3, "every": 1},
}
STRATEGIES = {
    "fedavg": FedAvg(lr=0.1, epochs=1, momentum=0.5),
    "scafcom": Scafcom(lr=0.1, steps=2, uplink=TopK(0.1)),
    "ef21": EF21(lr=0.1, uplink=TopK(0.1)),
    "dpsgd": DPSGD(lr=0.1),
}


@cache
def examples() -> Examples:
    found = data.load("digits")
    assert isinstance(found, data.Dataset)
    return Examples.of(found, partition("dirichlet", found, 8, seed=3, alpha=0.3))


@cache
def sequences() -> Examples:
    """Of six symbols, of which the clients have three each."""
    draw = np.random.default_rng(0)
    x = draw.integers(3, size=(160, 5)) + 3 * (np.arange(160)[:, None] // 20 % 2)
    found = data.Dataset("symbols", x, np.roll(x, -1, 1), x[:8], np.roll(x[:8], -1, 1), classes=6)
    return Examples.of(found, Stored(np.arange(160), np.arange(0, 161, 20)))


def result(name: str, strategy: str, **options):
    trainer = GROUPS["trainer"].build(name, OPTIONS[name])
    held, model = examples(), models.build("mlp", (1, 8, 8), 10, seed=3, hidden=(16, 12))
    if name == "dsl":
        held, model = sequences(), models.build("charmodel", (5,), 6, seed=3, embedding=7, hidden=4)
    topology = Ring() if strategy == "dpsgd" else None
    return simulate(
        STRATEGIES[strategy],
        examples=held,
        model=model,
        batch=40,
        rounds=4,
        seed=3,
        trainer=trainer,
        topology=topology,
        keep_models=True,
        **options,
    )


def test_every_trainer_is_tested_here() -> None:
    assert set(OPTIONS) == set(GROUPS["trainer"].names())


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", OPTIONS)
def test_any_strategy_has_the_same_bits_for_any_block_and_workers(name: str, strategy: str) -> None:
    one, other = result(name, strategy, block=1), result(name, strategy, block=5, workers=2)
    for a, b in zip(one.models, other.models, strict=True):
        assert a.numpy().tobytes() == b.numpy().tobytes()
    assert [r.metrics for r in one.history] == [r.metrics for r in other.history]
    assert np.isfinite(one.models[-1].numpy()).all()


def written(folder: Path) -> list[str]:
    """A configuration with those sequences."""
    for suffix, x in (("", sequences().x), ("_test", sequences().x_test)):
        np.save(folder / f"x{suffix}.npy", x)
        np.save(folder / f"y{suffix}.npy", np.roll(x, -1, 1))
    return ["data=arrays", f"data.folder={folder}", "partition=iid", "model=charmodel", "model.hidden=4"]


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_a_resumed_run_ends_with_the_same_model(name: str, tmp_path, monkeypatch) -> None:
    given = ["engine=local", "rounds=6", "clients=6", "cohort=3", "checkpoint_every=2", f"trainer={name}"]
    given += [f"runs={tmp_path}", "quiet=true", "strategy.steps=2"]
    given += written(tmp_path) if name == "dsl" else ["model.hidden=[16,12]"]
    recorded.run(parse([*given, "name=whole"]))

    saved = RunFolder.append

    def broken(self, record) -> None:
        if record["round"] == 3:
            raise KeyboardInterrupt
        saved(self, record)

    monkeypatch.setattr(RunFolder, "append", broken)
    with pytest.raises(KeyboardInterrupt):
        recorded.run(parse([*given, "name=cut"]))
    monkeypatch.undo()
    recorded.run(parse([f"resume={tmp_path / 'cut'}", "quiet=true"]))
    ends = [(tmp_path / n / "model.safetensors").read_bytes() for n in ("whole", "cut")]
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("trainer=rigle", ["no such trainer", "did you mean 'rigl'?"]),
        ("trainer=rigl trainer.alhpa=0.1", ["has no option 'alhpa'", "did you mean 'alpha'?"]),
        ("trainer=set trainer.density=0", ["trainer.density=0.0: must be a number above 0"]),
        ("trainer.density=0.1", ["there is no trainer to set it for", "trainer=rigl"]),
        ("trainer=srste trainer.n=5", ["trainer.n=5: must be at most trainer.m=4"]),
        ("trainer=set trainer.ratio=uniform_plus", ["trainer.ratio=uniform_plus", "trainer.ends=true"]),
        (
            "strategy=random_mask strategy.ratio=uniform_plus",
            ["strategy.ratio=uniform_plus", "strategy.ends=true"],
        ),
        ("trainer=set strategy=dpsgd topology=ring init=independent", ["leave trainer or init out"]),
    ],
)
def test_what_makes_no_sense_is_refused(given: str, said: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(given.split())
    assert [part for part in said if part not in str(caught.value)] == []


def test_a_model_without_a_table_is_refused() -> None:
    model, trainer = models.build("mlp", (1, 8, 8), 10, seed=3), GROUPS["trainer"].build("dsl", {})
    with pytest.raises(ConfigError, match="trainer=dsl: the model has no embedding table"):
        simulate(FedAvg(), examples=examples(), model=model, trainer=trainer)


class Doubled(FedAvg):
    """Has outputs of its own."""

    def predict(self, x, inputs, forward):
        return 2 * forward(x, inputs)


def test_a_strategy_with_its_own_way_to_outputs_is_refused() -> None:
    with pytest.raises(ConfigError, match="its own way from parameters to outputs"):
        check_trainer(Doubled(), GROUPS["trainer"].build("set", {}), apart=False)
