"""CIFAR-10: pickled batches are read without trusting them, and two npz variants."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from fedsparse.data import load
from fedsparse.errors import ConfigError, DataError

BATCHES = (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch")


def _text(raw: bytes) -> bytes:
    return b"T" + len(raw).to_bytes(4, "little") + raw


def python2_batch(x: np.ndarray, labels: list[int], dtype: bytes = b"u1") -> bytes:
    """The opcodes that Python 2 wrote for {"data": array, "labels": list}, protocol 2."""
    shape = b"".join(b"J" + n.to_bytes(4, "little") for n in x.shape) + b"\x86"
    kind = (
        b"cnumpy\ndtype\n" + _text(dtype) + b"K\x00K\x01\x87R(K\x03" + _text(b"|") + b"NNNK\x00K\x00K\x00tb"
    )
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + _text(b"b") + b"\x87R"
    array += b"(K\x01" + shape + kind + b"\x89" + _text(x.tobytes()) + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes((k,)) for k in labels) + b"e"
    return b"\x80\x02}(" + _text(b"data") + array + _text(b"labels") + numbers + b"u."


def _contents() -> dict[str, tuple[np.ndarray, list[int]]]:
    rng = np.random.default_rng(0)
    return {
        name: (rng.integers(0, 256, (4, 3072), dtype=np.uint8), rng.integers(0, 10, 4).tolist())
        for name in BATCHES
    }


def _write_folder(folder: Path) -> dict[str, tuple[np.ndarray, list[int]]]:
    folder.mkdir(parents=True)
    contents = _contents()
    for name, (x, labels) in contents.items():
        (folder / name).write_bytes(python2_batch(x, labels))
    return contents


def test_published_batches_are_read_in_order(tmp_path) -> None:
    contents = _write_folder(tmp_path / "cifar10/cifar-10-batches-py")
    cifar = load("cifar10", tmp_path)
    assert cifar.x.shape == (20, 3, 32, 32)
    assert np.array_equal(cifar.x[4:8].reshape(4, -1), contents["data_batch_2"][0])
    assert cifar.y_test.tolist() == contents["test_batch"][1]


def test_the_published_archive_is_read_in_place(tmp_path) -> None:
    (tmp_path / "cifar10").mkdir()
    with tarfile.open(tmp_path / "cifar10/cifar-10-python.tar.gz", "w:gz") as archive:
        for name, (x, labels) in _contents().items():
            raw = python2_batch(x, labels)
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    (tmp_path / "unpacked").mkdir()
    _write_folder(tmp_path / "unpacked/cifar-10-batches-py")
    assert np.array_equal(load("cifar10", tmp_path).x, load("cifar10", tmp_path / "unpacked").x)


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("this must not run",))


@pytest.mark.parametrize(
    "raw",
    [
        pickle.dumps(_Evil()),
        b"cos\nsystem\n(S'true'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"",
        b"\x80\x02}.",
        b"not a pickle",
        python2_batch(np.zeros((4, 3072), np.uint8), [0, 1, 2, 3])[:-40],
        python2_batch(np.zeros((4, 3072), np.uint8), [0, 1, 2]),
        python2_batch(np.zeros((4, 3071), np.uint8), [0, 1, 2, 3]),
        python2_batch(np.zeros((4, 3072), np.uint8), [0, 1, 2, 3], dtype=b"O8"),
    ],
)
def test_batches_that_are_damaged_or_want_more_than_arrays_are_refused(tmp_path, capfd, raw: bytes) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    _write_folder(folder)
    (folder / "data_batch_3").write_bytes(raw)
    with pytest.raises(DataError) as caught:
        load("cifar10", tmp_path)
    assert str(folder / "data_batch_3") in str(caught.value)
    assert capfd.readouterr().out == ""


def test_a_missing_batch_is_named(tmp_path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    _write_folder(folder)
    (folder / "test_batch").unlink()
    with pytest.raises(DataError, match="test_batch"):
        load("cifar10", tmp_path)


def test_a_cut_archive_is_named(tmp_path) -> None:
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"\x1f\x8b\x08\0broken")
    with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz"):
        load("cifar10", tmp_path)


def test_an_npz_of_other_shape_is_refused(tmp_path) -> None:
    np.savez(tmp_path / "cifar10_lossless_4k.npz", x=np.zeros((5, 32, 32), np.uint8), y=np.zeros(5, np.uint8))
    with pytest.raises(DataError, match="array 'x' has shape"):
        load("cifar10", tmp_path, variant="lossless_4k")


def test_an_npz_with_pickled_objects_is_refused(tmp_path) -> None:
    x = np.array([_Evil()], dtype=object)
    np.savez(tmp_path / "cifar10_lossless_4k.npz", x=x, y=x)
    with pytest.raises(DataError, match="cifar10_lossless_4k"):
        load("cifar10", tmp_path, variant="lossless_4k")


def test_a_truncated_npz_is_named(tmp_path) -> None:
    path = tmp_path / "cifar10_jpeg_12k.npz"
    np.savez(path, x_train=np.zeros((5, 32, 32, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="cifar10_jpeg_12k"):
        load("cifar10", tmp_path, variant="jpeg_12k")


def test_a_single_array_is_no_archive(tmp_path) -> None:
    with (tmp_path / "cifar10_jpeg_12k.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match="single array"):
        load("cifar10", tmp_path, variant="jpeg_12k")


def test_an_unknown_variant_lists_those_there_are(tmp_path) -> None:
    with pytest.raises(ConfigError, match="full, lossless_4k, jpeg_12k"):
        load("cifar10", tmp_path, variant="tiny")
