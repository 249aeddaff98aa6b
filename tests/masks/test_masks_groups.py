"""The N largest of every M, against a stable sort."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fedsparse.masks import groups, largest_of_groups


def marked(x: Tensor, n: int, m: int, apart: int) -> Tensor:
    found = torch.full(x.shape, True)
    for at, used in largest_of_groups(x, n, m, apart):
        found[at] = torch.from_numpy(used)
    return found


def by_sorting(x: Tensor, n: int, m: int, apart: int) -> Tensor:
    order = x.abs().view(len(x), -1, m, apart).sort(dim=2, descending=True, stable=True).indices
    return torch.zeros(order.shape, dtype=torch.bool).scatter_(2, order[:, :, :n], True).view(x.shape)


@pytest.mark.parametrize(
    ("n", "m"), [(1, 1), (1, 2), (2, 4), (4, 4), (3, 5), (1, 8), (6, 8), (5, 16), (20, 300)]
)
@pytest.mark.parametrize("apart", [1, 9])
@pytest.mark.parametrize("together", [1, 700, 1 << 20])
def test_the_largest_of_groups_are_those_of_a_stable_sort(
    n: int, m: int, apart: int, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values that are mostly ties; rows in several pieces, one row at a time, and all rows at once."""
    monkeypatch.setattr(groups, "TOGETHER", together)
    x = torch.randint(-3, 4, (3, 2 * m * apart), generator=torch.Generator().manual_seed(m)).float()
    # As rows of a longer vector, which do not lie one behind the other.
    x = torch.cat([x, torch.ones(3, 1)], dim=1)[:, :-1]
    assert torch.equal(marked(x, n, m, apart), by_sorting(x.contiguous(), n, m, apart))
