"""Bases for adapters are pre-trained once, and with the same bits each time."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from experiments.lora import pretrain
from fedsparse import data, rng
from fedsparse.data import load
from fedsparse.data.dataset import Dataset
from fedsparse.errors import ConfigError, DataError
from fedsparse.experiment import main, pretraining
from fedsparse.experiment.form import Base
from fedsparse.experiment.pretraining import CLIENTS, own_and_rest, pretrained
from fedsparse.experiment.stored import load as stored
from fedsparse.models._saved import is_saved

pytest.importorskip("peft", reason="the extra 'lora' is not installed")

SMALL = Base(data="digits", examples=64, model="vit", epochs=2, batch=32, lr=0.001)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pretrain.BASES, "small", SMALL)


def made(base: Base, folder: Path) -> bytes:
    pretrained(base, None, folder, lambda _: None)
    return (folder / "model.safetensors").read_bytes()


def test_a_base_is_the_same_bits_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert pretrain.main(["small", f"folder={tmp_path / name}"]) == 0
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


def test_a_base_that_is_there_is_not_trained_again(tmp_path: Path) -> None:
    made(SMALL, tmp_path)
    before = (tmp_path / "model.safetensors").stat().st_mtime_ns
    made(SMALL, tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_mtime_ns == before


def test_a_folder_with_another_base_is_refused(tmp_path: Path) -> None:
    made(SMALL, tmp_path)
    with pytest.raises(ConfigError, match="has another base"):
        made(replace(SMALL, lr=0.002), tmp_path)


def test_a_base_and_the_clients_share_the_training_part_between_them(tmp_path: Path) -> None:
    made(SMALL, tmp_path)
    whole, (own, _) = load("digits", None), own_and_rest(SMALL, None)
    rest = load("arrays", tmp_path / CLIENTS)
    assert len(own.x) == 64
    found = sorted(image.tobytes() for image in own.x * np.float32(whole.scale))
    found += [image.tobytes() for image in rest.x]
    assert sorted(found) == sorted(image.tobytes() for image in whole.x * np.float32(whole.scale))
    assert (rest.y_test == whole.y_test).all()


def test_a_base_that_is_not_known_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain.main(["nothing"]) == 2
    assert "NAME is one of digits, fashion_mnist, ag_news" in capsys.readouterr().out


def test_hidden_words_are_guessed_from_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of two tokens that tell each other; half of the hidden ones are hidden alone, the others are any of 8."""
    first = rng.stream(0, "pairs").integers(2, 6, size=(257, 1))
    x, y = np.concatenate([np.ones_like(first), first, first + 4], axis=1), np.zeros(257, dtype=np.int64)
    monkeypatch.setattr(data, "load", lambda *_, **__: Dataset("pairs", x, y, x[:4], y[:4], classes=2))
    options = {"width": 16, "layers": 1, "vocabulary": 10}
    words = Base("pairs", 256, "transformer", 20, 0.01, objective="words", options=options)
    told: list[str] = []
    pretrained(words, None, tmp_path, told.append)
    assert float(told[-1].split()[-1]) == pytest.approx(0.5 * np.log(8), abs=0.2)


class Fixed(nn.Module):
    """Scores that do not depend on the text."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores, self.heard = scores, []

    def forward(self, x: Tensor) -> Tensor:
        self.heard.append(x)
        return self.scores.expand(len(x), -1)


def test_what_is_hidden_becomes_padding_and_its_loss_is_the_mean_over_tokens() -> None:
    x = torch.tensor([[1, 2, 3, 0], [1, 3, 3, 2]])
    scores = torch.tensor([0.1, -0.4, 1.0, 0.3])
    model = Fixed(scores)
    loss = pretraining._words(model, x, rng.stream(0, "hidden"))
    (heard,) = model.heard
    gone = heard != x
    assert 0 < gone.sum() < 5
    assert (heard[gone] == 0).all()
    assert not gone[:, 0].any()
    assert loss == pytest.approx(-torch.log_softmax(scores, 0)[x[gone]].mean().item())


def test_words_of_what_is_no_text_are_refused() -> None:
    with pytest.raises(DataError, match="these are no texts"):
        own_and_rest(replace(SMALL, objective="words"), None)


def test_images_are_turned_by_what_is_to_be_guessed() -> None:
    images = torch.rand(40, 2, 3, 3)
    turned, quarters = pretraining._turned(images, rng.stream(0, "turns"))
    assert sorted(set(quarters.tolist())) == [0, 1, 2, 3]
    for image, seen, k in zip(images, turned, quarters.tolist(), strict=True):
        assert (seen.numpy() == np.rot90(image.numpy(), k, (1, 2))).all()


def test_turns_are_learnt_without_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load("digits", None)
    monkeypatch.setattr(data, "load", lambda *_, **__: replace(whole, y=np.zeros_like(whole.y)))
    told: list[str] = []
    pretrained(Base("digits", 500, "mlp", 10, 0.003, objective="turns"), None, tmp_path, told.append)
    assert float(told[-1].split()[-1]) < np.log(4) / 2


def test_turns_of_what_is_no_square_image_are_refused() -> None:
    with pytest.raises(DataError, match="turns square images"):
        own_and_rest(replace(SMALL, data="synthetic", objective="turns"), None)


def test_an_objective_that_is_not_known_is_told() -> None:
    with pytest.raises(ConfigError, match="must be labels, words or turns"):
        replace(SMALL, objective="pixels")


def test_a_base_that_leaves_nothing_to_the_clients_is_refused() -> None:
    with pytest.raises(DataError, match="leaves none of its 1437 examples"):
        own_and_rest(replace(SMALL, examples=1437), None)


@pytest.mark.slow
def test_turns_of_clothes_are_learnt_and_the_other_pictures_left_to_clients(tmp_path: Path) -> None:
    """Without learning the loss is log 4 = 1.39."""
    root = os.environ.get("FEDSPARSE_DATA")
    if not root:
        pytest.skip("needs Fashion-MNIST: set FEDSPARSE_DATA to the folder of its files")
    told: list[str] = []
    base = replace(pretrain.BASES["fashion_mnist"], examples=5000, epochs=2)
    pretrained(base, Path(root), tmp_path, told.append)
    assert float(told[-1].split()[-1]) < 1
    rest = load("arrays", tmp_path / CLIENTS)
    assert len(rest.x) == 55_000
    assert sorted(set(rest.y.tolist())) == list(range(10))


@pytest.mark.slow
def test_an_experiment_begins_with_its_base_and_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    experiment = {
        "title": "Adapters", "claim": "They learn.", "source": "nobody", "metric": "accuracy", "seeds": [0],
        "base": {"data": "digits", "examples": 64, "model": "mlp", "epochs": 1, "lr": 0.001},
        "task": ["clients=4", "cohort=2", "rounds=1", "model.targets=linear", "network=none"],
        "methods": [{"label": "dense", "words": ["strategy=cellm", "strategy.down=1", "strategy.up=1"]}],
        "quick": {"base": {"examples": 32}},
    }  # fmt: skip
    (tmp_path / "adapters.yaml").write_text(yaml.safe_dump(experiment))
    for variant, examples in (("full", 64), ("quick", 32)):
        assert main(["adapters.yaml", variant, "--jobs", "1"]) == 0
        base = tmp_path / f"runs/experiments/adapters-{variant}/base"
        assert is_saved(base)
        assert len(np.load(base / CLIENTS / "x.npy")) == len(load("digits", None).x) - examples
        found = stored(tmp_path / "experiments/results/adapters", variant)
        assert found is not None
        assert found.asked["base"]["examples"] == examples
