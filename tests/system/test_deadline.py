import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsparse.errors import ConfigError
from fedsparse.network import NEVER, Deadline, close


def closed(times, wanted, deadline_ns=None, ids=None):
    ids = np.arange(len(times)) if ids is None else np.array(ids)
    accepted, round_ns = close(np.array(times, dtype=np.int64), ids, wanted, deadline_ns)
    return accepted.tolist(), round_ns


def test_without_a_deadline_the_round_ends_with_the_slowest():
    assert closed([30, 10, 20], 3) == ([True, True, True], 30)


def test_with_over_selection_the_round_ends_with_the_last_one_wanted():
    assert closed([30, 10, 20], 2) == ([False, True, True], 20)


def test_of_messages_that_arrive_together_the_lowest_id_is_first():
    assert closed([10, 10, 10], 2, ids=[7, 9, 3]) == ([True, False, True], 10)


def test_the_deadline_ends_the_round_before_the_wanted_ones_are_there():
    assert closed([30, 10, 20], 3, deadline_ns=25) == ([False, True, True], 25)


def test_a_message_at_the_deadline_is_in_time():
    assert closed([25, 26], 2, deadline_ns=25) == ([True, False], 25)


def test_the_round_ends_before_its_deadline_when_all_wanted_are_there():
    assert closed([30, 10, 20], 2, deadline_ns=25) == ([False, True, True], 20)


def test_a_message_that_never_arrives_is_not_waited_for_without_a_deadline():
    assert closed([NEVER, 10], 2) == ([False, True], 10)


def test_a_message_that_never_arrives_is_waited_for_until_the_deadline():
    assert closed([NEVER, 10], 2, deadline_ns=50) == ([False, True], 50)


def test_a_round_in_which_nothing_arrives_takes_no_time_without_a_deadline():
    assert closed([NEVER, NEVER], 2) == ([False, False], 0)


def test_an_empty_round_takes_no_time():
    assert closed([], 0) == ([], 0)


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=8), st.integers(1, 8), st.integers(0, 5), st.randoms()
)
def test_the_order_of_the_clients_does_not_matter(times, wanted, deadline_ns, random):
    order = list(range(len(times)))
    random.shuffle(order)
    accepted, round_ns = closed(times, wanted, deadline_ns)
    shuffled, same_ns = closed([times[i] for i in order], wanted, deadline_ns, ids=order)
    assert (shuffled, same_ns) == ([accepted[i] for i in order], round_ns)


def test_over_selection_draws_more_but_never_more_than_there_are():
    policy = Deadline(over_select=0.3)
    assert (policy.drawn(10, 100), policy.drawn(5, 100), policy.drawn(90, 100)) == (13, 7, 100)


def test_a_deadline_is_in_virtual_seconds():
    times, ids = np.array([10, 2_000_000_000]), np.arange(2)
    assert Deadline(deadline=1.5).close(times, ids, 2).round_ns == 1_500_000_000


@pytest.mark.parametrize("settings", [{"deadline": 0.0}, {"deadline": -1.0}, {"over_select": -0.1}])
def test_an_absurd_deadline_is_refused(settings):
    with pytest.raises(ConfigError, match=f"{next(iter(settings))}="):
        Deadline(**settings)
