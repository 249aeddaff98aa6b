"""What strategies without a server declare that they send is what is counted, along links and by radio."""

from dataclasses import dataclass

import pytest

from fedsparse.compress import RandK
from fedsparse.gossip import Gossip
from fedsparse.message import Dense
from fedsparse.protocol import Audience, Context, Message, State, Task, Vectors
from fedsparse.registry import strategies
from fedsparse.strategies.beer import Beer
from fedsparse.strategies.choco import Choco
from fedsparse.strategies.dfedavg import DFedAvg
from fedsparse.strategies.dfedsam import DFedSAM
from fedsparse.strategies.dpsgd import DPSGD
from fedsparse.strategies.gossip_learning import GossipLearning
from fedsparse.strategies.gradient_tracking import GradientTracking
from fedsparse.strategies.jwins import JWINS
from fedsparse.strategies.random_subsampling import RandomSubsampling
from fedsparse.strategies.single_merging import SingleMerging
from fedsparse.strategies.variance_corrected import VarianceCorrected
from fedsparse.testing import check_strategy

MERGES = ("never", "last", "early", "late", "evenly", "always")


def finding(strategy: Gossip) -> str:
    """What the check of the declaration says."""
    (found,) = check_strategy(strategy, only=["communication"]).findings
    return f"{found.outcome}: {found.explanation}"


@pytest.mark.parametrize("name", [n for n in strategies.names() if issubclass(strategies.get(n), Gossip)])
def test_every_strategy_of_gossip_declares_what_it_sends(name: str) -> None:
    assert strategies.get(name)().communication(1000)


@pytest.mark.parametrize(
    "strategy",
    [
        DFedAvg(sends="change"),
        DFedSAM(mixings=3, steps=1),
        GossipLearning(partitions=4),
        GradientTracking(order="cta"),
        JWINS(wavelet="haar"),
        RandomSubsampling(masks="shared"),
        VarianceCorrected(uplink=RandK(0.2)),
        *(SingleMerging(merge=merge) for merge in MERGES),
        SingleMerging(gossip=False, merge="last"),
        SingleMerging(merge="late", calibration=2),
        SingleMerging(gossip=False, merge="evenly", window=0.3),
    ],
    ids=lambda strategy: type(strategy).__name__,
)
def test_a_variant_sends_what_it_declares(strategy: Gossip) -> None:
    assert finding(strategy).startswith("passed: ")


def test_links_and_transmissions_are_both_counted() -> None:
    """On the ring of the trial a client has two neighbours, who hear one transmission."""
    assert finding(DPSGD()) == "passed: 2 vectors up and 1 by radio in the last of 6 rounds"


@dataclass(frozen=True)
class SaysHalf(Beer):
    """Sends two compressed vectors, and declares one."""

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(up_compressed=1),)


@dataclass(frozen=True)
class SendsAll(Choco):
    """Declares a compressed vector, and sends it dense."""

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        state, message = super().client_update(client, heard, task, ctx)
        return state, {"q": Dense(message["q"].dense())}


@dataclass(frozen=True)
class TalksTwice(DPSGD):
    """Sends its model in two exchanges, and declares one."""

    def phases(self, ctx: Context) -> tuple[str, ...]:
        return ("train", "again")


@dataclass(frozen=True)
class MeetsEverybody(DPSGD):
    """Declares a message to each neighbour, and takes part in an all-reduce."""

    def audience(self, ctx: Context) -> Audience:
        return "all"


@dataclass(frozen=True)
class MergesTooEarly(SingleMerging):
    """Declares a merge in the last round, and merges in the first."""

    def _merges(self, ctx: Context) -> bool:
        return ctx.round == 0


@pytest.mark.parametrize("wrong", [SaysHalf, SendsAll, TalksTwice, MeetsEverybody, MergesTooEarly])
def test_a_wrong_declaration_is_found_out(wrong: type[Gossip]) -> None:
    assert finding(wrong()).startswith("failed: round 0 has ")
