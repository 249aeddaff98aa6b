"""How much memory clients take beside a frozen base of ten million parameters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fedsparse import models

pytest.importorskip("peft", reason="the extra 'lora' is not installed")

RUN = """
import resource, sys
import numpy as np, torch
from fedsparse import models, simulate
from fedsparse.cohort.examples import Examples
from fedsparse.data.holdings import Stored
from fedsparse.registry import strategies

torch.set_num_threads(1)
clients, base, strategy = int(sys.argv[1]), *sys.argv[2:]
x = np.random.default_rng(0).integers(2, 4096, (400, 8))
y = np.random.default_rng(1).integers(0, 4, 400)
own = Stored(np.arange(4 * clients), 4 * np.arange(clients + 1))
model = models.build("lora", (8,), 4, 0, base=base, rank=8)
simulate(
    strategies.get(strategy)(steps=1, lr=0.1),
    examples=Examples(x, y, x[:8], y[:8], own), model=model, batch=4, rounds=2,
)
print(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["fedavg", "fedex_lora", "flora"])
def test_a_hundred_clients_take_less_than_twice_the_base_beyond_one_client(
    strategy: str, tmp_path: Path
) -> None:
    options = {"width": 256, "layers": 12}
    base = models.build("transformer", (8,), 4, 0, **options)
    size = sum(4 * p.numel() for p in base.parameters())
    assert size > 4 * 10_000_000
    models.save(tmp_path, base, "transformer", (8,), 4, **options)
    one, many = (
        int(
            subprocess.run(
                [sys.executable, "-c", RUN, str(clients), str(tmp_path), strategy],
                check=True,
                capture_output=True,
            ).stdout
        )
        for clients in (1, 100)
    )
    assert many - one < 2 * size
