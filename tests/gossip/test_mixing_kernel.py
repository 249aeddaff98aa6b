"""The arithmetic of gossip gives a receiver the same bits in any company."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array, random_array
from torch import Tensor

from fedsparse.engine.gossip import chains, panels, sums
from fedsparse.engine.gossip.kernel import mix
from fedsparse.graphs import Matrices
from fedsparse.message import Dense, LowRank, MaskedDense, SeededSparse, Sparse
from fedsparse.topologies.ring import Ring

BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
DENSITIES = pytest.mark.parametrize("density", [0.05, 0.3, 1.0])
SIZE = 1003


def _weights(receivers: int, senders: int, density: float, seed: int = 0) -> csr_array:
    rng = np.random.default_rng(seed)
    found = csr_array(random_array((receivers, senders), density=density, rng=rng, format="csr"))
    found.sort_indices()
    return found


def _vectors(rows: int, dtype: torch.dtype, size: int = SIZE) -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).standard_normal((rows, size))).to(dtype)


def _sparse(rows: int, dtype: torch.dtype, size: int = SIZE) -> Sparse:
    rng = np.random.default_rng(2)
    counts = rng.integers(0, 60, rows)
    indices = [np.sort(rng.choice(size, count, replace=False)) for count in counts]
    offsets = torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]))
    values = torch.from_numpy(rng.standard_normal(counts.sum())).to(dtype)
    return Sparse(torch.from_numpy(np.concatenate(indices)), values, offsets, size)


def _alone(weights: csr_array, parts, receiver: int, dtype: torch.dtype) -> Tensor:
    """What a receiver makes that has the messages of its own senders and no other."""
    row = weights[[receiver]]
    senders = torch.from_numpy(row.indices.astype(np.int64))
    own = csr_array((row.data, np.arange(len(senders)), [0, len(senders)]), shape=(1, len(senders)))
    heard = [parts[senders]] if isinstance(parts, Tensor) else [parts.select(senders)]
    return mix(own, heard)[0]


def _bits(x: Tensor) -> np.ndarray:
    return x.numpy().view(np.uint8)


def _fused(weights: csr_array, rows: np.ndarray) -> np.ndarray:
    """The sums in float32, each product added with one rounding, by arithmetic of another kind.

    The product of two float32 numbers is a float64 number. Its sum with a third is rounded to odd, by the error that
    two-sum gives, so that rounding it to float32 is as if the exact sum had been rounded once.
    """
    out = np.zeros((weights.shape[0], rows.shape[1]), dtype=np.float32)
    for r in range(len(out)):
        for e in range(weights.indptr[r], weights.indptr[r + 1]):
            a = np.float64(np.float32(weights.data[e])) * rows[weights.indices[e]].astype(np.float64)
            b = out[r].astype(np.float64)
            s = a + b
            z = s - a
            error = (a - (s - z)) + (b - z)
            word = s.view(np.int64)
            odd = (error != 0) & (word & 1 == 0)
            away = np.where((error > 0) == (s > 0), 1, -1)
            out[r] = (word + np.where(odd, away, 0)).view(np.float64).astype(np.float32)
    return out


@DENSITIES
def test_in_float32_products_are_added_in_the_order_of_senders_and_rounded_once(density):
    weights, rows = _weights(7, 40, density), _vectors(40, torch.float32)
    assert np.array_equal(mix(weights, [rows]).numpy(), _fused(weights, rows.numpy()))


@DENSITIES
def test_in_float64_products_are_added_in_the_order_of_senders(density):
    weights, rows = _weights(7, 40, density), _vectors(40, torch.float64)
    expected = torch.zeros(7, SIZE, dtype=torch.float64)
    for r in range(7):
        for e in range(weights.indptr[r], weights.indptr[r + 1]):
            expected[r] += weights.data[e] * rows[weights.indices[e]]
    assert torch.equal(mix(weights, [rows]), expected)


@BOTH
@DENSITIES
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_a_receiver_alone_with_its_neighbours_has_the_same_bits(kind, density, dtype):
    weights = _weights(30, 30, density)
    parts = _vectors(30, dtype) if kind == "dense" else _sparse(30, dtype)
    whole = mix(weights, [parts])
    for receiver in range(30):
        assert np.array_equal(_bits(_alone(weights, parts, receiver, dtype)), _bits(whole[receiver]))


@BOTH
@DENSITIES
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_cutting_senders_into_parts_changes_no_bit(kind, density, dtype):
    weights = _weights(20, 30, density)
    parts = Dense(_vectors(30, dtype)) if kind == "dense" else _sparse(30, dtype)
    cut = [parts.select(slice(a, b)) for a, b in ((0, 1), (1, 1), (1, 19), (19, 30))]
    assert np.array_equal(_bits(mix(weights, cut)), _bits(mix(weights, [parts])))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 15, 16, 17, 63, 64, 65, 1003])
def test_any_length_of_a_vector_gives_the_bits_of_its_columns(size):
    weights, rows = _weights(9, 12, 0.5), _vectors(12, torch.float32)
    assert torch.equal(mix(weights, [rows[:, :size].contiguous()]), mix(weights, [rows])[:, :size])


@BOTH
def test_panels_of_columns_change_no_bit(dtype, monkeypatch):
    weights, rows = _weights(20, 30, 0.3), _vectors(30, dtype)
    monkeypatch.setattr(panels, "_home", lambda *_: None)
    whole = mix(weights, [rows])
    monkeypatch.setattr(panels, "_PANEL", 1)
    assert np.array_equal(_bits(mix(weights, [rows])), _bits(whole))


def test_the_dense_product_is_used_and_has_the_bits_of_sums_over_senders(monkeypatch):
    weights, rows = _weights(20, 256, 0.6), _vectors(256, torch.float32)
    made, product = [], sums._product
    monkeypatch.setattr(sums, "_product", lambda *args: made.append(product(*args)) or made[-1])
    whole = mix(weights, [rows])
    assert len(made) >= 1
    monkeypatch.setattr(sums, "_agrees", lambda: False)
    made.clear()
    assert np.array_equal(_bits(mix(weights, [rows])), _bits(whole))
    assert not made


@BOTH
@DENSITIES
def test_chains_have_the_bits_of_panels(density, dtype, monkeypatch):
    weights, rows = _weights(20, 30, density), list(_vectors(30, dtype).tensor_split(4))
    monkeypatch.setattr(panels, "_home", lambda *_: None)
    found = []
    for chained in (True, False):
        monkeypatch.setattr(chains, "fits", lambda *_, chained=chained: chained)
        found.append(mix(weights, rows))
    assert chains._agrees(dtype)
    assert np.array_equal(_bits(found[0]), _bits(found[1]))


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_sums_of_a_batch_as_it_lies_have_the_bits_of_panels(parts, monkeypatch):
    weights = Matrices(Ring(), 20).at(0)
    rows = list(_vectors(20, torch.float32).tensor_split(parts))
    written, write = [], panels._write_panels
    monkeypatch.setattr(
        panels, "_write_panels", lambda w, *rest: written.append(w.shape[0]) or write(w, *rest)
    )
    near = torch.cat([mix(weights[a : a + 5], rows) for a in range(0, 20, 5)])
    assert sum(written) < 20
    monkeypatch.setattr(panels, "_home", lambda *_: None)
    assert np.array_equal(_bits(near), _bits(mix(weights, rows)))


@pytest.mark.parametrize("bad", [torch.inf, torch.nan])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_what_is_not_finite_reaches_only_those_who_hear_it(kind, bad):
    weights = _weights(20, 20, 0.6)
    parts = _vectors(20, torch.float32) if kind == "dense" else _sparse(20, torch.float32)
    if isinstance(parts, Tensor):
        parts[3, 11] = bad
    else:
        parts.values[parts.offsets[3]] = bad
    heard = weights.toarray()[:, 3] != 0
    finite = mix(weights, [parts]).isfinite().all(1).numpy()
    assert 0 < heard.sum() < 20
    assert np.array_equal(finite, ~heard)


@BOTH
def test_sparse_messages_give_the_bits_of_their_dense_vectors(dtype):
    weights = _weights(30, 40, 0.2)
    seeded = SeededSparse(torch.arange(40), _vectors(40, dtype, 30), SIZE)
    for payload in (_sparse(40, dtype), seeded):
        found, dense = mix(weights, [payload]), mix(weights, [payload.dense()])
        assert np.array_equal(_bits(found), _bits(dense))


@BOTH
def test_a_mixture_of_payloads_gives_the_bits_of_their_dense_vectors(dtype):
    rows = _vectors(6, dtype)
    parts = [
        Dense(rows),
        _sparse(5, dtype),
        rows,
        LowRank(_vectors(3, dtype, 2 * 17).view(3, 17, 2), _vectors(3, dtype, 2 * 59).view(3, 59, 2)),
        MaskedDense(rows),
    ]
    weights = _weights(10, 26, 0.4)
    dense = torch.cat([part if isinstance(part, Tensor) else part.dense() for part in parts])
    assert np.array_equal(_bits(mix(weights, parts)), _bits(mix(weights, [dense])))


def test_a_receiver_without_weights_has_zero():
    weights = csr_array((np.ones(1), np.array([1]), np.array([0, 0, 1, 1])), shape=(3, 2))
    for parts in ([_vectors(2, torch.float32)], [_sparse(2, torch.float32)]):
        found = mix(weights, parts)
        assert not found[[0, 2]].any()
        assert found[1].any()
    nothing = csr_array((3, 2))
    assert not mix(nothing, [_vectors(2, torch.float32)]).any()
