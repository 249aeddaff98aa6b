"""Bases for adapters are pre-trained once, and with the same bits each time."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.lora import pretrain
from fedsparse.data import load

pytest.importorskip("peft", reason="the extra 'lora' is not installed")

SMALL = {"data": "digits", "examples": 64, "model": "vit", "epochs": 2, "batch": 32, "lr": 0.001}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pretrain.BASES, "small", SMALL)


def test_a_base_is_the_same_bits_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert pretrain.main(["small", f"folder={tmp_path / name}"]) == 0
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


def test_a_base_that_is_there_is_not_trained_again(tmp_path: Path) -> None:
    folder = pretrain.pretrained("small", None, tmp_path)
    before = (folder / "model.safetensors").stat().st_mtime_ns
    pretrain.pretrained("small", None, tmp_path)
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def test_a_base_and_the_clients_share_the_training_part_between_them() -> None:
    whole, (clean, rest) = load("digits", None), pretrain.clean_and_rest(SMALL, None)
    assert len(clean.x) == 64
    found = sorted(image.tobytes() for part in (clean, rest) for image in part.x)
    assert found == sorted(image.tobytes() for image in whole.x)


def test_a_base_that_is_not_known_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain.main(["nothing"]) == 2
    assert "NAME is one of digits, ag_news" in capsys.readouterr().out
