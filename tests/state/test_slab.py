"""What a worker sees of the client states."""

import threading
from pathlib import Path

import numpy as np
import pytest

from fedsparse.engine.slab import Slab, SlabView, StateSpec
from fedsparse.errors import ProtocolError

SPECS = (StateSpec("c", (3,), "float32"), StateSpec("n", (), "int64"))
FIRST = {"c": np.array([1, 2, 3], "float32"), "n": np.array(-5)}


@pytest.fixture
def files(tmp_path: Path) -> list[Slab]:
    slabs = [Slab(tmp_path, spec, create=True) for spec in SPECS]
    for slab in slabs:
        slab.resize(4)
    return slabs


@pytest.fixture
def view(tmp_path: Path, files: list[Slab]) -> SlabView:
    return SlabView(tmp_path, SPECS, FIRST)


def slots(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def some_rows(count: int) -> dict[str, np.ndarray]:
    return {"c": np.arange(3 * count, dtype="float32").reshape(count, 3), "n": np.arange(count)}


def test_what_was_scattered_is_gathered(view: SlabView) -> None:
    view.scatter(slots(2, 0), some_rows(2))
    got = view.gather(slots(0, 2, 2))
    np.testing.assert_array_equal(got["c"], [[3, 4, 5], [0, 1, 2], [0, 1, 2]])
    np.testing.assert_array_equal(got["n"], [1, 0, 0])


def test_another_view_of_the_same_files_sees_it(view: SlabView, tmp_path: Path) -> None:
    other = SlabView(tmp_path, SPECS, FIRST)
    view.scatter(slots(1), some_rows(1))
    np.testing.assert_array_equal(other.gather(slots(1))["c"], [[0, 1, 2]])


def test_a_client_without_a_slot_gets_the_first_row(view: SlabView) -> None:
    view.scatter(slots(1), some_rows(1))
    got = view.gather(slots(-1, 1))
    np.testing.assert_array_equal(got["c"], [[1, 2, 3], [0, 1, 2]])
    np.testing.assert_array_equal(got["n"], [-5, 0])


def test_first_rows_do_not_touch_the_file(view: SlabView, files: list[Slab]) -> None:
    view.gather(slots(-1, -1))
    assert all(slab.path.stat().st_blocks == 0 for slab in files)


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


def test_a_file_that_grew_is_mapped_again(view: SlabView, files: list[Slab]) -> None:
    view.gather(slots(0))
    for slab in files:
        slab.resize(1000)
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
def test_every_allowed_dtype_round_trips(tmp_path: Path, dtype: str) -> None:
    spec = StateSpec("v", (2, 2), dtype)
    Slab(tmp_path, spec, create=True).resize(2)
    view = SlabView(tmp_path, [spec], {"v": np.zeros((2, 2), dtype)})
    row = np.array([[[0, 1], [1, 0]]], dtype)
    view.scatter(slots(1), {"v": row})
    np.testing.assert_array_equal(view.gather(slots(1))["v"], row)


@pytest.mark.parametrize("dtype", ["complex64", "object", "longdouble", "datetime64[s]", ">f4", "U3"])
def test_other_dtypes_are_refused(dtype: str) -> None:
    with pytest.raises(ProtocolError, match="client state 'v' has dtype"):
        StateSpec("v", (1,), dtype)


def test_rows_of_no_elements_work(tmp_path: Path) -> None:
    spec = StateSpec("v", (0, 2), "float32")
    slab = Slab(tmp_path, spec, create=True)
    slab.resize(3)
    slab.allocate(0, 3)
    view = SlabView(tmp_path, [spec], {"v": np.zeros((0, 2), "float32")})
    view.scatter(slots(2), {"v": np.zeros((1, 0, 2), "float32")})
    assert view.gather(slots(2, -1))["v"].shape == (2, 0, 2)


def test_a_name_may_contain_anything(tmp_path: Path) -> None:
    slab = Slab(tmp_path, StateSpec("../a b/ü", (1,), "float32"), create=True)
    assert slab.path.parent == tmp_path
    assert slab.path.exists()


def test_a_missing_first_row_is_refused(tmp_path: Path, files: list[Slab]) -> None:
    with pytest.raises(ProtocolError, match="client state 'n' has no first row"):
        SlabView(tmp_path, SPECS, {"c": FIRST["c"]})


def test_closing_twice_does_no_harm(view: SlabView) -> None:
    view.gather(slots(0))
    view.close()
    view.close()


def test_threads_of_one_view_do_not_disturb_each_other_while_the_file_grows(
    view: SlabView, files: list[Slab]
) -> None:
    wrong: list[int] = []

    def work(lane: int) -> None:
        for step in range(100):
            mine = slots(4 * step + lane)
            if lane == 0:
                for slab in files:
                    slab.resize(4 * (step + 2) + 400)
            rows = {"c": np.full((1, 3), step, "float32"), "n": np.array([lane])}
            view.scatter(mine, rows)
            got = view.gather(mine)
            if (got["c"] != step).any() or got["n"] != lane:
                wrong.append(step)

    for slab in files:
        slab.resize(404)
    threads = [threading.Thread(target=work, args=(lane,)) for lane in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
