"""Trainers in runs: with any strategy, the same bits for any blocks and workers, and refusals before work starts."""

from functools import cache

import numpy as np
import pytest

from fedsparse import data, models, recorded, simulate
from fedsparse.cohort.examples import Examples
from fedsparse.compress import TopK
from fedsparse.config import parse
from fedsparse.config.groups import GROUPS
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


def result(name: str, strategy: str, **options):
    trainer = GROUPS["trainer"].build(name, OPTIONS[name])
    model = models.build("mlp", (1, 8, 8), 10, seed=3, hidden=(16, 12))
    topology = Ring() if strategy == "dpsgd" else None
    return simulate(
        STRATEGIES[strategy],
        examples=examples(),
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


@pytest.mark.parametrize("name", OPTIONS)
def test_a_resumed_run_ends_with_the_same_model(name: str, tmp_path, monkeypatch) -> None:
    given = ["engine=local", "rounds=6", "clients=6", "cohort=3", "checkpoint_every=2", f"trainer={name}"]
    given += [f"runs={tmp_path}", "quiet=true", "model.hidden=[16,12]", "strategy.steps=2"]
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
        ("trainer=set strategy=dpsgd topology=ring init=independent", ["leave trainer or init out"]),
    ],
)
def test_what_makes_no_sense_is_refused(given: str, said: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(given.split())
    assert [part for part in said if part not in str(caught.value)] == []


class Doubled(FedAvg):
    """Has outputs of its own."""

    def predict(self, x, inputs, forward):
        return 2 * forward(x, inputs)


def test_a_strategy_with_its_own_way_to_outputs_is_refused() -> None:
    with pytest.raises(ConfigError, match="its own way from parameters to outputs"):
        check_trainer(Doubled(), GROUPS["trainer"].build("set", {}), apart=False)
