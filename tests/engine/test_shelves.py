"""Arrays that go between processes through files in memory, and results whose large arrays do."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedsparse.engine.letters import LARGE, Letter, Letters, post
from fedsparse.engine.shelves import Reader, Shelves

ARRAYS = [
    np.arange(100_000, dtype=np.float32),
    np.zeros((0, 3)),
    np.array([True, False]),
    np.arange(12, dtype=np.int64).reshape(3, 4),
    np.arange(24.0).reshape(4, 6)[:, ::2],
    np.array(7.5),
]


@pytest.fixture
def shelves(tmp_path: Path):
    made = Shelves(tmp_path, "worker")
    yield made
    made.close()
    assert list(tmp_path.iterdir()) == []


def large(number: float) -> np.ndarray:
    return np.full(LARGE // 8, number)


def test_arrays_come_out_as_they_were(shelves: Shelves):
    parcel = shelves.put(ARRAYS)
    assert parcel is not None
    for found, array in zip(Reader().open(parcel), ARRAYS, strict=True):
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)
        assert not found.flags.writeable


def test_each_array_lies_where_vectors_are_loaded_fast(shelves: Shelves):
    parcel = shelves.put(ARRAYS)
    assert parcel is not None
    assert all(array.ctypes.data % 64 == 0 for array in Reader().open(parcel))


def test_a_shelf_is_used_again_when_nobody_holds_an_array_of_it(shelves: Shelves):
    reader, done = Reader(), []
    first = shelves.put([large(1), large(2)])
    assert first is not None
    one, two = reader.open(first, done.append)
    del one
    assert done == []
    held = two[3:4]
    del two
    assert done == []
    del held
    assert done == [first.shelf]
    shelves.free(done)
    second = shelves.put([large(3)])
    assert second is not None
    assert (second.shelf, second.path) == (first.shelf, first.path)


def test_what_is_still_held_is_not_written_over(shelves: Shelves):
    reader, found = Reader(), []
    for number in range(4):
        parcel = shelves.put([large(number)])
        assert parcel is not None
        found += reader.open(parcel)
    assert [array[0] for array in found] == [0, 1, 2, 3]


def test_a_shelf_grows_for_arrays_that_are_longer(shelves: Shelves):
    reader = Reader(alone=True)
    for length in (10, 100_000, 10, 1_000_000):
        parcel = shelves.put([np.arange(length)])
        assert parcel is not None
        assert parcel.shelf == 0
        (found,) = reader.open(parcel)
        assert np.array_equal(found, np.arange(length))
        shelves.free([parcel.shelf])


def test_arrays_outlive_writer_and_reader(tmp_path: Path):
    shelves, reader = Shelves(tmp_path, "worker"), Reader()
    parcel = shelves.put([large(5)])
    assert parcel is not None
    (found,) = reader.open(parcel)
    reader.close()
    shelves.close()
    assert found.sum() == 5 * found.size


def test_a_file_that_only_one_reads_loses_its_name(shelves: Shelves, tmp_path: Path):
    parcel = shelves.put([large(5)])
    assert parcel is not None
    Reader(alone=True).open(parcel)
    assert list(tmp_path.iterdir()) == []


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_without_room_results_go_as_they_are(
    shelves: Shelves, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "posix_fallocate", full)
    result = {"x": large(1)}
    assert post(result, shelves) is result
    assert list(tmp_path.iterdir()) == []


# ---- letters


@dataclass(frozen=True)
class Result:
    packed: dict[str, Any]
    rows: list[Any]
    note: str = "fine"


def test_a_letter_has_no_large_array_and_is_opened_to_what_was_posted(shelves: Shelves):
    small = np.arange(3)
    result = Result({"g": ("Dense", {"values": large(1), "scale": None})}, [large(2), small, b"bytes"])
    letter = post(result, shelves)
    assert isinstance(letter, Letter)
    assert isinstance(letter.value, Result)
    assert letter.value.rows[1] is small
    letters = Letters()
    opened = letters.open(letter)
    assert np.array_equal(opened.packed["g"][1]["values"], large(1))
    assert np.array_equal(opened.rows[0], large(2))
    assert (opened.note, opened.rows[2], opened.packed["g"][0]) == ("fine", b"bytes", "Dense")
    assert letters.done() == []
    del opened
    assert letters.done() == [0]
    assert letters.done() == []


def test_results_without_large_arrays_are_sent_as_they_are(shelves: Shelves):
    result = Result({"g": np.arange(3)}, [])
    assert post(result, shelves) is result
    assert Letters().open(result) is result
