"""``model=saved``: what a run ended with is what another begins with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fedsparse import config, data, models, recorded
from fedsparse.errors import ConfigError, DataError
from fedsparse.runfolder import read_summary

RUN = [
    "engine=local",
    "engine.workers=1",
    "clients=2",
    "partition=iid",
    "examples=100",
    "quiet=true",
    "name=it",
]
NET = ["model=resnet", "model.norm=batch", "model.width=2", "rounds=1"]
IMAGE = (1, 8, 8)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    recorded.run(config.parse([*RUN, *NET, f"runs={folder}"]))
    return folder / "it"


def test_parameters_and_statistics_are_those_of_the_run(finished: Path) -> None:
    found = models.build("saved", IMAGE, 10, 5, base=str(finished)).state_dict()
    stored = load_file(finished / "model.safetensors")
    assert any("running_var" in name for name in stored)
    assert all(torch.equal(found[name], value) for name, value in stored.items())


def test_it_is_as_good_as_the_run_was_at_its_end(finished: Path) -> None:
    module, digits = models.build("saved", IMAGE, 10, 5, base=str(finished)).eval(), data.load("digits")
    assert isinstance(digits, data.Dataset)
    with torch.no_grad():
        logits = module(torch.from_numpy(digits.x_test).float() * digits.scale + digits.shift)
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(digits.y_test)).item()
    summary = read_summary(finished)
    assert summary is not None
    assert loss == pytest.approx(summary["final"]["loss"], rel=1e-5)


def test_a_head_for_other_classes_is_drawn(finished: Path) -> None:
    one, other = (models.build("saved", IMAGE, 3, seed, base=str(finished)) for seed in (0, 1))
    names = [n for n, p in one.named_parameters() if not torch.equal(p, other.get_parameter(n))]
    assert names
    assert all(one.get_parameter(name).shape[0] == 3 for name in names)


def test_each_seed_has_its_own_folder(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "s5").symlink_to(finished)
    assert models.build("saved", IMAGE, 10, 5, base=f"{tmp_path}/s{{seed}}")
    with pytest.raises(ConfigError, match="must be the folder"):
        models.build("saved", IMAGE, 10, 6, base=f"{tmp_path}/s{{seed}}")


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    for base in ("", str(tmp_path)):
        with pytest.raises(ConfigError, match="must be the folder of a finished run"):
            models.build("saved", IMAGE, 10, 0, base=base)


def test_a_run_that_ended_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("model: {name: linear, options: {}}\n")
    (tmp_path / "summary.json").write_text("{}")
    save_file({"x": torch.zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match="something else than the weights"):
        models.build("saved", IMAGE, 10, 0, base=str(tmp_path))
