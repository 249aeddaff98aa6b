"""Gossip on devices: messages go through the server unread, and a run has the bits of its simulation."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Message, RecordDict

from fedsparse.flower.letters import Answer, Order
from fedsparse.flower.parcels import Receipt
from fedsparse.gossip import Gossip
from fedsparse.message import Dense
from fedsparse.registry import strategies
from fedsparse.runfolder import read_rounds
from fedsparse.wire import Envelope, encode_message
from tests.flower.loopback import Loopback
from tests.flower.parity import CLIENTS, Ended, assert_same, deployed, simulated

NEEDS = {
    "push_sum": ["topology=exponential", "mixing=push_sum"],
    "epidemic_learning": ["topology=epidemic"],
    "gossip_learning": ["topology=epidemic"],
    "single_merging": ["topology=ring", "strategy.merge=never"],
}
GOSSIP = [n for n in strategies.names() if issubclass(strategies.get(n), Gossip) and n != "allreduce"]
QUICK = {"dpsgd", "choco", "gradient_tracking", "push_sum", "dfedsam"}
"""Of each delivery one, of several exchanges one."""

CHOCO = ["strategy=choco", "topology=ring", "uplink.fraction=0.1"]
TRACKING = ["strategy=gradient_tracking", "topology=ring"]
PUSH_SUM = ["strategy=push_sum", "topology=exponential", "mixing=push_sum"]


def words_for(strategy: str) -> list[str]:
    return [f"strategy={strategy}", *NEEDS.get(strategy, ["topology=ring"])]


@pytest.mark.parametrize(
    "strategy", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in GOSSIP]
)
def test_every_strategy_of_gossip_has_the_bits_of_its_simulation(strategy: str, tmp_path: Path) -> None:
    words = words_for(strategy)
    assert_same(simulated(tmp_path, *words), deployed(tmp_path, *words)[0])


@pytest.mark.parametrize("words", [CHOCO, TRACKING, PUSH_SUM], ids=["choco", "tracking", "push_sum"])
def test_lost_messages_and_absent_clients_make_no_difference(words: list[str], tmp_path: Path) -> None:
    """Of CHOCO, messages that were lost ride along with later ones."""
    words = [*words, "faults.link_loss=0.3", "faults.dropout=0.2", "rounds=6"]
    assert_same(simulated(tmp_path, *words), deployed(tmp_path, *words)[0])


@pytest.mark.parametrize(
    "more",
    [
        ["init=independent", "judged=2", "eval_every=1"],
        ["network=lognormal"],
        ["model=resnet", "model.width=2", "model.norm=batch", "rounds=2"],
    ],
    ids=["own starts", "times", "statistics"],
)
def test_circumstances_make_no_difference(more: list[str], tmp_path: Path) -> None:
    words = ["strategy=dpsgd", "topology=ring", *more]
    assert_same(simulated(tmp_path, *words), deployed(tmp_path, *words)[0])
