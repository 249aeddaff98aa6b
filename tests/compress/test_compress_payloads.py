"""What all compressors have in common: rows by themselves, bytes, zeros, damage, scaling, memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fedsparse.compress import (
    QSGD,
    BlockTopK,
    Compressor,
    Identity,
    LowBit,
    Natural,
    RandK,
    Scaled,
    Sign,
    Threshold,
    TopK,
    pieces,
)
from fedsparse.message import Payload

Clients = Callable[..., Any]

VALUED = [
    Identity(),
    TopK(0.1),
    RandK(0.1),
    RandK(0.1, unbiased=False),
    BlockTopK(0.1, block=64),
    Threshold(0.3),
]
DENSE = [
    QSGD(1),
    QSGD(4),
    QSGD(300),
    QSGD(1, norm="max"),
    Sign(),
    Sign(block=100),
    Natural(),
    LowBit(2),
    LowBit(8),
]
ROUNDED = [replace(c, values=v) for c in VALUED for v in ("fp32", "fp16", "bf16", "int8")]
ALL = [*VALUED, *DENSE, *ROUNDED, Threshold(absolute=0.5), Scaled(RandK(0.1)), Scaled(QSGD(1))]
EXACT = [c for c in VALUED if c != RandK(0.1)]
SEES_ALL = [c for c in ALL if not isinstance(c, RandK | Scaled)]

every = pytest.mark.parametrize("compressor", ALL, ids=str)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def vectors(rows: int, size: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.from_numpy(np.random.default_rng(size).standard_normal((rows, size))).to(dtype)


def bytes_of(payload: Payload) -> list[bytes]:
    return [payload.encode(row) for row in range(payload.rows)]


@every
@dtypes
def test_a_row_alone_and_in_a_batch_gives_the_same_bytes(
    compressor: Compressor, dtype: torch.dtype, clients: Clients
) -> None:
    for size in (1, 2, 67, 5003):
        x = vectors(3, size, dtype)
        ids = [8, 2, 30]
        alone = [bytes_of(compressor.compress(x[i : i + 1], clients(ids[i : i + 1])))[0] for i in range(3)]
        assert bytes_of(compressor.compress(x, clients(ids))) == alone, size


@every
@dtypes
def test_encoded_lengths_are_the_computed_ones(
    compressor: Compressor, dtype: torch.dtype, clients: Clients
) -> None:
    payload = compressor.compress(vectors(3, 500, dtype), clients(range(3)))
    assert [len(b) for b in bytes_of(payload)] == payload.nbytes().tolist()


@every
@dtypes
def test_what_is_received_has_the_dtype_and_shape_of_what_was_sent(
    compressor: Compressor, dtype: torch.dtype, clients: Clients
) -> None:
    dense = compressor.compress(vectors(3, 67, dtype), clients(range(3))).dense()
    assert dense.dtype == dtype
    assert dense.shape == (3, 67)


@every
@dtypes
def test_zero_is_sent_as_zero(compressor: Compressor, dtype: torch.dtype, clients: Clients) -> None:
    payload = compressor.compress(torch.zeros(2, 67, dtype=dtype), clients(range(2)))
    assert torch.equal(payload.dense(), torch.zeros(2, 67, dtype=dtype))


@pytest.mark.parametrize("compressor", SEES_ALL, ids=str)
@dtypes
def test_a_damaged_row_is_seen_and_spoils_no_other(
    compressor: Compressor, dtype: torch.dtype, clients: Clients
) -> None:
    x = vectors(3, 67, dtype)
    clean = bytes_of(compressor.compress(x, clients(range(3))))
    for damage in (torch.nan, torch.inf, -torch.inf):
        x[1, 40] = damage
        payload = compressor.compress(x, clients(range(3)))
        assert payload.finite().tolist() == [True, False, True], damage
        assert bytes_of(payload)[::2] == clean[::2], damage


@every
def test_other_clients_and_rounds_see_other_randomness_and_the_same_ones_the_same(
    compressor: Compressor, clients: Clients
) -> None:
    x = vectors(1, 500)

    def sent(client: int, round_: int, stream: str = "compress") -> bytes:
        return compressor.compress(x, clients([client], round=round_), stream).encode(0)

    others = {sent(1, 0), sent(0, 1), sent(0, 0, "second")}
    assert sent(0, 0) == sent(0, 0)
    deterministic = not isinstance(compressor, RandK | QSGD | Natural | Scaled)
    assert others == {sent(0, 0)} if deterministic else sent(0, 0) not in others


@pytest.mark.parametrize("compressor", [c for c in ALL if c != Threshold(absolute=0.5)], ids=str)
def test_scaling_by_a_power_of_two_scales_the_result_exactly(
    compressor: Compressor, clients: Clients
) -> None:
    x = vectors(2, 67)
    once = compressor.compress(x, clients(range(2))).dense()
    assert torch.equal(compressor.compress(4 * x, clients(range(2))).dense(), 4 * once)


@pytest.mark.parametrize("compressor", [*VALUED, *(c for c in DENSE if c != Natural())], ids=str)
def test_scaling_by_three_scales_the_result(compressor: Compressor, clients: Clients) -> None:
    x = vectors(2, 67)
    once = compressor.compress(x, clients(range(2))).dense()
    assert torch.allclose(compressor.compress(3 * x, clients(range(2))).dense(), 3 * once, rtol=1e-12)


@every
@dtypes
def test_memory_is_what_was_owed_less_what_was_received(
    compressor: Compressor, dtype: torch.dtype, clients: Clients
) -> None:
    x, memory = vectors(2, 67, dtype), vectors(2, 66, dtype)[:, [*range(66), 0]]
    payload, left = compressor.with_memory(x, memory, clients(range(2)))
    assert torch.equal(left, (memory + x) - payload.dense())


@pytest.mark.parametrize("compressor", EXACT, ids=str)
@dtypes
def test_memory_and_message_add_up_to_the_bit_where_nothing_is_rounded(
    compressor: Compressor, dtype: torch.dtype, clients: Clients
) -> None:
    x, memory = vectors(2, 67, dtype), vectors(2, 66, dtype)[:, [*range(66), 0]]
    payload, left = compressor.with_memory(x, memory, clients(range(2)))
    assert torch.equal(payload.dense() + left, memory + x)


@pytest.mark.parametrize("values", ["fp16", "bf16", "int8"])
def test_rounding_errors_go_to_the_memory(values: str, clients: Clients) -> None:
    x = vectors(1, 67)
    _, left = Identity(values=values).with_memory(x, torch.zeros_like(x), clients([0]))
    assert 0 < float(left.norm()) < 0.03 * float(x.norm())


@every
def test_the_input_is_left_as_it_was(compressor: Compressor, clients: Clients) -> None:
    x = vectors(2, 67)
    before = x.clone()
    compressor.compress(x, clients(range(2)))
    assert torch.equal(x, before)


@pytest.mark.parametrize("size", [1, 3, 64, 67, 5003])
def test_topk_keeps_exactly_k_of_equal_entries_at_the_lowest_indices(size: int, clients: Clients) -> None:
    k = max(1, size // 4)
    payload = TopK(k=k).compress(-torch.ones(2, size), clients(range(2)))
    assert payload.indices.tolist() == [*range(k)] * 2


def test_block_topk_keeps_the_largest_of_each_block_and_of_the_shorter_last_one(clients: Clients) -> None:
    x = torch.tensor([[1.0, -5, 2, 9, 8, 7, 0, 0, 0, 3, -4]])
    payload = BlockTopK(k=1, block=3).compress(x, clients([0]))
    assert payload.indices.tolist() == [1, 3, 6, 10]


def test_block_topk_on_one_block_is_topk(clients: Clients) -> None:
    x = vectors(3, 67)
    blocks, whole = BlockTopK(0.1, block=100), TopK(0.1)
    assert bytes_of(blocks.compress(x, clients(range(3)))) == bytes_of(whole.compress(x, clients(range(3))))


def test_threshold_sends_as_many_as_there_are(clients: Clients) -> None:
    x = torch.tensor([[4.0, -2, 1.9, 0], [0, 0, 0, 0], [1, 1, 1, -1]])
    payload = Threshold(0.5).compress(x, clients(range(3)))
    assert payload.counts.tolist() == [2, 0, 4]
    assert payload.indices.tolist() == [0, 1, 0, 1, 2, 3]


def test_absolute_threshold_keeps_entries_at_the_level(clients: Clients) -> None:
    x = torch.tensor([[0.5, -0.5, 0.49, 0]])
    assert Threshold(absolute=0.5).compress(x, clients([0])).indices.tolist() == [0, 1]


def test_sign_blocks_have_scales_of_their_own(clients: Clients) -> None:
    x = torch.tensor([[1.0, -3, 10, 30, -100]])
    expected = torch.tensor([[2.0, -2, 20, 20, -100]])
    assert torch.equal(Sign(block=2).compress(x, clients([0])).dense(), expected)


@pytest.mark.parametrize(("size", "block"), [(10, 1), (10, 3), (10, 7), (10, 10), (10, 99), (1500, 1024)])
def test_sign_blocks_are_never_longer_than_asked_for(size: int, block: int, clients: Clients) -> None:
    compressor = Sign(block=block)
    blocks = compressor.compress(vectors(1, size), clients([0])).scale.shape[1]
    assert blocks == -(-size // block)
    assert compressor.delta(size) >= 1 / block


def test_dithering_never_leaves_its_levels(clients: Clients) -> None:
    x = torch.zeros(2000, 3)
    x[:, 1] = torch.linspace(0.1, 7, 2000)
    codes = QSGD(levels=1000).compress(x, clients(range(2000))).codes
    assert codes[:, 1].unique().tolist() == [1000]


def test_norms_neither_overflow_nor_underflow(clients: Clients) -> None:
    for size in (1e-200, 1e200):
        x = torch.full((1, 4), size, dtype=torch.float64)
        assert torch.allclose(QSGD(levels=2).compress(x, clients([0])).dense(), x)


SIZES = [
    (TopK(), 50_139),
    (TopK(values="fp16"), 30_139),
    (TopK(values="int8"), 20_139),
    (TopK(0.001), 5_436),
    (TopK(0.1), 459_442),
    (RandK(), 40_008),
    (Sign(), 125_004),
    (Natural(), 1_125_000),
    (Identity(), 4_000_000),
    (LowBit(8), 1_000_004),
]


@pytest.mark.parametrize(("compressor", "known"), SIZES, ids=str)
def test_messages_of_a_million_entries_have_the_known_sizes(
    compressor: Compressor, known: int, gaussian: Tensor, clients: Clients
) -> None:
    nbytes = int(compressor.compress(gaussian, clients([0])).nbytes())
    slack = 0.005 * known if isinstance(compressor, TopK | LowBit) else 0  # supports differ from draw to draw
    assert known - slack <= nbytes <= known + slack + 16


def test_coarse_dithering_of_a_million_entries_takes_a_kilobyte(gaussian: Tensor, clients: Clients) -> None:
    assert 1200 < int(QSGD(levels=1).compress(gaussian, clients([0])).nbytes()) < 1500


@every
def test_a_sum_that_is_made_in_pieces_is_compressed_to_the_same_bytes(
    compressor: Compressor, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = vectors(5, 130), vectors(5, 131)[:, 1:]
    whole = bytes_of(compressor.compress(torch.add(x, y, alpha=-0.25), clients(range(5))))
    expected, left = compressor.with_memory(x * -0.5, y, clients(range(5)))
    monkeypatch.setattr(pieces, "TOGETHER", 2 * 130)  # 2, 2 and 1 rows
    assert bytes_of(compressor.compress_sum(x, y, -0.25, clients(range(5)))) == whole
    sent, memory = compressor.with_memory(x, y, clients(range(5)), factor=-0.5)
    assert bytes_of(sent) == bytes_of(expected)
    assert memory.equal(left)
    weighed, rest = compressor.with_memory(y, x, clients(range(5)), weight=-0.25)
    assert bytes_of(weighed) == bytes_of(compressor.compress(torch.add(y, x, alpha=-0.25), clients(range(5))))
    assert rest.equal(weighed.left_of(x + y))
    sent, memory = compressor.with_memory(x, y, clients(range(5)), factor=-0.5, out=x)
    assert bytes_of(sent) == bytes_of(expected)
    assert memory.equal(left)
