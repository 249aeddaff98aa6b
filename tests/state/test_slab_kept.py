"""Large rows of threads stay in the arrays that they came in, while enough of them are in use."""

import gc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from fedsparse.engine.rows import Array, StateSpec
from fedsparse.engine.slots import SlotStore

LENGTH = 5_000
SPECS = (StateSpec("v", (LENGTH,), "float32"),)
FIRST = {"v": np.zeros(LENGTH, "float32")}


@pytest.fixture
def store() -> Iterator[SlotStore]:
    made = SlotStore(None, SPECS, 4, FIRST)
    yield made
    made.close()


def ids(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def block(*values: float) -> Array:
    return np.repeat(np.array(values, "float32")[:, None], LENGTH, axis=1)


def give(store: SlotStore, clients: np.ndarray, rows: Array, accepted: slice = slice(None)) -> None:
    """What a worker and the driver do with the rows of a block, some of whose messages are accepted."""
    new = store.reserve(len(clients))
    store._view.keep(new, {"v": rows}, store.slots_of(clients))
    store.commit(clients[accepted], new[accepted])
    store.release(np.setdiff1d(new, new[accepted]))
    store.close_round()


def values(store: SlotStore, *clients: int) -> list[float]:
    return store.rows(ids(*clients))["v"][:, -1].tolist()


def lent(store: SlotStore, *clients: int) -> Array:
    return store._view.lend(store.slots_of(ids(*clients)))["v"]


def test_the_same_block_reads_the_array_that_it_wrote(store: SlotStore) -> None:
    rows = block(1, 2, 3)
    give(store, ids(7, 8, 9), rows)
    assert lent(store, 7, 8, 9) is rows


@pytest.mark.parametrize("clients", [(8, 7, 9), (7, 8), (7, 8, 9, 9)])
def test_another_block_reads_a_copy(store: SlotStore, clients: tuple[int, ...]) -> None:
    rows = block(1, 2, 3)
    give(store, ids(7, 8, 9), rows)
    found = lent(store, *clients)
    assert not np.shares_memory(found, rows)
    assert found[:, 0].tolist() == [client - 6 for client in clients]


def test_rows_that_a_store_gives_away_are_copies(store: SlotStore) -> None:
    give(store, ids(7, 8), block(1, 2))
    store.rows(ids(7, 8))["v"][:] = 9
    assert values(store, 7, 8) == [1, 2]


def test_an_array_whose_rows_were_replaced_is_let_go(store: SlotStore) -> None:
    rows = block(1, 2, 3)
    seen = weakref.ref(rows)
    give(store, ids(7, 8, 9), rows)
    del rows
    give(store, ids(7, 8, 9), block(4, 5, 6))
    gc.collect()
    assert seen() is None


def test_an_array_of_which_less_than_half_is_in_use_is_let_go(store: SlotStore) -> None:
    rows = block(1, 2, 3, 4)
    seen = weakref.ref(rows)
    give(store, ids(1, 2, 3, 4), rows)
    del rows
    give(store, ids(1, 2, 5, 6), block(10, 20, 50, 60))
    assert seen() is not None  # half is
    give(store, ids(3, 7, 8, 9), block(30, 70, 80, 90))
    gc.collect()
    assert seen() is None
    assert values(store, 1, 2, 3, 4, 5) == [10, 20, 30, 4, 50]


def test_clients_that_do_not_come_together_get_places_of_their_own(store: SlotStore) -> None:
    give(store, ids(1, 2), block(1, 2))
    give(store, ids(3, 4), block(3, 4))
    rows = block(10, 30)
    give(store, ids(1, 3), rows)
    assert not np.shares_memory(lent(store, 1, 3), rows)
    assert values(store, 1, 2, 3, 4) == [10, 2, 30, 4]


def test_a_block_that_lost_one_message_in_five_stays_together(store: SlotStore) -> None:
    clients = ids(1, 2, 3, 4, 5)
    give(store, clients, block(1, 2, 3, 4, 5))
    give(store, clients, block(10, 20, 30, 40, 50), accepted=slice(1, None))
    rows = block(11, 21, 31, 41, 51)
    give(store, clients, rows)
    assert values(store, 1, 2, 3, 4, 5) == [11, 21, 31, 41, 51]
    assert lent(store, 1, 2, 3, 4, 5) is rows


def test_a_row_of_a_lost_message_is_never_seen(store: SlotStore) -> None:
    give(store, ids(1, 2, 3), block(1, 2, 3))
    give(store, ids(1, 2, 3), block(10, 20, 30), accepted=slice(0, 1))
    assert values(store, 1, 2, 3) == [10, 2, 3]


def test_a_slot_that_is_used_again_has_its_new_row(store: SlotStore) -> None:
    give(store, ids(1, 2), block(1, 2))
    for value in range(3, 9):
        clients = ids(1, 2) if value % 2 else ids(2, 1)
        give(store, clients, block(value, value + 0.5))
        assert values(store, *clients.tolist()) == [value, value + 0.5]
