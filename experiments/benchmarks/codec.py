"""Selecting, encoding and decoding 50 messages: d = 1e6, 1 % kept, float32.

    python experiments/benchmarks/codec.py [repetitions]

Everything in one process and in turn; ratios are what counts.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from fedsparse.compress.select import largest
from fedsparse.message import Sparse
from fedsparse.wire import Envelope, Limits, decode_message, encode_message

MESSAGES, SIZE, KEPT = 50, 1_000_000, 10_000


def main() -> None:
    """Prints the table."""
    torch.set_num_threads(1)
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((MESSAGES, SIZE), dtype=np.float32))
    indices = largest(x, KEPT)
    message = {"dx": Sparse.of(indices, x.gather(1, indices), SIZE)}
    envelopes = [Envelope(run=1, round=1, phase=0, sender=i) for i in range(MESSAGES)]
    encoded = [encode_message(message, row, envelope) for row, envelope in enumerate(envelopes)]
    limits = Limits(max_size=SIZE, max_bytes=1 << 20)
    steps: dict[str, Callable[[], object]] = {
        "one pass of abs": lambda: [np.abs(row) for row in x.numpy()],
        "top-k selection": lambda: largest(x, KEPT),
        "torch.topk": lambda: [row.abs().topk(KEPT) for row in x],
        "encode": lambda: [encode_message(message, row, e) for row, e in enumerate(envelopes)],
        "decode": lambda: [decode_message(data, limits) for data in encoded],
        "byte count": message["dx"].nbytes,
    }
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repetitions):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            taken[name].append(time.perf_counter() - began)
    selection = statistics.median(taken["top-k selection"])
    print(f"{MESSAGES} messages, d={SIZE:,}, k={KEPT:,}; longest message {max(map(len, encoded)):,} bytes")
    print(f"{'step':18} {'median ms':>10} {'of selection':>13}")
    for name, values in taken.items():
        median = statistics.median(values)
        print(f"{name:18} {median * 1e3:10.1f} {median / selection:13.2f}")
    both = statistics.median([a + b for a, b in zip(taken["encode"], taken["decode"], strict=True)])
    print(f"encode and decode together: {both / selection:.2f} of the selection")


if __name__ == "__main__":
    main()
