"""Without a server's model: devices hear their neighbours through a server that opens nothing, to the same bits."""

from pathlib import Path

import pytest

from fedsparse.gossip import Gossip
from fedsparse.registry import strategies
from tests.flower.parity import assert_same, deployed, simulated

GOSSIP = [name for name in strategies.names() if issubclass(strategies.get(name), Gossip)]
QUICK = {"choco", "dpsgd", "gradient_tracking", "push_sum", "beer", "single_merging", "allreduce", "dfedsam"}
"""One of each kind: sparse, dense, two messages, weights that travel, several exchanges, meetings, silence."""

CHOCO = ("strategy=choco", "topology=ring", "uplink=topk", "uplink.fraction=0.1")


@pytest.mark.parametrize(
    "strategy", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in GOSSIP]
)
def test_every_strategy_of_gossip_has_the_bits_of_its_simulation(strategy: str, tmp_path: Path) -> None:
    words = (f"strategy={strategy}", "topology=ring")
    assert_same(simulated(tmp_path, *words), deployed(tmp_path, *words)[0])


@pytest.mark.parametrize("strategy", ["choco", "gradient_tracking", "push_sum"])
@pytest.mark.parametrize(
    "circumstances",
    [
        ["faults.link_loss=0.3", "rounds=6"],
        ["faults.dropout=0.3", "rounds=6"],
        ["topology=complete", "network=lognormal"],
        ["init=independent"],
        ["model=resnet", "model.width=2", "model.norm=batch", "rounds=2"],
    ],
    ids=["lost-messages", "absent-clients", "everybody-hears-everybody", "independent-starts", "statistics"],
)
def test_bad_lines_and_starts_make_no_difference(
    strategy: str, circumstances: list[str], tmp_path: Path
) -> None:
    words = (f"strategy={strategy}", "topology=ring", *circumstances)
    assert_same(simulated(tmp_path, *words), deployed(tmp_path, *words)[0])
