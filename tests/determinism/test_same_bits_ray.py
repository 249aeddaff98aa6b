"""Ray gives the bits of the threads: for any number of actors, and when one is killed in mid-round."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fedsparse.compress import TopK
from fedsparse.engine.ray_pool import RayPool
from fedsparse.protocol import Context, Message, State, Task
from fedsparse.strategies.scafcom import Scafcom
from tests.determinism.support import MODELS, fingerprint, run
from tests.determinism.test_same_bits import undisturbed

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module", params=[1, 2, 3])
def pool(request: pytest.FixtureRequest) -> Iterator[RayPool]:
    made = RayPool(request.param)
    yield made
    made.close()


@dataclass(frozen=True)
class Deadly(Scafcom):
    """Kills its own worker, once, in the middle of a round."""

    marker: str = ""

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        result = super().client_update(client, heard, task, ctx)
        if ctx.round == 2 and not Path(self.marker).exists():
            Path(self.marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return result


def test_ray_gives_the_bits_of_one_thread(pool: RayPool) -> None:
    for model in MODELS:
        assert fingerprint(run(model, pool=pool)) == undisturbed(model), model


def test_a_killed_worker_changes_nothing_but_the_time(pool: RayPool, tmp_path: Path) -> None:
    for model in MODELS:
        notes: list[str] = []
        marker = tmp_path / model
        strategy = Deadly(lr=0.1, steps=3, uplink=TopK(0.05), marker=str(marker))
        result = run(model, strategy=strategy, pool=pool, note=notes.append)
        assert marker.exists()
        assert any("lost" in note for note in notes)
        assert fingerprint(result) == undisturbed(model), model
