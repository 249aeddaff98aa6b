import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsparse.errors import CheckpointError
from fedsparse.ledger import CatchUp, Ledger, Nbytes, ratio, sent_bytes


def booked() -> Ledger:
    ledger = Ledger()
    ledger.send("down", [4, 7], 100, header=10, dense=400)
    ledger.send("up", [4, 7], np.array([30, 50]), header=np.array([5, 6]), dense=400, lost=[False, True])
    return ledger


def test_both_directions_are_counted_apart():
    assert booked().total() == {
        "up_payload_bytes": 80, "up_header_bytes": 11, "up_dense_bytes": 800, "up_messages": 2, "up_lost": 1,
        "down_payload_bytes": 200, "down_header_bytes": 20, "down_dense_bytes": 800, "down_messages": 2,
        "down_lost": 0,
    }  # fmt: skip


def test_closing_a_round_starts_its_counters_at_zero():
    ledger = booked()
    first = ledger.round()
    assert first == ledger.total()
    assert set(ledger.round().values()) == {0}


def test_the_total_goes_on_over_rounds():
    ledger = booked()
    ledger.round()
    ledger.send("up", [1], 9)
    assert ledger.round()["up_payload_bytes"] == 9
    assert ledger.total()["up_payload_bytes"] == 89


def test_a_message_to_nobody_counts_nothing():
    ledger = Ledger()
    ledger.send("down", [], 100, header=10)
    assert set(ledger.total().values()) == {0}


def test_one_length_for_another_number_of_clients_is_refused():
    with pytest.raises(ValueError, match="broadcast"):
        Ledger().send("up", [1, 2], np.array([1, 2, 3]))


def test_bytes_beyond_32_bits_are_exact():
    ledger = Ledger()
    ledger.send("up", range(3), 2**52 + 1)
    assert ledger.total()["up_payload_bytes"] == 3 * (2**52 + 1)


def test_sent_bytes_are_payload_and_header():
    assert (sent_bytes(booked().total(), "up"), sent_bytes(booked().total(), "down")) == (91, 220)


def test_the_ratio_is_dense_over_sent_both_ways():
    assert ratio(booked().total()) == 1600 / 311


def test_the_ratio_of_nothing_is_not_a_number():
    assert math.isnan(ratio(Ledger().total()))


def test_a_restored_ledger_goes_on_where_it_stopped():
    ledger, other = booked(), Ledger()
    other.restore(ledger.state())
    for one in (ledger, other):
        one.send("up", [4, 9], 1)
    assert (other.total(), other.round()) == (ledger.total(), ledger.round())


def test_a_state_does_not_change_with_its_ledger():
    ledger = booked()
    state = ledger.state()
    ledger.send("up", [0], 5)
    assert int(state["total"][0, 0]) == 80


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ({"total": None}, "total is missing"),
        ({"round": np.zeros((2, 4), np.int64)}, "round has shape"),
    ],
)
def test_a_damaged_ledger_is_refused_and_changes_nothing(damage, problem):
    ledger = booked()
    state = {name: array for name, array in (ledger.state() | damage).items() if array is not None}
    with pytest.raises(CheckpointError, match=problem):
        ledger.restore(state)
    assert ledger.total() == booked().total()


DENSE = Nbytes(100, 20)


def charged(
    catch_up: CatchUp, ids: list[int], dense: Nbytes = DENSE, **options: Any
) -> list[tuple[int, int]]:
    """Payload and header bytes of each client."""
    return list(zip(*(part.tolist() for part in catch_up.charge(ids, dense, **options)), strict=True))


def test_who_heard_the_last_broadcast_pays_for_the_new_one():
    catch_up = CatchUp()
    catch_up.said(Nbytes(10, 4), DENSE)
    catch_up.charge([1], DENSE)
    catch_up.said(Nbytes(20, 5), DENSE)
    assert charged(catch_up, [1]) == [(20, 5)]


def test_a_client_never_seen_pays_for_the_dense_value():
    catch_up = CatchUp()
    catch_up.said(Nbytes(10, 4), DENSE)
    assert charged(catch_up, [1]) == [DENSE]


def test_an_absentee_pays_for_all_it_missed_and_for_what_is_around_it():
    catch_up = CatchUp()
    catch_up.charge([1], DENSE)
    for nbytes in (10, 20, 30):
        catch_up.said(Nbytes(nbytes, 4), DENSE)
    assert charged(catch_up, [1]) == [(60, 12)]


@pytest.mark.parametrize(("dense", "paid"), [((62, 9), (62, 9)), ((40, 32), (60, 12))])
def test_an_absentee_pays_for_the_dense_value_where_that_is_shorter_all_in_all(dense, paid):
    catch_up = CatchUp()
    catch_up.charge([1], DENSE)
    for nbytes in (10, 20, 30):
        catch_up.said(Nbytes(nbytes, 4), Nbytes(*dense))
    assert charged(catch_up, [1], Nbytes(*dense)) == [paid]


def test_what_says_nothing_of_the_replica_costs_nothing():
    catch_up = CatchUp()
    catch_up.charge([1], DENSE)
    for _ in range(3):
        catch_up.said(Nbytes(0, 0), DENSE)
    assert charged(catch_up, [1]) == [(0, 0)]


def test_broadcasts_that_cost_more_than_the_dense_value_are_forgotten():
    catch_up = CatchUp()
    for _ in range(1000):
        catch_up.said(Nbytes(20, 4), DENSE)
    assert catch_up.state()["news"].tolist() == [[20, 4]] * 5


def test_catching_up_is_the_sum_of_what_was_missed_however_long_ago_that_was():
    """Against the plain sum: broadcasts of many lengths, a client away for up to 300 of them, and ones forgotten."""
    draw, catch_up, news = np.random.default_rng(0), CatchUp(), []
    last = dict.fromkeys(range(4), -1)  # the broadcasts that it heard; -1: none
    for number in range(600):
        dense = Nbytes(int(draw.integers(2000, 9000)), 40)
        news.append(Nbytes(int(draw.integers(0, 40)), 4))
        catch_up.said(news[-1], dense)
        while sum(one.total for one in news) > dense.total:
            del news[0]
        first = number + 1 - len(news)
        for client in [c for c in last if number % (1, 7, 90, 300)[c] == 0]:
            missed = news[last[client] - first :] if first <= last[client] else None
            paid = dense if missed is None else tuple(np.sum(missed, axis=0).tolist())
            assert charged(catch_up, [client], dense) == [tuple(paid)], (number, client)
            last[client] = number + 1


def test_who_does_not_receive_the_broadcast_stays_behind():
    catch_up = CatchUp()
    catch_up.charge([1, 2], DENSE)
    catch_up.said(Nbytes(10, 4), DENSE)
    assert charged(catch_up, [1, 2], received=np.array([True, False])) == [(10, 4), (10, 4)]
    catch_up.said(Nbytes(7, 3), DENSE)
    assert charged(catch_up, [1, 2]) == [(7, 3), (17, 7)]


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9), st.sets(st.integers(0, 5))), max_size=12),
    st.integers(0, 12),
)
def test_catching_up_survives_a_checkpoint_between_any_two_rounds(rounds, stop):
    straight, resumed = CatchUp(), CatchUp()
    for number, (payload, header, audience) in enumerate(rounds):
        if number == stop:
            state = resumed.state()
            resumed = CatchUp()
            resumed.restore(state)
        for one in (straight, resumed):
            one.said(Nbytes(payload, header), DENSE)
        ids = sorted(audience)
        assert charged(straight, ids) == charged(resumed, ids)


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ({"news": np.zeros((3, 2), np.int64), "forgotten": np.zeros(1, np.int64)}, "heard is missing"),
        # Payloads alone, as they were counted once.
        ({"said": np.zeros(1, np.int64), "heard": np.zeros((3, 2), np.int64)}, "news is missing"),
        ({"news": np.zeros(3, np.int64)}, r"news has shape \(3,\)"),
    ],
)
def test_a_damaged_catch_up_is_refused(state, problem):
    with pytest.raises(CheckpointError, match=f"{problem}.*use an older checkpoint"):
        CatchUp().restore(state)
