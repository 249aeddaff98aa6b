"""LIBSVM text."""

from __future__ import annotations

import bz2
import gzip

import numpy as np
import pytest

from fedsparse.data import load
from fedsparse.data.svmlight import read_svmlight
from fedsparse.errors import ConfigError, DataError

TEXT = b"+1 1:0.5 3:2 \r\n-1 2:1\n-1\n\n+1 3:-1e-2\n-1 1:1 2:1 3:1\n"


def test_rows_labels_and_zeros_are_read(tmp_path) -> None:
    (tmp_path / "tiny").write_bytes(TEXT)
    rows = read_svmlight(tmp_path / "tiny", 4)
    assert rows.labels.tolist() == [1, -1, -1, 1, -1]
    expected = [[0.5, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, -0.01, 0], [1, 1, 1, 0]]
    assert np.array_equal(rows.x, np.array(expected, np.float32))
    assert rows.nonzeros == 7


@pytest.mark.parametrize(
    ("suffix", "packed"), [("", TEXT), (".gz", gzip.compress(TEXT, mtime=0)), (".bz2", bz2.compress(TEXT))]
)
def test_the_smaller_label_is_class_0(tmp_path, suffix: str, packed: bytes) -> None:
    (tmp_path / f"tiny{suffix}").write_bytes(packed)
    tiny = load("libsvm", tmp_path, file="tiny", features=4, test_fraction=0.0)
    assert tiny.y.tolist() == [1, 0, 0, 1, 0]
    assert np.array_equal(tiny.x, tiny.x_test)


def test_a_test_file_is_the_test_part(tmp_path) -> None:
    (tmp_path / "tiny").write_bytes(TEXT)
    (tmp_path / "tiny.t").write_bytes(b"-1 1:1\n+1 2:1\n")
    tiny = load("libsvm", tmp_path, file="tiny", features=4, test_file="tiny.t")
    assert tiny.y_test.tolist() == [0, 1]


def test_without_one_a_stratified_share_is(tmp_path) -> None:
    (tmp_path / "tiny").write_bytes(b"1 1:1\n2 1:1\n" * 50)
    tiny = load("libsvm", tmp_path, file="tiny", features=1, test_fraction=0.1)
    assert np.bincount(tiny.y_test.astype(int)).tolist() == [5, 5]


def test_an_unknown_file_needs_its_number_of_features(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"data\.features=NUMBER\. Known: a9a \(123\)"):
        load("libsvm", tmp_path, file="mine")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"+1 1:1\nhello world\n-1 1:1\n", "example 2 is not LIBSVM text"),
        (b"+1 1:1\n-1 1:1:1\n", "example 2 is not LIBSVM text"),
        (b"+1 1 1\n-1 1:1\n", "example 1 is not LIBSVM text"),
        (b"+1 1:1\n-1 5:1\n", "example 2: the entry 5:1"),
        (b"+1 1:1\n-1 0:1\n", "example 2: the entry 0:1"),
        (b"+1 1:nan\n-1 1:1\n", "example 1: the entry 1:nan"),
        (b"+1 1:1\n-1 2:1 2:1\n", "example 2: its columns"),
        (b"\n\n", "holds no examples"),
        (b"1 1:1\n2 1:1\n3 1:1\n", "3 different label"),
    ],
)
def test_text_of_another_form_is_refused_with_its_line(tmp_path, text: bytes, said: str) -> None:
    (tmp_path / "tiny").write_bytes(text)
    with pytest.raises(DataError) as caught:
        load("libsvm", tmp_path, file="tiny", features=4)
    assert said in str(caught.value)
    assert str(tmp_path / "tiny") in str(caught.value)


def test_a_cut_copy_of_a_published_file_is_refused(tmp_path) -> None:
    (tmp_path / "a9a").write_bytes(TEXT)
    with pytest.raises(DataError, match=r"not the published 'a9a': it has 5 examples"):
        load("libsvm", tmp_path)


def test_a_truncated_gzip_is_named(tmp_path) -> None:
    (tmp_path / "tiny.gz").write_bytes(gzip.compress(TEXT)[:-9])
    with pytest.raises(DataError, match=r"tiny\.gz is damaged"):
        load("libsvm", tmp_path, file="tiny", features=4)
