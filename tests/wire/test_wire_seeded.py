"""Random supports that a seed stands for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsparse.errors import ProtocolError
from fedsparse.message import SeededSparse
from fedsparse.wire import k_subset


@settings(max_examples=200)
@given(st.integers(-(2**63), 2**64 - 1), st.integers(0, 2000), st.data())
def test_indices_are_distinct_ascending_and_in_range(seed, size, data):
    k = data.draw(st.integers(0, size))
    indices = k_subset(seed, k, size)
    assert indices.dtype == np.int64
    assert len(indices) == k
    assert (np.diff(indices) > 0).all()
    assert k == 0 or (indices[0] >= 0 and indices[-1] < size)


@pytest.mark.parametrize(
    ("seed", "k", "size", "golden"),
    [
        (0, 5, 100, [1, 3, 24, 36, 61]),
        (-1, 4, 2**32, [1009066437, 2380159995, 2920482519, 3080826205]),
        (123456789, 7, 10, [0, 1, 2, 3, 4, 5, 7]),
        (1, 6, 2**31 + 1, [66800564, 335296882, 651907389, 728298444, 984695151, 1585588598]),
    ],
)
def test_a_seed_stands_for_the_same_indices_for_ever(seed, k, size, golden):
    assert k_subset(seed, k, size).tolist() == golden


def test_signed_and_unsigned_seeds_are_the_same_64_bits():
    assert k_subset(-3, 9, 50).tolist() == k_subset(2**64 - 3, 9, 50).tolist()


def test_subsets_are_the_first_distinct_numbers_so_larger_ones_contain_smaller_ones():
    small, large = k_subset(4, 100, 10_000), k_subset(4, 3_000, 10_000)
    assert np.isin(small, large).all()


@pytest.mark.parametrize(("k", "size"), [(2, 5), (3, 5), (1, 3)])
def test_all_subsets_are_equally_likely(k, size):
    draws = 3_000
    subsets, counts = np.unique(
        [k_subset(seed, k, size) for seed in range(draws)], axis=0, return_counts=True
    )
    expected = draws / len(subsets)
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert len(subsets) == {2: 10, 3: 10, 1: 3}[k]
    assert chi_square < 27.9  # 0.1 % of draws exceed it with nine degrees of freedom


@pytest.mark.parametrize("k", [1, 40, 1_000, 5_000, 9_999])
def test_a_subset_is_the_first_distinct_numbers_of_its_stream_one_by_one(k):
    size, seen = 10_000, set()
    source, few = np.random.Philox(key=11), min(k, size - k)
    while len(seen) < few:
        word = int(source.random_raw())
        for half in (word & 0xFFFFFFFF, word >> 32):
            product = half * size
            if product % 2**32 >= 2**32 % size and len(seen) < few:
                seen.add(product // 2**32)
    expected = seen if few == k else set(range(size)) - seen
    assert k_subset(11, k, size).tolist() == sorted(expected)


def test_many_numbers_may_be_rejected():
    # Half of the 32-bit numbers are uneven remainder for this size, and the first draw is too short.
    assert len(np.unique(k_subset(5, 1_000, 2**31 + 1))) == 1_000


@pytest.mark.parametrize(("k", "size"), [(-1, 5), (6, 5), (1, 2**32 + 1)])
def test_impossible_subsets_are_refused(k, size):
    with pytest.raises(ProtocolError, match="subset"):
        k_subset(0, k, size)


def test_a_payload_puts_its_values_where_the_seed_says():
    payload = SeededSparse(torch.tensor([7, 8]), torch.ones(2, 3), 20)
    for row, seed in enumerate((7, 8)):
        assert payload.dense()[row].nonzero()[:, 0].tolist() == k_subset(seed, 3, 20).tolist()


def test_a_support_that_was_derived_before_is_that_of_the_seeds_and_is_not_sent():
    seeds, values = torch.tensor([7, 8]), torch.ones(2, 3)
    plain = SeededSparse(seeds, values, 20)
    known = SeededSparse(seeds, values, 20, support=plain.indices)
    assert torch.equal(known.dense(), plain.dense())
    assert known.encode_rows() == plain.encode_rows()
    assert torch.equal(known.select(slice(1, 2)).dense(), plain.dense()[1:])
