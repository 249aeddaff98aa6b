"""Matrix products for many clients at once, with the same bits for a client in any company.

Batched routines of BLAS libraries round differently for other numbers of rows. On processors of other makers than its
own oneDNN's product does not (from two rows on), and is twice as fast as MKL's; whether it does is tried before it is
used. Small products, whose calls would cost more than they do, go through one batched call, whose rows are a client's
own, and all do where oneDNN's product does not keep rows apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import torch
from torch import Tensor

from fedsparse.cohort import loops

__all__ = ["Term", "add_each", "added", "apply", "by_row", "each", "in_parts", "large"]

Term = tuple[float, Tensor]
"""A factor, and what it multiplies."""

_Linear = Callable[[Tensor, Tensor, Tensor | None, str, list[float], str], Tensor]

_LARGE = 4_000_000
"""Multiplications and additions of a product from which a call of its own is worth it."""

_PART = 1 << 19
"""Entries of a part of a product: few enough to stay in cache, and enough to be worth a call."""


def _find() -> _Linear | None:
    """OneDNN's ``x w^T + b``; ``None`` where PyTorch was built without it."""
    library = getattr(torch.ops, "mkldnn", None)
    if not torch.backends.mkldnn.is_available() or library is None:  # type: ignore[no-untyped-call]
        return None
    if not hasattr(library, "_linear_pointwise"):
        return None
    found: _Linear = library._linear_pointwise
    return found


_linear = _find()


def by_row(h: Tensor) -> bool:
    """Whether a row of :func:`apply`, and of large products, depends neither on the other rows nor on their number."""
    return _linear is not None and h.dtype == torch.float32 and not h.is_cuda and _keeps_rows()


@cache
def _keeps_rows() -> bool:
    """Whether oneDNN's product does on this processor, with weights in any order, and with its factors exchanged."""
    threads, draw = torch.get_num_threads(), torch.Generator().manual_seed(0)
    torch.set_num_threads(1)
    try:
        return all(_alike(_drawn(70, n, draw), _drawn(m, n, draw)) for n, m in _TRIED)
    finally:
        torch.set_num_threads(threads)


_TRIED = ((16, 31), (31, 64), (64, 10), (257, 40), (784, 200))
"""Numbers of inputs and outputs that are tried."""


def _drawn(rows: int, columns: int, draw: torch.Generator) -> Tensor:
    return torch.randn(rows, columns, generator=draw)


def _alike(h: Tensor, weight: Tensor) -> bool:
    """Whether some rows of a product are those of the whole, whatever they are multiplied beside."""
    assert _linear is not None  # noqa: S101 - whoever asks has it
    whole = _linear(h, weight, None, "none", [], "")
    ways = [(h[first:last].clone(), weight, first) for first, last in ((0, 2), (3, 8), (9, 22), (5, 38))]
    ways.append((h[:20], weight.mT.contiguous().mT, 0))
    rows = [(first, _linear(own, w, None, "none", [], "")) for own, w, first in ways]
    rows.append((0, _linear(weight, h[:20], None, "none", [], "").mT))
    return all(found.equal(whole[first : first + len(found)]) for first, found in rows)


def apply(h: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``h w^T + b``; the same bits whether clients share the weights in one row or have equal ones of their own.

    Args:
        h: ``[C, B, n]``.
        weight: ``[C, m, n]``, in any strides; or ``[1, m, n]``, or one row expanded, for all clients.
        bias: ``[C, m]``, or one row.

    Returns:
        ``[C, B, m]``.
    """
    clients, rows = h.shape[:2]
    if _linear is None or not by_row(h):
        weight = weight.expand(clients, -1, -1)
        return each(h, weight.mT, None if bias is None else bias.expand(clients, -1))
    alike = all(t is None or t.shape[0] == 1 or t.stride(0) == 0 for t in (weight, bias))
    if alike and clients * rows > 1:
        found = _linear(h.flatten(0, 1), weight[0], None if bias is None else bias[0], "none", [], "")
        return found.view(clients, rows, -1)
    if rows == 1:  # one row alone takes another routine
        h = h.expand(-1, 2, -1)
    weight = weight.expand(clients, -1, -1)
    if rows < weight.shape[1] and weight.stride(2) == 1 and large(rows, *weight.shape[:0:-1]):
        # The second factor is put in another order for the product: better the smaller one. Entries have the same bits.
        found = loops.products(weight, h, None).mT.contiguous()
        return found if bias is None else found.add_(bias.expand(clients, -1)[:, None])
    return loops.products(h, weight, None if bias is None else bias.expand(clients, -1))[:, :rows]


def large(p: int, k: int, q: int) -> bool:
    """Whether ``[p, k]`` times ``[k, q]`` is worth a call of its own."""
    return _linear is not None and 2 * p * k * q >= _LARGE and p > 1 and q > 1


def each(
    a: Tensor,
    b: Tensor,
    bias: Tensor | None = None,
    out: Tensor | None = None,
    plus: Term | None = None,
) -> Tensor:
    """``a b + bias``, and a term more, every client its own.

    Args:
        a: ``[C, p, k]``, in any strides.
        b: ``[C, k, q]``, in any strides.
        bias: ``[C, q]``.
        out: ``[C, p, q]`` to write to, in any strides.
        plus: a factor and ``[C, p, q]``, added to what is otherwise found, while that is in cache.

    Returns:
        ``[C, p, q]``.
    """
    if _linear is not None and by_row(a) and large(a.shape[1], a.shape[2], b.shape[2]):
        if out is None:
            out = a.new_empty(a.shape[0], a.shape[1], b.shape[2])
        factor, term = (0.0, None) if plus is None else plus
        loops.write_products(a, b.mT, bias, term, factor, _parts(a.shape[1], b.shape[2]), out)
        return out
    found = _batched(a, b, bias)
    return _write(found if out is None else out, found, plus)


def _parts(p: int, q: int, entries: int = _PART) -> int:
    """How many parts of a client's rows are used up while they are in cache."""
    return min(p // 2, max(1, p * q // entries))  # one row alone takes another routine


def in_parts(a: Tensor, b: Tensor, entries: int = _PART) -> Iterator[tuple[slice, Tensor]]:
    """The product of one client, some rows at a time, for whoever uses them up while they are in cache.

    Args:
        a: ``[1, p, k]``, in any strides.
        b: ``[1, k, q]``, in any strides.
        entries: of a part, more or less.

    Returns:
        Which rows, and those of ``a b``, ``[1, rows, q]``, with the bits that :func:`each` gives them.
    """
    p, k, q = *a.shape[1:], b.shape[2]
    if _linear is None or not by_row(a) or not large(p, k, q):
        yield slice(p), each(a, b)
        return
    parts = _parts(p, q, entries)
    for part in range(parts):
        rows = slice(part * p // parts, (part + 1) * p // parts)
        yield rows, _linear(a[0, rows], b[0].mT, None, "none", [], "")[None]


def _write(into: Tensor, found: Tensor, plus: Term | None) -> Tensor:
    if plus is not None:
        return torch.add(found, plus[1], alpha=plus[0], out=into)
    return into if into is found else into.copy_(found)


def _batched(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    if a.shape[0] > 1 or a.is_cuda:
        return torch.bmm(a, b) if bias is None else torch.baddbmm(bias[:, None], a, b)
    # A batch of one takes another routine: one client goes as two.
    return _batched(*(None if t is None else t.expand(2, *t.shape[1:]) for t in (a, b, bias)))[:1]  # type: ignore[arg-type]


def add_each(z: Tensor, a: Tensor, b: Tensor, factor: float = 1.0) -> None:
    """``z <- z + factor a b`` in place, every client its own; shapes as of :func:`each`."""
    if z.is_cuda or (a.shape[0] > 1 and not large(a.shape[1], a.shape[2], b.shape[2])):
        z.baddbmm_(a, b, alpha=factor)
    else:
        z.copy_(added(z, a, b, factor))


def added(z: Tensor, a: Tensor, b: Tensor, factor: float = 1.0) -> Tensor:
    """``z + factor a b`` in a new tensor; shapes as of :func:`each`."""
    if not z.is_cuda and large(a.shape[1], a.shape[2], b.shape[2]):
        return torch.add(z, each(a, b), alpha=factor)
    if a.shape[0] > 1 or z.is_cuda:
        return torch.baddbmm(z, a, b, alpha=factor)
    return torch.baddbmm(*(t.expand(2, -1, -1) for t in (z, a, b)), alpha=factor)[:1]
