"""Where numbers are not zero, found word by word."""

import numpy as np
import pytest

from fedsparse.wire import bits


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "bool"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 1003])
def test_every_number_that_is_not_zero_is_found_once_and_in_order(kind: str, share: float, size: int):
    draw = np.random.default_rng(size)
    numbers = ((draw.random(size) < share) * draw.integers(-100, 101, size)).astype(kind)
    np.testing.assert_array_equal(bits.nonzero(numbers), np.flatnonzero(numbers))
