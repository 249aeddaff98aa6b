"""A Ray cluster of several machines gives the bits of one thread, also when a machine is lost in mid-round."""

import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fedsparse.compress import TopK
from fedsparse.engine.ray_pool import RayPool
from fedsparse.protocol import Context, Message, State, Task
from fedsparse.strategies.scafcom import Scafcom
from tests.determinism.support import fingerprint, run
from tests.determinism.test_same_bits import undisturbed

pytestmark = [pytest.mark.ray, pytest.mark.slow]

STORE = 80 << 20


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two simulated machines, of one and two CPUs; the driver is on the first."""
    with (
        tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_TMPDIR", folder)
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": STORE}
        made = Cluster(initialize_head=True, head_node_args=head)
        made.second = made.add_node(num_cpus=2, object_store_memory=STORE)
        yield made
        made.shutdown()


@dataclass(frozen=True)
class Slow(Scafcom):
    """Far from the driver, once, says that it is at work and takes its time; near it, waits until then."""

    home: str = ""
    marker: str = ""

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        import ray

        marker, far = Path(self.marker), ray.get_runtime_context().get_node_id() != self.home
        if ctx.round == 2 and not marker.exists():
            if far:
                marker.touch()
            until = time.monotonic() + 60
            while time.monotonic() < until and (far or not marker.exists()):
                time.sleep(0.05)
        return super().client_update(client, heard, task, ctx)


def test_machines_that_share_no_memory_give_the_same_bits(cluster: Any) -> None:
    pool = RayPool(address=cluster.address)
    try:
        assert pool.size == 3
        for model in ("mlp", "resnet-batch"):
            assert fingerprint(run(model, pool=pool)) == undisturbed(model)
            assert fingerprint(run(model, pool=pool, encode=True)) == undisturbed(model)
    finally:
        pool.close()


def test_a_machine_lost_in_mid_round_changes_nothing_but_the_time(cluster: Any, tmp_path: Path) -> None:
    import ray

    marker = tmp_path / "at-work"
    pool = RayPool(address=cluster.address)

    def remove() -> None:
        while not marker.exists():
            time.sleep(0.05)
        cluster.remove_node(cluster.second, allow_graceful=False)

    removal = threading.Thread(target=remove, daemon=True)
    removal.start()
    notes: list[str] = []
    try:
        home = ray.get_runtime_context().get_node_id()
        strategy = Slow(lr=0.1, steps=3, uplink=TopK(0.05), home=home, marker=str(marker))
        result = run("mlp", strategy=strategy, pool=pool, note=notes.append)
    finally:
        removal.join(timeout=60)
        pool.close()
    assert any("its machine" in note for note in notes), notes
    assert fingerprint(result) == undisturbed("mlp")
