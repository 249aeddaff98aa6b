"""One small run for each kind of model, and the fingerprint of all that it results in."""

import hashlib
import json
from functools import cache
from typing import Any

import numpy as np

from fedsparse import Result, data, models, simulate
from fedsparse.cohort.examples import Examples
from fedsparse.compress import TopK
from fedsparse.data.partition import partition
from fedsparse.engine.faults import Faults
from fedsparse.network import Network
from fedsparse.records import without_wall
from fedsparse.strategies.scafcom import Scafcom

MODELS = {
    "mlp": ("mlp", {"hidden": (32, 16)}),
    "cnn": ("cnn", {"width": 4, "hidden": 16}),
    "resnet-group": ("resnet", {"width": 4}),
    "resnet-batch": ("resnet", {"width": 4, "norm": "batch"}),
}
ROUNDS = 4
CLIENTS = 30


@cache
def examples() -> Examples:
    """Digits among 30 clients, unequally."""
    found = data.load("digits")
    assert isinstance(found, data.Dataset)
    held = partition("dirichlet", found, CLIENTS, seed=3, alpha=0.3)
    return Examples.of(found, held)


def run(model: str, **options: Any) -> Result:
    """A few rounds of SCAFCOM with a compressed downlink, lost messages and a network of unequal clients."""
    name, settings = MODELS[model]
    arguments = {
        "examples": examples(),
        "model": models.build(name, (1, 8, 8), 10, seed=3, **settings),
        "batch": 8,
        "rounds": ROUNDS,
        "cohort": 7,
        "seed": 3,
        "block": 3,
        "faults": Faults(uplink_loss=0.2),
        "network": Network(profile="lognormal"),
        "downlink": TopK(0.1),
        "evaluate_every": 2,
    }
    strategy = options.pop("strategy", Scafcom(lr=0.1, steps=3, uplink=TopK(0.05)))
    return simulate(strategy, **(arguments | options))


def fingerprint(result: Result) -> str:
    """SHA-256 of the server's state, the clients' states, the statistics and the records but for wall times."""
    digest = hashlib.sha256()
    arrays = {f"server.{k}": v for k, v in result.server.items()}
    arrays |= {f"client.{k}": v for k, v in result.clients.items()}
    arrays |= {"buffers": result.buffers, "ids": result.ids}
    for key in sorted(arrays):
        digest.update(key.encode())
        digest.update(np.ascontiguousarray(arrays[key].numpy()).tobytes())
    digest.update(json.dumps([without_wall(record) for record in result.history]).encode())
    return digest.hexdigest()
