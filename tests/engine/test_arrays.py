"""Arrays that all workers of a machine map."""

import errno
from pathlib import Path

import numpy as np
import pytest

from fedsparse.engine.arrays import ArrayFiles, FileArray
from fedsparse.errors import ResourceError


@pytest.fixture
def files():
    files = ArrayFiles()
    yield files
    files.close()


ARRAYS = {
    "vector": np.arange(5.0),
    "matrix": np.arange(12, dtype=np.int32).reshape(3, 4),
    "columns": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "strided": np.arange(20)[::3],
    "flags": np.array([True, False]),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_is_read_as_it_was_written(files, name):
    opened = files.place({name: ARRAYS[name]})[name].open()
    np.testing.assert_array_equal(opened, ARRAYS[name])
    assert opened.dtype == ARRAYS[name].dtype
    assert not opened.flags.writeable


def test_a_mapped_file_is_not_copied(files, tmp_path):
    np.save(tmp_path / "x.npy", ARRAYS["columns"])
    placed = files.place({"x": np.load(tmp_path / "x.npy", mmap_mode="r")})["x"]
    assert placed.path == str(tmp_path / "x.npy")
    np.testing.assert_array_equal(placed.open(), ARRAYS["columns"])


@pytest.mark.parametrize("view", [lambda x: x[2:], lambda x: x[::2], lambda x: x.reshape(5, 2)])
def test_a_view_of_a_mapped_file_is_written_anew(files, tmp_path, view):
    np.save(tmp_path / "x.npy", np.arange(10))
    array = view(np.load(tmp_path / "x.npy", mmap_mode="r"))
    np.testing.assert_array_equal(files.place({"x": array})["x"].open(), array)


def test_what_was_written_to_a_private_map_is_not_lost(files, tmp_path):
    np.save(tmp_path / "x.npy", np.arange(10))
    array = np.load(tmp_path / "x.npy", mmap_mode="c")
    array[0] = 99
    assert files.place({"x": array})["x"].open()[0] == 99


def test_the_same_array_is_not_written_twice(files):
    assert files.place(ARRAYS) == files.place(ARRAYS)


def test_the_files_of_arrays_that_are_no_longer_used_are_removed(files):
    first = files.place({"x": np.arange(3)})["x"]
    files.place({"x": np.arange(4)})
    assert not Path(first.path).exists()


def test_close_removes_the_files_and_open_maps_stay_valid():
    files = ArrayFiles()
    placed = files.place({"x": np.arange(3)})["x"]
    opened = placed.open()
    files.close()
    assert not Path(placed.path).parent.exists()
    assert opened.tolist() == [0, 1, 2]


def test_a_full_disk_is_an_error_with_path_and_bytes(files, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(
        ResourceError, match=r"0\.npy: cannot write: No space left on device; 24 bytes needed"
    ):
        files.place({"x": np.arange(3)})


def test_an_array_in_memory_lies_in_no_file():
    assert FileArray.of(np.arange(3)) is None
