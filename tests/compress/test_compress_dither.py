"""Rounding up or down at random: the probabilities, and that neighbours of a coordinate do not show in it."""

import numpy as np
import pytest
import torch

from fedsparse import rng
from fedsparse.compress.dither import FEW, dithered


def codes(x: torch.Tensor, levels: int, rows: int = 1) -> torch.Tensor:
    streams = rng.Streams(3, "dither", 0, range(rows))
    return dithered(x.expand(rows, -1), torch.ones(rows, dtype=x.dtype), levels, streams.generators)


@pytest.mark.parametrize("left", [1 / 2, 1 / 256, 0.3 / 256, 1.7 / 256, 255.5 / 256])
@pytest.mark.parametrize("whole", [0, 3])
@pytest.mark.parametrize("spread", [False, True])
def test_it_is_rounded_up_as_often_as_it_is_left_of_the_lower_neighbour(
    left: float, whole: int, spread: bool
) -> None:
    # Among zeros only the coordinates that may be other than zero are looked at.
    count = 400_000
    x = torch.full((1, count), whole + left, dtype=torch.float64)
    if spread:
        x = torch.cat((x, torch.zeros(1, 2 * FEW * count, dtype=torch.float64)), dim=1)
    up = codes(x, 4)[0, :count] - whole
    assert set(up.unique().tolist()) <= {0, 1}
    # Five standard deviations of a binomial share.
    assert abs(float(up.double().mean()) - left) < 5 * (left * (1 - left) / count) ** 0.5


@pytest.mark.parametrize("levels", [1, 7, 127, 128, 2**20])
def test_whole_numbers_of_steps_stay_what_they_are(levels: int) -> None:
    x = torch.from_numpy(np.random.default_rng(0).integers(-levels, levels + 1, (1, 5000))).float()
    assert torch.equal(codes(x, levels).float(), x)


def test_what_exceeds_the_levels_is_cut_off() -> None:
    assert codes(torch.tensor([[9.0, -4.00001, 0.0]]), 4).tolist() == [[4, -4, 0]]


@pytest.mark.parametrize("step", [0.0, float("inf"), float("nan")])
def test_a_step_of_no_length_gives_zeros(step: float) -> None:
    streams = rng.Streams(3, "dither", 0, [0])
    assert not dithered(torch.ones(1, 5), torch.tensor([step]), 4, streams.generators).any()
