"""What is refused before rounds without a server start."""

import pytest
from engine_cases import gossip, idle

from fedsparse import config, recorded
from fedsparse.errors import ConfigError
from fedsparse.strategies.choco import Choco
from fedsparse.strategies.dpsgd import DPSGD
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.topologies.one_peer_exponential import OnePeerExponential
from fedsparse.topologies.ring import Ring
from fedsparse.topologies.star import Star


def test_a_strategy_with_a_server_refuses_a_graph_and_gossip_refuses_a_server() -> None:
    with pytest.raises(ConfigError, match=r"topology=ring: strategy=fedavg needs a server"):
        gossip(FedAvg(), idle(4, 2), Ring(), 1)  # type: ignore[arg-type]
    with pytest.raises(
        ConfigError, match=r"strategy=dpsgd has no server.*choose a topology, as in topology=ring"
    ):
        gossip(DPSGD(), idle(4, 2), None, 1)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"its clients talk to a server"):
        gossip(DPSGD(), idle(4, 2), Star(), 1)


def test_a_graph_that_changes_is_refused_where_it_must_stay() -> None:
    with pytest.raises(ConfigError, match="changes from exchange to exchange; a graph that stays is needed"):
        gossip(Choco(), idle(4, 2), OnePeerExponential(), 1)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["strategy=dpsgd"], r"strategy=dpsgd has no server.*topology=ring"),
        (["strategy=fedavg", "topology=ring"], r"strategy=fedavg needs a server"),
        (["cohort=3"], r"cohort=3: in gossip .* all clients=100 take part"),
        (["deadline=3"], r"deadline=3.0: in gossip .* waits for more than its own neighbours"),
        (["sampler=weighted"], r"sampler="),
        (["aggregator=median"], r"aggregator=median: in gossip .* mixed with the weights of the topology"),
        (["downlink=topk"], r"downlink=topk: in gossip .* no server to send"),
        (["faults.uplink_loss=0.1"], r"faults.uplink_loss=0.1: in gossip .* faults.link_loss"),
        (["strategy=fedavg", "topology=star", "init=independent"], r"init=independent: is about gossip"),
        (["strategy=fedavg", "topology=star", "mixing=lazy"], r"mixing=lazy: is about gossip"),
        (
            ["strategy=fedavg", "topology=star", "faults.link_loss=0.1"],
            r"faults.link_loss=0.1: is about gossip",
        ),
        (["strategy=fedavg", "topology=star", "judged=2"], r"judged=2: is about gossip"),
        (["mixing=nonsense"], r"mixing=nonsense: no such"),
    ],
)
def test_keys_that_make_no_sense_are_refused(words: list[str], text: str) -> None:
    base = ["strategy=dpsgd", "topology=ring"] if "strategy=dpsgd" not in words else []
    with pytest.raises(ConfigError, match=text):
        config.parse([*base, *words])


def test_independent_starts_are_refused_where_formulas_say_where_to_start() -> None:
    made = config.parse(
        ["strategy=dpsgd", "topology=ring", "data=quadratic", "clients=10", "init=independent"]
    )
    with pytest.raises(ConfigError, match=r"init=independent: data=quadratic is given by formulas"):
        recorded.run(made)
