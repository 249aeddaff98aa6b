"""Payloads of every class, for tests: drawn by hypothesis, and a fixed collection for everything else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from fedsparse.message import (
    KINDS,
    Dense,
    Exponents,
    LowRank,
    Mask,
    MaskedDense,
    Payload,
    PerEdge,
    Quantized,
    Ragged,
    Scalars,
    SeededSparse,
    Sign,
    Sparse,
    round_to,
)
from fedsparse.wire import Limits

LIMITS = Limits(max_size=1 << 20, max_bytes=1 << 24)

DTYPES = (torch.float32, torch.float64)

AWKWARD = (0.0, -0.0, 1e-45, -1e-40, 5e-324, 1e300, 65504.0, 65520.0, 1e-8, 3.4028235e38, 2.0**-126, -1.0)

FLOAT_KINDS = tuple(kind for kind in KINDS if kind != "int8")


def numbers(rng: np.random.Generator, dtype: torch.dtype, *shape: int) -> Tensor:
    """Normal numbers of all magnitudes, among them the awkward ones."""
    values = rng.standard_normal(shape) * 10.0 ** rng.integers(-6, 6, shape)
    awkward = rng.random(shape) < 0.2
    values[awkward] = rng.choice(AWKWARD, size=int(awkward.sum()))
    with np.errstate(over="ignore", under="ignore"):
        narrow = values.astype(np.float32 if dtype == torch.float32 else np.float64)
    return torch.from_numpy(np.nan_to_num(narrow))


def support(rng: np.random.Generator, size: int, k: int, where: str) -> np.ndarray:
    """K ascending indices below size: spread, all at the start, or all at the end."""
    if where == "start":
        return np.arange(k)
    if where == "end":
        return np.arange(size - k, size)
    return np.sort(rng.choice(size, k, replace=False))


@dataclass(frozen=True)
class Maker:
    """Makes payloads from one generator, of one dtype and kind."""

    rng: np.random.Generator
    dtype: torch.dtype
    kind: str = "fp32"

    def numbers(self, *shape: int) -> Tensor:
        return numbers(self.rng, self.dtype, *shape)

    def bits(self, *shape: int) -> Tensor:
        return torch.from_numpy(self.rng.random(shape) < 0.5)

    def plain(self, cls: type[Dense | MaskedDense], rows: int, size: int) -> Payload:
        values, scale = round_to(self.numbers(rows, size), self.kind)
        return cls(values, self.kind, scale)

    def sparse(self, size: int, counts: list[int]) -> Sparse:
        places = self.rng.choice(["spread", "start", "end"], size=len(counts))
        rows = [support(self.rng, size, k, where) for k, where in zip(counts, places, strict=True)]
        indices = torch.from_numpy(np.concatenate([np.empty(0, dtype=np.int64), *rows]))
        offsets = torch.tensor([0, *np.cumsum(counts)], dtype=torch.int64)
        values, scale = round_to(self.numbers(len(indices)), self.kind, offsets)
        return Sparse(indices, values, offsets, size, self.kind, scale)

    def seeded(self, rows: int, size: int, k: int) -> SeededSparse:
        values, scale = round_to(self.numbers(rows, k), self.kind)
        seeds = torch.from_numpy(self.rng.integers(-(2**63), 2**63, rows, dtype=np.int64))
        return SeededSparse(seeds, values, size, self.kind, scale)

    def quantized(self, rows: int, size: int, levels: int, density: float) -> Quantized:
        codes = self.rng.integers(-levels, levels + 1, (rows, size))
        kept = codes * (self.rng.random((rows, size)) < density)
        return Quantized(torch.from_numpy(kept.astype(np.int32)), self.numbers(rows), levels)

    def exponents(self, rows: int, size: int) -> Exponents:
        return Exponents.of(self.numbers(rows, size))

    def sign(self, rows: int, size: int, blocks: int) -> Sign:
        block = -(-size // min(blocks, size))
        return Sign(self.bits(rows, size), self.numbers(rows, -(-size // block)))

    def low_rank(self, rows: int, m: int, n: int, r: int) -> LowRank:
        left, _ = round_to(torch.from_numpy(self.rng.standard_normal((rows, m, r))).to(self.dtype), self.kind)
        right, _ = round_to(
            torch.from_numpy(self.rng.standard_normal((rows, n, r))).to(self.dtype), self.kind
        )
        return LowRank(left, right, self.kind)

    def mask(self, size: int, counts: list[int]) -> Mask:
        return Mask(
            torch.stack(
                [
                    torch.from_numpy(np.isin(np.arange(size), support(self.rng, size, k, "spread")))
                    for k in counts
                ]
            )
        )

    def ragged(self, size: int, counts: list[int]) -> Ragged:
        sparse = self.sparse(size, counts)
        return Ragged(sparse.values, sparse.offsets, size, self.kind, sparse.scale)

    def scalars(self, rows: int, count: int) -> Scalars:
        return Scalars(self.numbers(rows, count).double())


LEVELS = (1, 2, 3, 4, 7, 127, 128, 2**15, 2**31 - 1)


@st.composite
def payloads(draw: st.DrawFn, edges: bool = True) -> Payload:
    """Any payload of 1 to 4 rows and up to a few hundred coordinates."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    make = Maker(rng, draw(st.sampled_from(DTYPES)), draw(st.sampled_from(tuple(KINDS))))
    rows = draw(st.integers(1, 4))
    size = draw(st.one_of(st.integers(1, 8), st.integers(1, 700)))
    counts = draw(st.lists(st.integers(0, size), min_size=rows, max_size=rows))
    small = st.integers(1, 6)
    makers: dict[str, Callable[[], Payload]] = {
        "dense": lambda: make.plain(Dense, rows, size),
        "masked": lambda: make.plain(MaskedDense, rows, counts[0]),
        "sparse": lambda: make.sparse(size, counts),
        "seeded": lambda: make.seeded(rows, size, counts[0]),
        "quantized": lambda: make.quantized(rows, size, draw(st.sampled_from(LEVELS)), draw(st.floats(0, 1))),
        "exponents": lambda: make.exponents(rows, size),
        "sign": lambda: make.sign(rows, size, draw(st.integers(1, 9))),
        "low rank": lambda: replace(make, kind=draw(st.sampled_from(FLOAT_KINDS))).low_rank(
            rows, draw(small), draw(small), draw(small)
        ),
        "ragged": lambda: make.ragged(size, counts),
        "mask": lambda: make.mask(size, counts),
        "scalars": lambda: make.scalars(rows, draw(st.integers(0, 5))),
        "edges": lambda: _per_edge(draw),
    }
    return makers[draw(st.sampled_from([name for name in makers if edges or name != "edges"]))]()


def _per_edge(draw: st.DrawFn) -> PerEdge:
    inner = draw(payloads(edges=False))
    cuts = sorted(draw(st.lists(st.integers(0, inner.rows), max_size=3)))
    return PerEdge(inner, torch.tensor([0, *cuts, inner.rows], dtype=torch.int64))


def collection() -> dict[str, Payload]:
    """One payload of two rows for each class, kind and coding."""
    rng = np.random.default_rng(7)
    found: dict[str, Payload] = {}
    for dtype in DTYPES:
        for kind in KINDS:
            make, label = Maker(rng, dtype, kind), f"{kind} {dtype}"
            found[f"dense {label}"] = make.plain(Dense, 2, 37)
            found[f"masked {label}"] = make.plain(MaskedDense, 2, 5)
            found[f"sparse {label}"] = make.sparse(5000, [40, 0])
            found[f"ragged {label}"] = make.ragged(300, [40, 0])
            found[f"seeded {label}"] = make.seeded(2, 300, 7)
        for kind in FLOAT_KINDS:
            found[f"low rank {kind} {dtype}"] = Maker(rng, dtype, kind).low_rank(2, 4, 3, 2)
        make = Maker(rng, dtype)
        found[f"bitmap {dtype}"] = make.sparse(64, [32, 40])
        found[f"plain {dtype}"] = make.sparse(65536, [1, 1])
        found[f"quantized, all {dtype}"] = make.quantized(2, 50, 7, 1.0)
        found[f"quantized, few {dtype}"] = make.quantized(2, 900, 1, 0.02)
        found[f"exponents {dtype}"] = make.exponents(2, 33)
        found[f"sign {dtype}"] = make.sign(2, 45, 4)
    make = Maker(rng, torch.float32, "fp16")
    found["mask"], found["mask, few"] = make.mask(64, [30, 0]), make.mask(5000, [40, 1])
    found["scalars"] = make.scalars(2, 3)
    found["edges"] = PerEdge(make.sparse(900, [9, 0, 30]), torch.tensor([0, 2, 3]))
    found["edges, none"] = PerEdge(make.sparse(900, [9]), torch.tensor([0, 1, 1]))
    return found


COLLECTION = collection()


def same_bits(a: Payload, b: Payload) -> bool:
    """Whether all fields agree, tensors bit for bit and in dtype and shape."""
    if type(a) is not type(b):
        return False
    for name, left in vars(a).items():
        right = vars(b).get(name)
        if name not in a.__dataclass_fields__:
            continue  # a derived value that was asked for
        if isinstance(left, Payload):
            if not same_bits(left, right):
                return False
        elif isinstance(left, Tensor):
            if left.dtype != right.dtype or left.shape != right.shape:
                return False
            if left.contiguous().numpy().tobytes() != right.contiguous().numpy().tobytes():
                return False
        elif left != right:
            return False
    return True
