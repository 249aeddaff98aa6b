"""Ray on several machines, simulated: nodes on this one that share nothing but Ray."""

import tempfile
import threading
import time

import numpy as np
import pytest
from toy_job import Toy

from fedsparse.engine import ray_session
from fedsparse.engine.dispatch import Dispatcher
from fedsparse.engine.ray_pool import RayPool
from fedsparse.errors import ConfigError, ResourceError

pytestmark = [pytest.mark.ray, pytest.mark.slow]

DATA = np.random.default_rng(3).standard_normal((8, 5))
SCALE = {"scale": np.array([2.0])}
TOTALS = [2 * float(row.sum()) for row in DATA]
STORE = 80 << 20


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one CPU each; the driver is on the first."""
    with (
        tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_worker_niceness", "0")
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": STORE}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        cluster.second = cluster.add_node(num_cpus=1, object_store_memory=STORE)
        yield cluster
        cluster.shutdown()


@pytest.fixture
def pool(cluster):
    pool = RayPool(address=cluster.address)
    pool.setup(Toy(), {"data": DATA})
    yield pool
    pool.close()


def run(dispatcher, calls):
    prepared = []

    def prepare(call, attempt, near):
        prepared.append(near)
        return call

    return dispatcher.run(SCALE, calls, prepare, lambda *_: None, lambda _: None), prepared


def test_each_machine_has_its_workers_and_gets_the_data_its_own_way(pool):
    assert pool.size == 2
    dispatcher = Dispatcher(pool)
    results, near = run(dispatcher, [("total", block) for block in range(8)])
    assert results == TOTALS
    found, near = run(dispatcher, [("who", 0.5)] * 4)
    assert {(who[1], who[2], who[3]) for who in found} == {(1, "1", True), (1, "1", False)}
    assert set(near) == {True, False}
    kinds = {kind for kind, *_ in run(dispatcher, [("data", None)] * 6)[0]}
    assert kinds == {"memmap", "ndarray"}


def test_more_workers_than_cpus_is_an_error(cluster):
    with pytest.raises(ConfigError, match=r"3 workers asked for; .* has 2 CPUs"):
        RayPool(3, cluster.address)


def test_cpus_that_are_taken_are_an_error_and_no_wait(cluster, monkeypatch):
    import ray

    monkeypatch.setattr(ray_session, "SETTLE", 0.1)
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 1.0})
    with pytest.raises(ResourceError, match=r"only 1 free CPUs. Ask for 1 workers"):
        RayPool(2, cluster.address)


def test_a_pool_may_take_fewer_workers_than_there_are_cpus(cluster):
    pool = RayPool(1, cluster.address)
    pool.setup(Toy(), {"data": DATA})
    try:
        assert run(Dispatcher(pool), [("total", 0)])[0] == TOTALS[:1]
    finally:
        pool.close()


def test_a_machine_lost_in_the_middle_changes_no_result(cluster, pool):
    notes = []
    dispatcher = Dispatcher(pool, note=notes.append)
    run(dispatcher, [("who", 0.5)] * 4)  # both are there
    removal = threading.Timer(
        0.5, cluster.remove_node, args=[cluster.second], kwargs={"allow_graceful": False}
    )
    removal.start()
    began = time.monotonic()
    results, _ = run(dispatcher, [("slow_total", block) for block in range(8)])
    removal.join()
    assert results == TOTALS
    assert "its machine does not answer" in notes[0], notes
    assert time.monotonic() - began < 30
