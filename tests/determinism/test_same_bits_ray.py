"""Ray gives the bits of the threads: for any number of actors, and when one is killed in mid-round."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from fedsparse.compress import TopK
from fedsparse.engine.ray_pool import RayPool
from fedsparse.gossip import Neighbours
from fedsparse.protocol import Context, Message, State, Strategy, Task
from fedsparse.strategies.choco import Choco
from fedsparse.strategies.dpsgd import DPSGD
from fedsparse.strategies.scafcom import Scafcom
from tests.determinism.support import GOSSIP, MODELS, fingerprint, run
from tests.determinism.test_same_bits import undisturbed

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module", params=[1, 2, 3])
def pool(request: pytest.FixtureRequest) -> Iterator[RayPool]:
    made = RayPool(request.param)
    yield made
    made.close()


def die_once(marker: str, round_: int) -> None:
    """Kills its own worker in the middle of a round."""
    if round_ == 2 and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class DeadlyScafcom(Scafcom):
    marker: str = ""

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        result = super().client_update(client, heard, task, ctx)
        die_once(self.marker, ctx.round)
        return result


@dataclass(frozen=True)
class DeadlyChoco(Choco):
    """Dies when it has heard its neighbours."""

    marker: str = ""

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        die_once(self.marker, ctx.round)
        return super().aggregate(client, inbox, ctx)


@dataclass(frozen=True)
class DeadlyDPSGD(DPSGD):
    marker: str = ""

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        result = super().client_update(client, heard, task, ctx)
        die_once(self.marker, ctx.round)
        return result


DEADLY = {"gossip": DeadlyChoco, "gossip-batch": DeadlyDPSGD}


def deadly(model: str, marker: str) -> Strategy:
    if model not in GOSSIP:
        return DeadlyScafcom(lr=0.1, steps=3, uplink=TopK(0.05), marker=marker)
    usual, _ = GOSSIP[model]
    values = {f.name: getattr(usual, f.name) for f in fields(usual)}
    made: Strategy = DEADLY[model](**values, marker=marker)
    return made


def test_ray_gives_the_bits_of_one_thread(pool: RayPool) -> None:
    for model in MODELS:
        assert fingerprint(run(model, pool=pool)) == undisturbed(model), model


def test_a_killed_worker_changes_nothing_but_the_time(pool: RayPool, tmp_path: Path) -> None:
    for model in MODELS:
        notes: list[str] = []
        marker = tmp_path / model
        strategy = deadly(model, str(marker))
        result = run(model, strategy=strategy, pool=pool, note=notes.append)
        assert marker.exists()
        assert any("lost" in note for note in notes)
        assert fingerprint(result) == undisturbed(model), model
