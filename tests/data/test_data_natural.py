"""Sets with clients of their own, on small files."""

from __future__ import annotations

import numpy as np
import pytest

from fedsparse.data import load
from fedsparse.errors import DataError

PLAY = "ADA:\n" + "abcdefghij" * 6 + "\n\nBEN:\nno\n\nADA:\nagain\n\nCEO:\n\nEVE:\n" + "xyz " * 20 + "\n"


def _shakespeare(tmp_path, **options: object):
    (tmp_path / "input.txt").write_text(PLAY)
    return load("shakespeare", tmp_path, **options)


def test_targets_are_the_text_one_character_later(tmp_path) -> None:
    play = _shakespeare(tmp_path, length=10, minimum=20)
    assert np.array_equal(play.x[0, 1:], play.y[0, :-1])
    letters = sorted(set(PLAY))
    assert "".join(letters[k] for k in play.x[0]) == "abcdefghij"
    assert "".join(letters[k] for k in play.y[0]) == "bcdefghija"


def test_roles_below_the_minimum_are_left_out(tmp_path) -> None:
    play = _shakespeare(tmp_path, length=10, minimum=20)
    assert np.unique(play.groups).tolist() == [0, 1]
    assert play.classes == len(set(PLAY))


def test_a_text_without_large_roles_is_refused(tmp_path) -> None:
    with pytest.raises(DataError, match=r"no role has 500 characters"):
        _shakespeare(tmp_path, minimum=500)


def _wisdm(tmp_path) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (100, 43)).astype(np.float32)
    x[::7, 5] = np.nan
    x[:, 6] = 4.0
    user = np.repeat([3, 9], 50).astype(np.int8)
    np.savez(
        tmp_path / "wisdm_v1_1_transformed.npz", x=x, y=rng.integers(0, 6, 100, dtype=np.int8), user=user
    )
    return x


def test_wisdm_columns_are_standardised_by_the_training_part(tmp_path) -> None:
    _wisdm(tmp_path)
    wisdm = load("wisdm", tmp_path)
    assert np.abs(wisdm.x.mean(axis=0)).max() < 1e-5
    deviation = wisdm.x.std(axis=0)
    assert np.abs(np.delete(deviation, 6) - 1).max() < 1e-5
    assert deviation[6] == 0


def test_wisdm_unknown_values_are_the_column_mean(tmp_path) -> None:
    _wisdm(tmp_path)
    column = load("wisdm", tmp_path).x[:, 5]
    assert (np.abs(column) < 1e-6).sum() >= 8


def test_wisdm_tests_on_a_share_of_every_person(tmp_path) -> None:
    _wisdm(tmp_path)
    wisdm = load("wisdm", tmp_path)
    assert np.bincount(wisdm.groups).tolist() == [40, 40]


def test_femnist_is_inverted_and_split_in_every_client(tmp_path) -> None:
    x = np.full((30, 28, 28), 255, np.uint8)
    client = np.repeat([4, 7, 8], 10).astype(np.uint8)
    np.savez(tmp_path / "femnist_digits_12clients.npz", x=x, y=np.arange(30) % 10, client=client)
    femnist = load("femnist", tmp_path)
    assert femnist.x.max() == 0
    assert femnist.x.dtype == np.uint8
    assert np.bincount(femnist.groups).tolist() == [8, 8, 8]
