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
from fedsparse.graphs import Topology
from fedsparse.network import Network
from fedsparse.protocol import Strategy
from fedsparse.records import without_wall
from fedsparse.strategies.choco import Choco
from fedsparse.strategies.dpsgd import DPSGD
from fedsparse.strategies.scafcom import Scafcom
from fedsparse.topologies.one_peer_exponential import OnePeerExponential
from fedsparse.topologies.torus import Torus

MODELS = {
    "mlp": ("mlp", {"hidden": (32, 16)}),
    "cnn": ("cnn", {"width": 4, "hidden": 16}),
    "resnet-group": ("resnet", {"width": 4}),
    "resnet-batch": ("resnet", {"width": 4, "norm": "batch"}),
    "gossip": ("mlp", {"hidden": (32, 16)}),
    "gossip-batch": ("resnet", {"width": 4, "norm": "batch"}),
}
GOSSIP: dict[str, tuple[Strategy, Topology]] = {
    "gossip": (Choco(lr=0.1, steps=2, uplink=TopK(0.05)), Torus()),
    "gossip-batch": (DPSGD(lr=0.1), OnePeerExponential()),
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
    """A few rounds of SCAFCOM with a compressed downlink, or of gossip; lost messages, a network of unequal clients."""
    name, settings = MODELS[model]
    arguments: dict[str, Any] = {
        "examples": examples(),
        "model": models.build(name, (1, 8, 8), 10, seed=3, **settings),
        "batch": 8,
        "rounds": ROUNDS,
        "seed": 3,
        "block": 3,
        "network": Network(profile="lognormal"),
        "evaluate_every": 2,
    }
    strategy: Strategy = Scafcom(lr=0.1, steps=3, uplink=TopK(0.05))
    if model in GOSSIP:
        strategy, topology = GOSSIP[model]
        arguments |= {"topology": topology, "faults": Faults(link_loss=0.2, dropout=0.1), "judged": 5}
    else:
        arguments |= {"cohort": 7, "faults": Faults(uplink_loss=0.2), "downlink": TopK(0.1)}
    return simulate(options.pop("strategy", strategy), **(arguments | options))


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
