"""Message lengths against figures computed independently of this code (specification of compressors)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fedsparse.message import Exponents, Quantized, SeededSparse, Sign, Sparse, round_to
from fedsparse.wire import Envelope, encode_message, message_nbytes

D = 1_000_000
HEADER = 8  # class, kind, size (3), count (2 or 3), coding


def uniform(k: int, kind: str = "fp32") -> Sparse:
    rng = np.random.default_rng(0)
    indices = torch.from_numpy(np.sort(rng.permutation(D)[:k]))[None]
    values, scale = round_to(torch.from_numpy(rng.standard_normal((1, k))).float(), kind)
    return Sparse.of(indices, values, D, kind, scale)


@pytest.mark.parametrize(("k", "rice"), [(1_000, 11.485), (10_000, 8.111), (100_000, 4.755)])
def test_bits_per_index_are_those_of_the_best_rice_code(k, rice):
    bits = 8 * (uniform(k).nbytes().item() - HEADER - 4 * k) / k
    assert bits == pytest.approx(rice, rel=0.005)


@pytest.mark.parametrize("k", [1_000, 10_000, 100_000])
def test_index_bits_are_close_to_the_information_bound(k):
    bound = (math.lgamma(D + 1) - math.lgamma(k + 1) - math.lgamma(D - k + 1)) / math.log(2)
    assert 8 * (uniform(k).nbytes().item() - HEADER - 4 * k) <= 1.015 * bound


@pytest.mark.parametrize(
    ("k", "kind", "total"),
    [
        (1_000, "fp32", 5_436),
        (10_000, "fp32", 50_139),
        (10_000, "fp16", 30_139),
        (10_000, "bf16", 30_139),
        (10_000, "int8", 20_139),
        (100_000, "fp32", 459_442),
    ],
)
def test_whole_payloads_have_the_expected_length(k, kind, total):
    assert uniform(k, kind).nbytes().item() == pytest.approx(total, rel=0.001, abs=16)


def test_one_percent_of_a_million_fits_in_50300_bytes_with_its_envelope():
    message = {"dx": uniform(10_000)}
    payload, header = message_nbytes(message)
    assert payload + header == len(encode_message(message, 0, Envelope(1, 2, 0, 3)))
    assert payload + header <= 50_300


@pytest.mark.parametrize(
    ("payload", "total"),
    [
        (SeededSparse(torch.tensor([1]), torch.ones(1, 10_000), D), 40_008),
        (Sign(torch.ones(1, D, dtype=torch.bool), torch.ones(1, 1)), 125_004),
        (Exponents.of(torch.ones(1, D)), 1_125_000),
        (Quantized(torch.ones(1, D, dtype=torch.int32), torch.ones(1), 1), 250_004),
    ],
)
def test_other_classes_have_the_expected_length_and_a_short_header(payload, total):
    assert 0 <= payload.nbytes().item() - total <= 8
