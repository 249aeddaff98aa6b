"""The embedded set."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from fedsparse.data import load


def test_digits_are_1437_training_and_360_test_images_of_bytes() -> None:
    digits = load("digits")
    assert digits.x.shape == (1437, 1, 8, 8)
    assert digits.x_test.shape == (360, 1, 8, 8)
    assert digits.x.dtype == np.uint8
    assert digits.example_shape == (1, 8, 8)


def test_digits_scale_to_the_unit_interval() -> None:
    digits = load("digits")
    assert digits.x.max() * digits.scale + digits.shift == 1.0
    assert digits.x.min() * digits.scale + digits.shift == 0.0


def test_digits_split_is_the_same_for_every_seed() -> None:
    assert np.array_equal(load("digits", seed=0).x_test, load("digits", seed=5).x_test)


def test_digits_split_is_stratified() -> None:
    digits = load("digits")
    train, test = (np.bincount(y.astype(int)) for y in (digits.y, digits.y_test))
    assert np.abs(test - 0.2 * (train + test)).max() <= 1


def test_digits_split_is_pinned() -> None:
    # Computed once; a change of it would make old and new runs incomparable.
    digits = load("digits")
    assert digits.y_test[:12].tolist() == [3, 0, 1, 6, 8, 5, 8, 7, 7, 0, 1, 3]
    assert int(digits.x_test.astype(np.int64).sum()) == 112446


def test_fedsparse_data_does_not_import_torch_or_matplotlib() -> None:
    code = (
        "import sys; import fedsparse.data, fedsparse.data.partition as p; "
        "d = fedsparse.data.load('digits'); p.partition('iid', d, 10, 0); "
        "sys.exit(any(m in sys.modules for m in ('torch', 'matplotlib', 'pyarrow', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
