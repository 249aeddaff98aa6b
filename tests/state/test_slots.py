"""Who has which slot, and what happens when there is no room."""

import errno
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fedsparse.archive import read, write
from fedsparse.engine import slab_file, slab_memory
from fedsparse.engine.slab import SlabView, StateSpec
from fedsparse.engine.slots import SlotStore
from fedsparse.errors import ProtocolError, ResourceError

SPECS = (StateSpec("c", (3,), "float32"), StateSpec("n", (), "int64"))
FIRST = {"c": np.zeros(3, "float32"), "n": np.array(0)}


@pytest.fixture(params=["files", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SlotStore]:
    made = SlotStore(tmp_path / "state" if request.param == "files" else None, SPECS, 4, FIRST)
    yield made
    made.close()


@pytest.fixture
def filed(tmp_path: Path) -> Iterator[SlotStore]:
    """A store whose rows are in files."""
    made = SlotStore(tmp_path / "state", SPECS, 4, FIRST)
    yield made
    made.close()


def ids(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def rows_of(*values: int) -> dict[str, np.ndarray]:
    return {"c": np.repeat(np.array(values, "float32")[:, None], 3, axis=1), "n": ids(*values)}


def test_a_client_that_never_took_part_has_no_slot(store: SlotStore) -> None:
    assert store.slots_of(ids(3, 10**15)).tolist() == [-1, -1]
    assert store.seen(ids(3)).tolist() == [False]


def test_a_committed_row_is_the_clients_row(store: SlotStore) -> None:
    new = store.reserve(2)
    SlabView(store.door, SPECS, FIRST).scatter(new, rows_of(7, 8))
    store.commit(ids(30, 10), new)
    assert store.rows(ids(10, 20, 30))["n"].tolist() == [8, 0, 7]
    assert store.seen(ids(10, 20)).tolist() == [True, False]
    assert store.known().tolist() == [10, 30]


def test_an_uncommitted_row_is_not_seen(store: SlotStore) -> None:
    store.write(ids(1), rows_of(5))
    new = store.reserve(1)
    SlabView(store.door, SPECS, FIRST).scatter(new, rows_of(6))
    assert store.rows(ids(1))["n"].tolist() == [5]


def test_a_replaced_slot_is_free_only_after_the_round(store: SlotStore) -> None:
    old = store.reserve(1)
    store.commit(ids(1), old)
    store.commit(ids(1), store.reserve(1))
    assert old[0] not in store.reserve(5)
    store.close_round()
    assert store.reserve(1).tolist() == old.tolist()


def test_a_released_slot_is_free_at_once(store: SlotStore) -> None:
    slots = store.reserve(2)
    store.release(slots)
    assert sorted(store.reserve(2)) == sorted(slots)


def test_a_quarantined_slot_is_free_only_when_its_writer_is_dead(store: SlotStore) -> None:
    slots = store.reserve(1)
    store.quarantine(slots, key="worker 3")
    store.release_quarantine("worker 4")
    assert slots[0] not in store.reserve(3)
    store.release_quarantine("worker 3")
    assert store.reserve(1).tolist() == slots.tolist()


def test_a_slot_cannot_be_given_back_twice(store: SlotStore) -> None:
    slots = store.reserve(1)
    store.release(slots)
    for again in (store.release, lambda s: store.quarantine(s, 1), lambda s: store.commit(ids(1), s)):
        with pytest.raises(ValueError, match="not reserved"):
            again(slots)


def test_a_slot_cannot_come_twice_in_one_call(store: SlotStore) -> None:
    slots = store.reserve(1)
    with pytest.raises(ValueError, match="come twice"):
        store.release(np.repeat(slots, 2))


@pytest.mark.parametrize("clients", [(1, 1), (1,)])
def test_a_client_cannot_get_two_slots(store: SlotStore, clients: tuple[int, ...]) -> None:
    slots = store.reserve(2)
    with pytest.raises(ValueError, match="some twice"):
        store.commit(ids(*clients), slots)
    store.release(slots)


def test_the_files_grow_when_needed(store: SlotStore) -> None:
    for client in range(50):
        store.write(ids(client), rows_of(client))
    assert store.rows(store.known())["n"].tolist() == list(range(50))


def test_a_huge_hint_uses_no_space(tmp_path: Path) -> None:
    store = SlotStore(tmp_path / "state", [StateSpec("v", (1000,), "float64")], 10**9, {"v": np.zeros(1000)})
    file = next((tmp_path / "state").iterdir())
    assert file.stat().st_size <= 1 << 30
    assert file.stat().st_blocks == 0
    store.close()


def test_a_strategy_without_client_state_has_a_store_too(tmp_path: Path) -> None:
    store = SlotStore(tmp_path / "state", [], 10, {})
    store.commit(ids(4, 2), store.reserve(2))
    assert store.known().tolist() == [2, 4]
    assert store.rows(ids(2)) == {}
    store.close()


def test_put_writes_for_a_worker_elsewhere_and_commits_nothing(store: SlotStore) -> None:
    slots = store.reserve(1)
    store.put(slots, rows_of(4))
    assert not store.seen(ids(1)).any()
    store.commit(ids(1), slots)
    assert store.rows(ids(1))["n"].tolist() == [4]


def test_write_refuses_rows_that_do_not_fit_and_loses_no_slot(store: SlotStore) -> None:
    with pytest.raises(ProtocolError):
        store.write(ids(1), {"c": np.zeros((1, 3)), "n": ids(1)})
    assert not store.seen(ids(1)).any()
    assert store.reserve(1).tolist() == [0]


def test_streamed_rows_survive_a_checkpoint(
    store: SlotStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedsparse.engine.slots._PIECE", 30)
    store.write(ids(*range(90, 0, -9)), rows_of(*range(90, 0, -9)))
    known = store.known()
    write(tmp_path / "c", {}, {"ids": known, **store.stream(known)})
    _, arrays = read(tmp_path / "c")
    other = SlotStore(tmp_path / "other", SPECS, 1, FIRST)
    other.write(arrays.pop("ids"), arrays)
    assert other.known().tolist() == sorted(range(90, 0, -9))
    np.testing.assert_array_equal(other.rows(known)["c"], store.rows(known)["c"])
    other.close()


def test_checkpoint_bytes_do_not_depend_on_the_slots(tmp_path: Path) -> None:
    for name, order in (("a", (1, 2, 3)), ("b", (3, 1, 2))):
        store = SlotStore(tmp_path / f"state-{name}", SPECS, 1, FIRST)
        for client in order:
            store.write(ids(client), rows_of(client))
        write(tmp_path / name, {}, {"ids": store.known(), **store.stream(store.known())})
        store.close()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


# ---- no room


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_no_room_for_rows_is_said_by_the_driver_with_path_need_and_room(
    filed: SlotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(slab_file.os, "posix_fallocate", no_space)
        with pytest.raises(
            ResourceError, match=r"c\.slab: cannot write: No space .* 24 bytes needed, \d+ bytes free"
        ):
            filed.reserve(2)
    assert filed.reserve(2).tolist() == [0, 1]


def test_free_slots_need_no_room(filed: SlotStore, monkeypatch: pytest.MonkeyPatch) -> None:
    filed.release(filed.reserve(2))
    monkeypatch.setattr(slab_file.os, "posix_fallocate", no_space)
    assert len(filed.reserve(2)) == 2


def test_no_room_to_grow_is_a_resource_error(filed: SlotStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slab_file.os, "ftruncate", no_space)
    with pytest.raises(ResourceError, match="cannot write: No space"):
        filed.reserve(5)


def test_slots_that_were_handed_out_have_their_space(filed: SlotStore) -> None:
    filed.reserve(3)
    assert all(file.stat().st_blocks > 0 for file in filed.folder.iterdir())


def test_no_memory_for_rows_is_a_resource_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    store = SlotStore(None, SPECS, 4, FIRST)
    with monkeypatch.context() as patch:
        patch.setattr(slab_memory.mmap, "mmap", no_memory)
        with pytest.raises(
            ResourceError, match=r"'c': no memory for 24 bytes more: Cannot allocate .*state_dir"
        ):
            store.reserve(2)
    assert store.reserve(2).tolist() == [0, 1]
    store.close()


def test_files_that_cannot_be_made_are_a_resource_error(tmp_path: Path) -> None:
    (tmp_path / "c.slab").write_text("")
    with pytest.raises(ResourceError, match="File exists"):
        SlotStore(tmp_path, SPECS, 4, FIRST)


# ---- the end


def test_close_removes_everything_and_twice_does_no_harm(filed: SlotStore) -> None:
    filed.close()
    filed.close()
    assert not filed.folder.exists()


def test_a_forgotten_store_removes_its_files(tmp_path: Path) -> None:
    SlotStore(tmp_path / "state", SPECS, 4, FIRST).reserve(2)
    gc.collect()
    assert not (tmp_path / "state").exists()


def test_a_process_that_ends_by_an_exception_removes_its_files(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from fedsparse.engine.slots import SlotStore
store = SlotStore(Path(sys.argv[1]), [], 4, {})
raise SystemExit(3)
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "state"], timeout=60, check=False)
    assert done.returncode == 3
    assert not (tmp_path / "state").exists()


def test_a_forked_child_does_not_remove_the_files(filed: SlotStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("fedsparse.engine.slots.os.getpid", lambda: -1)
        filed.close()
    assert filed.folder.exists()
    for file in filed.folder.iterdir():
        file.unlink()
    filed.folder.rmdir()


# ---- any history


class Lives(RuleBasedStateMachine):
    """Every used slot is in one place, and a client's row is the last one that was committed."""

    @initialize(in_files=st.booleans())
    def start(self, in_files: bool) -> None:
        import tempfile

        self.base = tempfile.TemporaryDirectory()
        self.store = SlotStore(Path(self.base.name) / "state" if in_files else None, SPECS, 1, FIRST)
        self.model: dict[int, int] = {}
        self.open: list[int] = []
        self.worker = SlabView(self.store.door, SPECS, FIRST)
        self.stamp = 0

    @rule(count=st.integers(0, 4))
    def reserve(self, count: int) -> None:
        slots = self.store.reserve(count)
        self.stamp += 1
        self.worker.scatter(slots, rows_of(*[self.stamp] * count))
        self.open += slots.tolist()

    @rule(client=st.integers(0, 5))
    def commit(self, client: int) -> None:
        if self.open:
            slot = self.open.pop(0)
            self.model[client] = int(self.worker.gather(ids(slot))["n"][0])
            self.store.commit(ids(client), ids(slot))

    @rule()
    def release(self) -> None:
        if self.open:
            self.store.release(ids(self.open.pop()))

    @rule(key=st.integers(0, 1))
    def quarantine(self, key: int) -> None:
        if self.open:
            self.store.quarantine(ids(self.open.pop()), key)

    @rule(key=st.integers(0, 1))
    def writer_died(self, key: int) -> None:
        self.store.release_quarantine(key)

    @rule()
    def close_round(self) -> None:
        self.store.close_round()

    @invariant()
    def rows_are_the_last_committed(self) -> None:
        known = self.store.known()
        assert known.tolist() == sorted(self.model)
        assert self.store.rows(known)["n"].tolist() == [self.model[i] for i in known.tolist()]

    @invariant()
    def every_slot_is_in_one_place(self) -> None:
        store = self.store
        set_aside = [slot for slots in store._quarantine.values() for slot in slots]
        places = [
            *store._index.items()[1].tolist(),
            *store._free,
            *store._reserved,
            *store._replaced,
            *set_aside,
        ]
        assert sorted(places) == list(range(store._used))

    def teardown(self) -> None:
        self.worker.close()
        self.store.close()
        self.base.cleanup()


Lives.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestLives = Lives.TestCase
