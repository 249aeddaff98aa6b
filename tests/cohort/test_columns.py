"""Convolutions as products with columns give what convolutions give, and their gradients."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fedsparse.cohort.layers import columns


def one_by_one(x: Tensor, weight: Tensor, bias: Tensor | None, padding: list[int]) -> Tensor:
    biases = [None] * len(x) if bias is None else list(bias)
    return torch.stack(
        [functional.conv2d(own, w, b, 1, padding) for own, w, b in zip(x, weight, biases, strict=True)]
    )


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(
    ("image", "kernel", "padding"),
    [((7, 7), (3, 3), [1, 1]), ((8, 5), (5, 2), [2, 0]), ((6, 9), (1, 3), [0, 2]), ((4, 4), (4, 4), [0, 0])],
)
def test_products_and_their_gradients_are_those_of_convolutions(
    image: tuple[int, int], kernel: tuple[int, int], padding: list[int], biased: bool
):
    draw = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64).requires_grad_()

    x, weight = drawn(3, 2, 4, *image), drawn(3, 5, 4, *kernel)
    bias = drawn(3, 5) if biased else None
    given = [x, weight, *([] if bias is None else [bias])]
    assert columns.fits(x, weight, padding)
    found, expected = (way(x, weight, bias, padding) for way in (columns.convolved, one_by_one))
    torch.testing.assert_close(found, expected)
    slopes = torch.randn(expected.shape, generator=draw, dtype=torch.float64)
    for own, other in zip(*(torch.autograd.grad(z, given, slopes) for z in (found, expected)), strict=True):
        torch.testing.assert_close(own, other)


@pytest.mark.parametrize(
    ("shape", "filters", "padding"),
    [
        ((2, 3, 4, 9), (2, 5, 4, 3), [1]),  # of sequences
        ((2, 3, 1, 9, 9), (2, 5, 1, 3, 3), [1, 1]),  # of one channel
        ((2, 3, 4, 9, 9), (2, 5, 4, 3, 3), [3, 1]),  # beyond the edge
        ((50, 20, 64, 64, 64), (50, 64, 64, 3, 3), [1, 1]),  # too large at a time
    ],
)
def test_what_is_better_left_to_convolutions(
    shape: tuple[int, ...], filters: tuple[int, ...], padding: list[int]
):
    x, weight = (torch.empty(1).expand(size) for size in (shape, filters))
    assert not columns.fits(x, weight, padding)
