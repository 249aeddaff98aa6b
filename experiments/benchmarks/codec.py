"""Top-k selection and the coding of sparse messages, as multiples of one pass of abs over the same vectors.

Every step works on the same rows in turn, in one process and on one thread; a ratio is taken within a repetition, and
the median over repetitions is shown. One pass of abs is ``np.abs(row, out=buffer)`` for each row, with one buffer for
all, so that no memory has to be found. 1 % of the entries is kept.

- single: one vector again and again, so that it is in cache if it fits; each message by itself
- block: ten million entries in all, so that rows come from memory; all rows in one call, but for abs and torch.topk
- encode: envelope, checksum, choice of the index coding and bytes; byte count: the exact lengths, without encoding
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from fedsparse.compress.select import largest
from fedsparse.message import Sparse
from fedsparse.wire import Envelope, Limits, decode_messages, encode_messages, message_nbytes

BLOCK = 10_000_000
"""Entries of a block."""

SHARE = 100
"""One entry in so many is kept."""

MESSAGES, SIZE = 50, 1_000_000
"""The messages of the second table."""

ABS, SELECT, TORCH, ENCODE, DECODE, COUNT = (
    "one pass of abs",
    "top-k selection",
    "torch.topk",
    "encode",
    "decode",
    "byte count",
)


@dataclass(frozen=True)
class Shape:
    """Rows of a length, and how often a step repeats them."""

    rows: int
    size: int
    times: int = 1

    @property
    def name(self) -> str:
        """Head of a column."""
        return f"{'single' if self.rows == 1 else f'block of {self.rows}'}, d={self.size:.0e}".replace(
            "e+0", "e"
        )


SHAPES = [
    Shape(1, 100_000, 100),
    Shape(BLOCK // 100_000, 100_000),
    Shape(1, 1_000_000, 20),
    Shape(BLOCK // 1_000_000, 1_000_000),
    Shape(1, 10_000_000, 2),
]


def steps_of(rows: int, size: int, together: bool) -> tuple[dict[str, Callable[[], object]], int]:
    """The steps, and the length of the longest message.

    Args:
        rows: how many messages.
        size: d.
        together: whether messages are encoded and decoded in one call.
    """
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((rows, size), dtype=np.float32))
    k, buffer = size // SHARE, np.empty(size, dtype=np.float32)
    indices = largest(x, k)
    whole = Sparse.of(indices, x.gather(1, indices), size)
    parts = [whole] if together else [whole.select(slice(row, row + 1)) for row in range(rows)]
    envelopes = [Envelope(run=1, round=1, phase=0, sender=i) for i in range(rows)]
    limits = Limits(max_size=size, max_bytes=8 * size)

    def encode() -> list[bytes]:
        # A copy has forgotten the choice of the coding.
        sent = [encode_messages({"dx": replace(p)}, envelopes[: p.rows]) for p in parts]
        return [data for part in sent for data in part]

    encoded = encode()
    arrived = [encoded] if together else [[data] for data in encoded]
    return {
        ABS: lambda: [np.abs(row, out=buffer) for row in x.numpy()],
        SELECT: lambda: largest(x, k),
        TORCH: lambda: [row.abs().topk(k) for row in x],
        ENCODE: encode,
        DECODE: lambda: [decode_messages(data, limits) for data in arrived],
        COUNT: lambda: message_nbytes({"dx": replace(whole)}),
    }, max(map(len, encoded))


def measure(
    steps: Mapping[str, Callable[[], object]], repetitions: int, times: int = 1
) -> dict[str, list[float]]:
    """Seconds of each step in each repetition."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repetitions):
        for name, step in steps.items():
            began = time.perf_counter()
            for _ in range(times):
                step()
            taken[name].append((time.perf_counter() - began) / times)
    return taken


def ratio(taken: Mapping[str, list[float]], above: tuple[str, ...], below: str) -> float:
    """Median over repetitions of the sum of some steps to another."""
    return statistics.median(
        sum(several) / one
        for *several, one in zip(*(taken[name] for name in above), taken[below], strict=True)
    )


def kernels(repetitions: int) -> None:
    """Prints the table of ratios to one pass of abs."""
    found = []
    for shape in SHAPES:
        steps, _ = steps_of(shape.rows, shape.size, together=shape.rows > 1)
        found.append(measure(steps, repetitions, shape.times))
    print(f"ratios to one pass of abs; {repetitions} repetitions, load {os.getloadavg()[0]:.1f}")
    print(f"{'':30}" + "".join(f"{shape.name:>22}" for shape in SHAPES))
    print(
        f"{'one pass of abs, us a row':30}"
        + "".join(
            f"{statistics.median(taken[ABS]) / shape.rows * 1e6:22.1f}"
            for taken, shape in zip(found, SHAPES, strict=True)
        )
    )
    for name in (SELECT, TORCH, ENCODE, DECODE, COUNT):
        print(f"{name:30}" + "".join(f"{ratio(taken, (name,), ABS):22.2f}" for taken in found))
    name = "encode and decode, of top-k"
    print(f"{name:30}" + "".join(f"{ratio(taken, (ENCODE, DECODE), SELECT):22.2f}" for taken in found))


def messages(repetitions: int) -> None:
    """Prints what 50 messages cost that are encoded and decoded one by one, beside their selection."""
    steps, longest = steps_of(MESSAGES, SIZE, together=False)
    taken = measure(steps, repetitions)
    print(
        f"{MESSAGES} messages one by one, d={SIZE:,}, k={SIZE // SHARE:,}; longest message {longest:,} bytes"
    )
    print(f"{'step':18} {'median ms':>10} {'of selection':>13}")
    for name, values in taken.items():
        print(f"{name:18} {statistics.median(values) * 1e3:10.1f} {ratio(taken, (name,), SELECT):13.2f}")
    print(f"encode and decode together: {ratio(taken, (ENCODE, DECODE), SELECT):.2f} of the selection")


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("repetitions", type=int, nargs="?", default=9, help="of every step; 9 by default")
    repetitions = parser.parse_args().repetitions
    torch.set_num_threads(1)
    kernels(repetitions)
    print()
    messages(min(repetitions, 5))


if __name__ == "__main__":
    main()
