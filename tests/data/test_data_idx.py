"""MNIST's format, its folders, and what is said when files are missing or damaged."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from fedsparse.data import load
from fedsparse.errors import DataError

IMAGES = "train-images-idx3-ubyte.gz"


@pytest.mark.parametrize("folder", ["mnist", "MNIST/raw", "."])
@pytest.mark.parametrize("suffix", [".gz", ""])
def test_mnist_is_read_from_each_folder_gzipped_or_not(
    tmp_path, tiny_mnist, folder: str, suffix: str
) -> None:
    written = tiny_mnist(tmp_path / folder, suffix)
    mnist = load("mnist", tmp_path)
    assert np.array_equal(mnist.x[:, 0], written["train-images-idx3"])
    assert np.array_equal(mnist.y_test, written["t10k-labels-idx1"])


def test_the_environment_names_the_data_folder(tmp_path, tiny_mnist, monkeypatch) -> None:
    tiny_mnist(tmp_path / "fashion_mnist")
    monkeypatch.setenv("FEDSPARSE_DATA", str(tmp_path))
    assert load("fashion_mnist").name == "fashion_mnist"


def test_pixels_scale_to_the_unit_interval(tmp_path, tiny_mnist) -> None:
    tiny_mnist(tmp_path)
    assert load("mnist", tmp_path).scale * 255 == pytest.approx(1)


def test_a_missing_file_names_every_path_and_the_command(tmp_path) -> None:
    with pytest.raises(DataError) as caught:
        load("mnist", tmp_path)
    text = str(caught.value)
    for folder in ("mnist", "MNIST/raw"):
        assert str(tmp_path / folder / IMAGES) in text
    assert "python -m fedsparse.data mnist data_dir=FOLDER" in text
    assert "https://" in text
    assert "FEDSPARSE_DATA" in text


def test_no_data_folder_is_said() -> None:
    with pytest.raises(DataError, match="no data folder is set"):
        load("mnist")


def test_a_data_folder_that_does_not_exist_is_said(tmp_path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load("mnist", tmp_path / "nowhere")


def _damage(raw: bytes, how: str) -> bytes:
    content = gzip.decompress(raw)
    return {
        "truncated gzip": raw[:-20],
        "no gzip": b"<html>not found</html>",
        "empty": b"",
        "wrong magic": gzip.compress(b"\0\0\x09\x03" + content[4:]),
        "labels for images": gzip.compress(b"\0\0\x08\x01" + content[4:]),
        "cut header": gzip.compress(content[:9]),
        "fewer bytes": gzip.compress(content[:-1]),
        "more bytes": gzip.compress(content + b"\0"),
        "huge size": gzip.compress(content[:4] + b"\xff" * 12 + content[16:]),
    }[how]


@pytest.mark.parametrize(
    "how",
    [
        "truncated gzip",
        "no gzip",
        "empty",
        "wrong magic",
        "labels for images",
        "cut header",
        "fewer bytes",
        "more bytes",
        "huge size",
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, tiny_mnist, how: str) -> None:
    tiny_mnist(tmp_path)
    path = tmp_path / IMAGES
    path.write_bytes(_damage(path.read_bytes(), how))
    with pytest.raises(DataError) as caught:
        load("mnist", tmp_path)
    assert str(path) in str(caught.value)


def test_images_without_their_labels_are_refused(tmp_path, tiny_mnist) -> None:
    tiny_mnist(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(
        (tmp_path / "t10k-labels-idx1-ubyte.gz").read_bytes()
    )
    with pytest.raises(DataError, match="same number of examples"):
        load("mnist", tmp_path)
