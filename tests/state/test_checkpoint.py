"""The folder of checkpoints: what is kept, what is offered, what is refused."""

from pathlib import Path

import numpy as np
import pytest

from fedsparse.checkpoint import CheckpointFolder, compare
from fedsparse.errors import CheckpointError, ResourceError

CONFIG = {"strategy": {"name": "scafcom", "lr": 0.1}, "clients": 100}


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    return CheckpointFolder(tmp_path / "checkpoint")


def save(folder: CheckpointFolder, *rounds: int) -> None:
    for number in rounds:
        folder.save(number, {"config": CONFIG}, {"x": np.full(3, float(number))})


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)


def test_the_last_two_are_kept(folder: CheckpointFolder) -> None:
    save(folder, 5, 10, 12, 1_000_000)
    assert sorted(p.name for p in folder.folder.iterdir()) == ["round-000012.ckpt", "round-1000000.ckpt"]


def test_latest_is_the_highest_round(folder: CheckpointFolder) -> None:
    save(folder, 999_999, 1_000_000)
    assert folder.latest() == folder.folder / "round-1000000.ckpt"


def test_latest_of_nothing_is_none(folder: CheckpointFolder) -> None:
    assert folder.latest() is None


def test_saving_a_round_again_replaces_it(folder: CheckpointFolder) -> None:
    save(folder, 1, 2)
    folder.save(2, {"config": CONFIG}, {"x": np.full(3, 7.0)})
    assert folder.load_latest({})[1]["x"][0] == 7.0


def test_what_a_killed_writer_left_is_removed(folder: CheckpointFolder) -> None:
    save(folder, 1)
    (folder.folder / "round-000002.ckpt.tmp").write_bytes(b"half")
    save(folder, 3)
    assert not list(folder.folder.glob("*.tmp"))


def test_other_peoples_files_are_neither_read_nor_deleted(folder: CheckpointFolder) -> None:
    save(folder, 1)
    (folder.folder / "round-9.ckpt").write_bytes(b"mine")
    save(folder, 2, 3)
    assert (folder.folder / "round-9.ckpt").exists()
    assert folder.load_latest({})[0]["round"] == 3


def test_the_round_is_part_of_meta(folder: CheckpointFolder) -> None:
    save(folder, 4)
    meta, arrays = folder.load_latest({"config": CONFIG})
    assert meta == {"config": CONFIG, "round": 4}
    np.testing.assert_array_equal(arrays["x"], [4.0, 4.0, 4.0])


def test_resume_without_a_checkpoint_says_so(folder: CheckpointFolder) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint here"):
        folder.load_latest({})


def test_a_damaged_newest_is_named_and_the_previous_one_offered(folder: CheckpointFolder) -> None:
    save(folder, 10, 12)
    damage(folder.folder / "round-000012.ckpt")
    with pytest.raises(
        CheckpointError, match=r"round-000012\.ckpt: not a usable .* previous .* round-000010\.ckpt"
    ):
        folder.load_latest({})


def test_the_previous_one_is_used_once_the_damaged_one_is_deleted(folder: CheckpointFolder) -> None:
    save(folder, 10, 12)
    (folder.folder / "round-000012.ckpt").unlink()
    assert folder.load_latest({})[0]["round"] == 10


def test_a_damaged_previous_one_is_not_offered(folder: CheckpointFolder) -> None:
    save(folder, 10, 12)
    for path in folder.folder.iterdir():
        damage(path)
    with pytest.raises(CheckpointError, match="No earlier checkpoint is whole"):
        folder.load_latest({})


def test_another_configuration_is_refused_with_the_differing_keys(folder: CheckpointFolder) -> None:
    save(folder, 1)
    now = {"strategy": {"name": "scafcom", "lr": 0.2}, "clients": 100}
    with pytest.raises(
        CheckpointError,
        match=r"another configuration or version:\n  config\.strategy\.lr: was 0\.1, is 0\.2\n",
    ):
        folder.load_latest({"config": now})


def test_a_missing_version_is_refused(folder: CheckpointFolder) -> None:
    save(folder, 1)
    with pytest.raises(CheckpointError, match=r'version: was absent, is "0\.1\.0"'):
        folder.load_latest({"version": "0.1.0"})


def test_a_folder_that_cannot_be_made_is_a_resource_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="cannot write: Not a directory"):
        save(CheckpointFolder(tmp_path / "file" / "checkpoint"), 1)


def test_a_failed_save_keeps_the_earlier_ones(folder: CheckpointFolder) -> None:
    save(folder, 1, 2)
    with pytest.raises(CheckpointError):
        folder.save(3, {}, {"x": np.ones(1, "c8")})
    assert folder.load_latest({})[0]["round"] == 2


@pytest.mark.parametrize(
    ("was", "now", "lines"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": (1, 2)}, {"a": [1, 2]}, []),
        ({"a": float("nan")}, {"a": float("nan")}, []),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3, "b": 1}}, ["a.c: was 2, is 3"]),
        ({"a": True}, {"a": 1}, ["a: was true, is 1"]),
        ({"a": {}}, {"a": {"b": 1}}, ["a: was {}, is absent", "a.b: was absent, is 1"]),
        ({"z": 0, "a": 0}, {}, ["a: was 0, is absent", "z: was 0, is absent"]),
    ],
)
def test_compare_lists_just_the_differing_keys(was: dict, now: dict, lines: list[str]) -> None:
    assert compare(was, now) == lines
