"""A user's own data, and names that do not exist."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from fedsparse.data import Dataset, load, names
from fedsparse.errors import ConfigError, DataError


@pytest.fixture
def own_module(monkeypatch):
    module = types.ModuleType("own_data")

    def small(data_dir, seed, *, size: int = 4):
        x, y = np.full((size, 2), seed, np.float32), np.zeros(size, np.int64)
        return Dataset("small", x, y, x, y, classes=2)

    module.small, module.wrong, module.number = small, lambda *_: [1, 2], 3
    monkeypatch.setitem(sys.modules, "own_data", module)


def test_a_function_by_import_path_gets_the_seed_and_its_options(own_module) -> None:
    small = load("own_data:small", seed=7, size=6)
    assert small.x.shape == (6, 2)
    assert small.x[0, 0] == 7


def test_a_function_must_return_a_dataset(own_module) -> None:
    with pytest.raises(DataError, match="returned a list"):
        load("own_data:wrong")


@pytest.mark.parametrize("path", ["own_data:missing", "no_such_package:load", "own_data:number", ":x"])
def test_a_path_that_cannot_be_imported_is_told(own_module, path: str) -> None:
    with pytest.raises(ConfigError, match=f"'{path}'"):
        load(path)


def test_an_unknown_set_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no data set 'mnits'.*Did you mean 'mnist'\?"):
        load("mnits")


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no option 'apha'; it has alpha.*Did you mean 'alpha'\?"):
        load("synthetic", apha=1.0)


def test_a_value_of_another_type_is_told() -> None:
    with pytest.raises(ConfigError, match="alpha='much' must be a number"):
        load("synthetic", alpha="much")
    with pytest.raises(ConfigError, match="file=3 must be text"):
        load("libsvm", file=3)


def test_every_set_is_a_module_with_typed_options() -> None:
    assert {
        "digits",
        "mnist",
        "fashion_mnist",
        "cifar10",
        "libsvm",
        "wisdm",
        "shakespeare",
        "femnist",
    } <= set(names())
    assert {"synthetic", "logistic", "arrays"} <= set(names())


def _save(folder, **arrays: np.ndarray) -> None:
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def test_a_folder_of_arrays_with_clients(tmp_path) -> None:
    x = np.arange(12.0).reshape(4, 3)
    _save(tmp_path, x=x, y=np.array([0, 2, 1, 0], np.int32), x_test=x[:1], y_test=np.array([1], np.uint8))
    np.save(tmp_path / "client.npy", np.array(["eve", "bob", "eve", "ann"]))
    own = load("arrays", tmp_path, scale=0.5)
    assert own.x.dtype == np.float32
    assert own.classes == 3
    assert own.groups.tolist() == [2, 1, 2, 0]
    assert own.scale == 0.5


def test_a_folder_of_arrays_without_clients_by_its_option(tmp_path) -> None:
    x = np.zeros((4, 1, 2, 2), np.uint8)
    _save(tmp_path / "mine", x=x, y=np.zeros(4), x_test=x, y_test=np.zeros(4))
    own = load("arrays", folder=str(tmp_path / "mine"))
    assert own.groups is None
    assert own.regression
    assert own.classes == 1
    assert own.name == "arrays_mine"


def test_a_missing_array_names_what_the_folder_needs(tmp_path) -> None:
    _save(tmp_path, x=np.zeros((4, 3)))
    with pytest.raises(DataError, match=r"y\.npy was not found(.|\n)*needs x\.npy, y\.npy, x_test\.npy"):
        load("arrays", tmp_path)


def test_clients_of_other_length_are_refused(tmp_path) -> None:
    _save(tmp_path, x=np.zeros((4, 3)), y=np.zeros(4, int), x_test=np.zeros((1, 3)), y_test=np.zeros(1, int))
    np.save(tmp_path / "client.npy", np.zeros(3))
    with pytest.raises(DataError, match=r"client\.npy has shape \(3,\)"):
        load("arrays", tmp_path)


def test_an_archive_is_no_array(tmp_path) -> None:
    with (tmp_path / "x.npy").open("wb") as file:
        np.savez(file, x=np.zeros(3))
    with pytest.raises(DataError, match="archive of arrays"):
        load("arrays", tmp_path)


def test_pickled_and_damaged_arrays_are_refused(tmp_path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object))
    with pytest.raises(DataError, match=r"x\.npy is damaged"):
        load("arrays", tmp_path)
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\0")
    with pytest.raises(DataError, match=r"x\.npy is damaged"):
        load("arrays", tmp_path)
