"""What a worker sees of the client states."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fedsparse.engine import slab_memory
from fedsparse.engine.rows import Slab
from fedsparse.engine.slab import Door, SlabView, StateSpec
from fedsparse.engine.slab_file import FileSlab
from fedsparse.engine.slab_memory import MemorySlab
from fedsparse.errors import ProtocolError, ResourceError

SPECS = (StateSpec("c", (3,), "float32"), StateSpec("n", (), "int64"))
FIRST = {"c": np.array([1, 2, 3], "float32"), "n": np.array(-5)}


def make(kind: str, folder: Path, specs: Sequence[StateSpec], count: int) -> tuple[Door, list[Slab]]:
    """Slabs with room for ``count`` rows, and where a view finds them."""
    in_files = kind == "files"
    slabs = [FileSlab(folder, spec, create=True) if in_files else MemorySlab(spec) for spec in specs]
    for slab in slabs:
        slab.resize(count)
        slab.allocate(0, count)
    return folder if in_files else tuple(slabs), slabs


@pytest.fixture(params=["files", "memory"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def made(kind: str, tmp_path: Path) -> tuple[Door, list[Slab]]:
    return make(kind, tmp_path, SPECS, 4)


@pytest.fixture
def view(made: tuple[Door, list[Slab]]) -> SlabView:
    return SlabView(made[0], SPECS, FIRST)


def slots(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def some_rows(count: int) -> dict[str, np.ndarray]:
    return {"c": np.arange(3 * count, dtype="float32").reshape(count, 3), "n": np.arange(count)}


def test_what_was_scattered_is_gathered(view: SlabView) -> None:
    view.scatter(slots(2, 0), some_rows(2))
    got = view.gather(slots(0, 2, 2))
    np.testing.assert_array_equal(got["c"], [[3, 4, 5], [0, 1, 2], [0, 1, 2]])
    np.testing.assert_array_equal(got["n"], [1, 0, 0])


def test_another_view_of_the_same_rows_sees_it(view: SlabView, made: tuple[Door, list[Slab]]) -> None:
    other = SlabView(made[0], SPECS, FIRST)
    view.scatter(slots(1), some_rows(1))
    np.testing.assert_array_equal(other.gather(slots(1))["c"], [[0, 1, 2]])


def test_a_client_without_a_slot_gets_the_first_row(view: SlabView) -> None:
    view.scatter(slots(1), some_rows(1))
    got = view.gather(slots(-1, 1))
    np.testing.assert_array_equal(got["c"], [[1, 2, 3], [0, 1, 2]])
    np.testing.assert_array_equal(got["n"], [-5, 0])


def test_first_rows_do_not_touch_the_file(tmp_path: Path) -> None:
    slab = FileSlab(tmp_path, SPECS[0], create=True)
    slab.resize(4)
    SlabView(tmp_path, SPECS[:1], FIRST).gather(slots(-1, -1))
    assert slab.path.stat().st_blocks == 0


def test_no_slots_give_no_rows(view: SlabView) -> None:
    assert view.gather(slots())["c"].shape == (0, 3)
    view.scatter(slots(), some_rows(0))


def test_gathered_rows_are_copies(view: SlabView) -> None:
    view.scatter(slots(0), some_rows(1))
    view.gather(slots(0))["c"][:] = 9
    np.testing.assert_array_equal(view.gather(slots(0))["c"], [[0, 1, 2]])


def test_gather_fills_the_buffers_it_is_given(view: SlabView) -> None:
    view.scatter(slots(0), some_rows(1))
    out = {"c": np.zeros((4, 3), "float32"), "n": np.zeros(4, "int64")}
    got = view.gather(slots(0, -1), out)
    assert got["c"].base is out["c"]
    np.testing.assert_array_equal(out["c"][:2], [[0, 1, 2], [1, 2, 3]])


@pytest.mark.parametrize(
    "buffer", [np.zeros((1, 3), "float32"), np.zeros((2, 3)), np.zeros((2, 4), "float32")]
)
def test_a_buffer_that_does_not_fit_is_refused(view: SlabView, buffer: np.ndarray) -> None:
    with pytest.raises(ProtocolError, match="client state 'c' came as"):
        view.gather(slots(0, 1), {"c": buffer, "n": np.zeros(2, "int64")})


@pytest.mark.parametrize("slot", [4, 10**15, -2])
def test_a_slot_that_does_not_exist_is_not_clipped(view: SlabView, slot: int) -> None:
    with pytest.raises(IndexError, match="does not exist"):
        view.gather(slots(0, slot))


@pytest.mark.parametrize("slot", [4, -1])
def test_a_slot_that_does_not_exist_cannot_be_written(view: SlabView, slot: int) -> None:
    with pytest.raises(IndexError):
        view.scatter(slots(slot), some_rows(1))


def test_rows_that_were_added_are_seen(view: SlabView, made: tuple[Door, list[Slab]]) -> None:
    view.gather(slots(0))
    for slab in made[1]:
        slab.resize(1000)
        slab.allocate(4, 996)
    view.scatter(slots(999), some_rows(1))
    np.testing.assert_array_equal(view.gather(slots(999))["c"], [[0, 1, 2]])


@pytest.mark.parametrize(
    "rows",
    [
        {"c": np.zeros((1, 3)), "n": np.zeros(1, "int64")},
        {"c": np.zeros((1, 4), "float32"), "n": np.zeros(1, "int64")},
        {"c": np.zeros((1, 1), "float32"), "n": np.zeros(1, "int64")},
        {"c": np.zeros(3, "float32"), "n": np.zeros(1, "int64")},
        {"c": np.zeros((2, 3), "float32"), "n": np.zeros(1, "int64")},
        {"c": np.zeros((1, 3), "float32")},
        {"c": np.zeros((1, 3), "float32"), "n": np.zeros(1, "int64"), "more": np.zeros(1)},
    ],
)
def test_rows_of_another_shape_dtype_or_name_are_refused_before_anything_is_written(
    view: SlabView, rows: dict[str, np.ndarray]
) -> None:
    view.scatter(slots(0), some_rows(1))
    with pytest.raises(ProtocolError, match="client state"):
        view.scatter(slots(0), rows)
    np.testing.assert_array_equal(view.gather(slots(0))["c"], [[0, 1, 2]])


@pytest.mark.parametrize("dtype", ["float16", "float64", "bool", "int8", "uint64"])
def test_every_allowed_dtype_round_trips(kind: str, tmp_path: Path, dtype: str) -> None:
    spec = StateSpec("v", (2, 2), dtype)
    door, _ = make(kind, tmp_path, [spec], 2)
    view = SlabView(door, [spec], {"v": np.zeros((2, 2), dtype)})
    row = np.array([[[0, 1], [1, 0]]], dtype)
    view.scatter(slots(1), {"v": row})
    np.testing.assert_array_equal(view.gather(slots(1))["v"], row)


@pytest.mark.parametrize("dtype", ["complex64", "object", "longdouble", "datetime64[s]", ">f4", "U3"])
def test_other_dtypes_are_refused(dtype: str) -> None:
    with pytest.raises(ProtocolError, match="client state 'v' has dtype"):
        StateSpec("v", (1,), dtype)


def test_rows_of_no_elements_work(kind: str, tmp_path: Path) -> None:
    spec = StateSpec("v", (0, 2), "float32")
    door, _ = make(kind, tmp_path, [spec], 3)
    view = SlabView(door, [spec], {"v": np.zeros((0, 2), "float32")})
    view.scatter(slots(2), {"v": np.zeros((1, 0, 2), "float32")})
    assert view.gather(slots(2, -1))["v"].shape == (2, 0, 2)


def test_a_name_may_contain_anything(tmp_path: Path) -> None:
    slab = FileSlab(tmp_path, StateSpec("../a b/ü", (1,), "float32"), create=True)
    assert slab.path.parent == tmp_path
    assert slab.path.exists()


def test_a_missing_first_row_is_refused(made: tuple[Door, list[Slab]]) -> None:
    with pytest.raises(ProtocolError, match="client state 'n' has no first row"):
        SlabView(made[0], SPECS, {"c": FIRST["c"]})


def test_closing_twice_does_no_harm(view: SlabView) -> None:
    view.gather(slots(0))
    view.close()
    view.close()


@pytest.mark.parametrize("length", [3, 20_000])
def test_threads_of_one_view_do_not_disturb_each_other_while_rows_are_added(
    kind: str, tmp_path: Path, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slab_memory, "_SEGMENT", 100 * length)
    specs = (StateSpec("c", (length,), "float32"),)
    door, slabs = make(kind, tmp_path, specs, 204)
    view = SlabView(door, specs, {"c": np.zeros(length, "float32")})
    wrong: list[int] = []

    def work(lane: int) -> None:
        for step in range(50):
            mine = slots(4 * step + lane)
            if lane == 0:
                for slab in slabs:
                    slab.resize(4 * (step + 2) + 204)
                    slab.allocate(4 * (step + 1) + 200, 4)
            for value in (step, step + 1):
                view.scatter(mine, {"c": np.full((1, length), value, "float32")})
                if (view.gather(mine)["c"] != value).any():
                    wrong.append(step)

    threads = [threading.Thread(target=work, args=(lane,)) for lane in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


LARGE = (StateSpec("v", (20_000,), "float32"),)


def test_large_rows_of_two_views_are_the_same_rows(kind: str, tmp_path: Path) -> None:
    door, _ = make(kind, tmp_path, LARGE, 3)
    one, other = (SlabView(door, LARGE, {"v": np.zeros(20_000, "float32")}) for _ in range(2))
    rows = np.random.default_rng(0).standard_normal((4, 20_000)).astype("float32")
    for writer, reader, row in ((one, other, 0), (other, one, 1), (one, other, 2), (one, one, 3)):
        writer.scatter(slots(2), {"v": rows[row : row + 1]})
        np.testing.assert_array_equal(reader.gather(slots(2))["v"], rows[row : row + 1])


def test_large_rows_need_not_be_contiguous(kind: str, tmp_path: Path) -> None:
    door, _ = make(kind, tmp_path, LARGE, 2)
    view = SlabView(door, LARGE, {"v": np.zeros(20_000, "float32")})
    rows = np.random.default_rng(0).standard_normal((20_000, 2)).astype("float32").T
    view.scatter(slots(1, 0), {"v": rows})
    np.testing.assert_array_equal(view.gather(slots(1, 0))["v"], rows)


def test_a_large_row_is_written_whole_where_the_system_writes_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    door, _ = make("files", tmp_path, LARGE, 2)
    view = SlabView(door, LARGE, {"v": np.zeros(20_000, "float32")})
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, place: whole(file, data[:30_001], place))
    row = np.arange(20_000, dtype="float32")[None]
    view.scatter(slots(1), {"v": row})
    np.testing.assert_array_equal(view.gather(slots(1))["v"], row)


def test_no_room_for_a_large_row_is_said_by_its_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    door, _ = make("files", tmp_path, LARGE, 2)
    view = SlabView(door, LARGE, {"v": np.zeros(20_000, "float32")})
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(
        ResourceError, match=r"v\.slab: cannot write: No space .* 80000 bytes needed.*state_dir"
    ):
        view.scatter(slots(1), {"v": np.zeros((1, 20_000), "float32")})


def test_a_full_file_system_is_an_error_for_large_rows_and_kills_nobody(tmp_path: Path) -> None:
    """A slab on a file of limited size stands for one on a full disk."""
    script = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from fedsparse.engine.slab import SlabView, StateSpec
from fedsparse.engine.slots import SlotStore
from fedsparse.errors import ResourceError

spec, first = (StateSpec("v", (20_000,), "float32"),), {"v": np.zeros(20_000, "float32")}
store = SlotStore(Path(sys.argv[1]) / "state", spec, 4, first)
view = SlabView(store.door, spec, first)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    view.scatter(np.arange(4), {"v": np.ones((4, 20_000), "float32")})
except ResourceError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True
    )
    assert "cannot write: File too large" in done.stdout


def test_rows_in_memory_stay_where_they_are_as_more_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slab_memory, "_SEGMENT", 24)
    slab = MemorySlab(SPECS[0])
    slab.allocate(0, 1)
    first = slab.row(0)
    slab.put(slots(0), np.ones((1, 3), "float32"))
    slab.allocate(1, 9)
    slab.put(slots(*range(10)), np.arange(30, dtype="float32").reshape(10, 3))
    assert first.tolist() == [0, 1, 2]
    out = np.empty((3, 3), "float32")
    slab.take(slots(9, 1, 4), out)
    assert out[:, 0].tolist() == [27, 3, 12]
