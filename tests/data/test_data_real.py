"""The real files, where FEDSPARSE_DATA has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedsparse.data import load
from fedsparse.data.download import download
from fedsparse.data.sets import fashion_mnist, mnist, shakespeare


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_idx_sets_have_their_published_sizes(real_data, name: str) -> None:
    data = load(name, real_data(name))
    assert data.x.shape == (60000, 1, 28, 28)
    assert data.x_test.shape == (10000, 1, 28, 28)


def test_mnist_label_counts_are_the_published_ones(real_data) -> None:
    counts = np.bincount(load("mnist", real_data("mnist")).y.astype(int))
    assert counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


@pytest.mark.parametrize("module", [mnist, fashion_mnist, shakespeare])
def test_the_files_have_the_sums_that_downloads_are_checked_against(real_data, module) -> None:
    folder = Path(real_data(module.FILES.name))

    def refuse(url: str):
        raise OSError(url)

    assert all(present for _, present in download(module.FILES, folder, refuse))


def test_cifar10_variants(real_data) -> None:
    folder = real_data("cifar10")
    lossless, jpeg = (load("cifar10", folder, variant=v) for v in ("lossless_4k", "jpeg_12k"))
    assert lossless.x.shape == (3200, 3, 32, 32)
    assert jpeg.x.shape == (10000, 3, 32, 32)
    assert np.bincount(jpeg.y_test.astype(int)).tolist() == [200] * 10


@pytest.mark.parametrize(
    ("file", "shape", "tests"),
    [
        ("a9a", (32561, 123), 16281),
        ("w8a", (39799, 300), 9950),
        ("mushrooms", (6499, 112), 1625),
        ("phishing", (8844, 68), 2211),
        ("ijcnn1.val", (11992, 22), 2998),
    ],
)
def test_libsvm_files(real_data, file: str, shape: tuple[int, int], tests: int) -> None:
    data = load("libsvm", real_data("libsvm"), file=file)
    assert data.x.shape == shape
    assert len(data.y_test) == tests


def test_wisdm_has_36_people(real_data) -> None:
    data = load("wisdm", real_data("wisdm"))
    assert len(data.x) + len(data.x_test) == 5418
    assert data.groups.max() == 35


def test_femnist_has_12_clients_with_bright_ink(real_data) -> None:
    data = load("femnist", real_data("femnist"))
    assert data.groups.max() == 11
    assert data.x.mean() < 100


def test_shakespeare_has_141_roles_of_a_thousand_characters(real_data) -> None:
    data = load("shakespeare", real_data("shakespeare"))
    assert data.groups.max() == 140
    assert data.classes == 65
    assert data.x.shape == data.y.shape == (9691, 80)
