"""The dispatcher against a pool whose faults are exact."""

import pytest
from fake_pool import DIE, HANG, FakePool

from fedsparse.engine.dispatch import Dispatcher
from fedsparse.errors import ProtocolError, ResourceError, WorkerError, WorkerLost


class Office:
    """A dispatcher, and a book of what it told its caller."""

    def __init__(self, pool, **options):
        self.pool = pool
        self.notes, self.prepared, self.abandoned, self.reclaimed = [], [], [], []
        self.dispatcher = Dispatcher(pool, note=self.notes.append, clock=pool.clock, **options)

    def run(self, calls):
        return self.dispatcher.run({}, calls, self._prepare, self._abandon, self.reclaimed.append)

    def _prepare(self, call, attempt, near):
        self.prepared.append((call, attempt, near))
        return call, attempt

    def _abandon(self, sent, key):
        self.abandoned.append((*sent, key))


def at(faults, default=1.0):
    """``act`` of a pool: what is said of (number, attempt), or of the number, else one second."""
    return lambda number, attempt, seat: faults.get((number, attempt), faults.get(number, default))


def tens(count):
    return [10 * number for number in range(count)]


# --- a good day


@pytest.mark.parametrize("workers", [1, 2, 3, 20])
def test_results_are_in_the_order_of_the_calls(workers):
    slow_first = FakePool(workers, act=lambda number, attempt, seat: 10.0 - number)
    assert Office(slow_first).run(range(10)) == tens(10)


def test_no_calls_give_no_results():
    assert Office(FakePool(2)).run([]) == []


def test_each_worker_has_a_second_call_waiting_while_many_are_left():
    office = Office(FakePool(2))
    office.run(range(8))
    assert office.pool.log[:4] == [(0, 0, 0), (1, 1, 0), (0, 2, 0), (1, 3, 0)]


def test_the_last_calls_do_not_wait_behind_a_slow_one():
    office = Office(FakePool(2, act=at({0: 100.0})), first_deadline=1000)
    office.run(range(5))
    assert [number for seat, number, _ in office.pool.log if seat == 0] == [0, 2]
    assert office.pool.now == 101.0


def test_brief_calls_wait_at_the_workers_to_the_last():
    office = Office(FakePool(2, act=lambda number, attempt, seat: 0.01))
    office.run(range(4))
    assert [entry[0] for entry in office.pool.log] == [0, 1, 0, 1]
    office.pool.log.clear()
    sent = []
    office.pool.wait, wait = (
        (lambda timeout: sent.append(len(office.pool.log)) or wait(timeout)),
        office.pool.wait,
    )
    office.run(range(4))
    assert sent[0] == 4


def test_calls_go_to_the_workers_that_are_there_while_others_start():
    office = Office(FakePool(2, births=lambda seat, n: 50.0 if seat == 1 else 0.0))
    assert office.run(range(4)) == tens(4)
    assert {seat for seat, *_ in office.pool.log} == {0}


def test_what_is_sent_depends_on_whether_the_worker_is_near():
    office = Office(FakePool(2))
    office.run(range(2))
    assert office.prepared == [(0, 0, True), (1, 0, False)]


def test_what_all_calls_share_is_published_once():
    office = Office(FakePool(2))
    office.run(range(8))
    assert len(office.pool.published) == 1


# --- deaths


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_calls_of_a_dead_worker_are_run_again(workers):
    office = Office(FakePool(workers, act=at({(2, 0): DIE})))
    assert office.run(range(6)) == tens(6)
    assert office.dispatcher.lost == 1


def test_both_calls_in_flight_are_taken_back_and_come_next_in_order():
    office = Office(FakePool(1, act=at({(0, 0): DIE})))
    assert office.run(range(4)) == tens(4)
    assert office.pool.log == [(0, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (0, 2, 0), (0, 3, 0)]


def test_lost_attempts_are_abandoned_under_the_key_of_the_process():
    office = Office(FakePool(1, act=at({(0, 0): DIE})))
    office.run(range(4))
    assert office.abandoned == [(0, 0, "0.0"), (1, 0, "0.0")]


def test_slots_are_reclaimed_only_when_the_process_is_gone():
    office = Office(FakePool(1, act=at({(0, 0): DIE})))
    office.run(range(3))
    assert office.reclaimed == []
    office.run(range(3))
    assert office.reclaimed == ["0.0"]


def test_a_loss_is_noted_with_worker_reason_and_what_runs_again():
    office = Office(FakePool(1, act=at({("a", 0): DIE})))
    office.run(["a", "b", "c"])
    assert office.notes == ["lost worker 0.0: killed by the test; runs again: a, b"]


def test_others_go_on_while_a_replacement_starts():
    births = lambda seat, n: 0.0 if n == 0 else 100.0  # noqa: E731
    office = Office(FakePool(2, act=at({(0, 0): DIE}), births=births))
    assert office.run(range(6)) == tens(6)
    assert office.pool.now < 10


def test_a_run_waits_for_a_replacement_when_nobody_else_is_there():
    office = Office(FakePool(1, act=at({(0, 0): DIE}), births=lambda seat, n: 40.0 * n))
    assert office.run(range(2)) == tens(2)
    assert office.pool.now == 42.0


def test_a_worker_lost_between_two_runs_costs_nothing():
    office = Office(FakePool(2))
    office.run(range(4))
    office.pool._stillborn[1] = office.pool.now
    assert office.run(range(4)) == tens(4)
    assert office.dispatcher.lost == 1


# --- poison


def test_a_call_that_loses_three_workers_ends_the_run_and_is_named():
    office = Office(FakePool(3, act=at({4: DIE})))
    with pytest.raises(WorkerLost, match=r"4 has lost 3 workers .*killed by the test.*killed by the test"):
        office.run(range(6))
    assert office.dispatcher.lost == 3


def test_a_call_that_waited_behind_poison_is_not_blamed():
    office = Office(FakePool(1, act=at({(0, 0): DIE, (0, 1): DIE, (1, 2): DIE})))
    assert office.run(range(4)) == tens(4)


def test_a_given_up_run_abandons_everything_in_flight():
    office = Office(FakePool(3, act=at({0: DIE})), tries=1)
    with pytest.raises(WorkerLost):
        office.run(range(6))
    submitted = {(number, attempt) for _, number, attempt in office.pool.log}
    assert {(number, attempt) for number, attempt, _ in office.abandoned} == submitted


# --- silence


def test_a_silent_worker_is_killed_after_its_deadline_and_its_calls_run_again():
    office = Office(FakePool(2, act=at({(1, 0): HANG})), first_deadline=30)
    assert office.run(range(5)) == tens(5)
    assert 30 < office.pool.now < 35
    assert "silent for 30 s" in office.notes[0]


def test_the_clock_of_the_second_call_starts_when_the_first_ends():
    office = Office(FakePool(1, act=at({}, default=8.0)), first_deadline=10)
    assert office.run(range(4)) == tens(4)
    assert office.dispatcher.lost == 0


def test_after_the_first_run_the_deadline_follows_the_slowest_call():
    pool = FakePool(1, act=lambda number, attempt, seat: 25.0 if number == 9 else 3.0)
    office = Office(pool, least_deadline=20, deadline_factor=10)
    office.run(range(2))
    assert office.run([9]) == [90]
    assert office.dispatcher.lost == 0


def test_after_the_first_run_a_call_has_at_least_the_least_deadline():
    pool = FakePool(1, act=lambda number, attempt, seat: HANG if (number, attempt) == (9, 0) else 1.0)
    office = Office(pool, least_deadline=60, deadline_factor=10)
    office.run(range(2))
    began = pool.now
    office.run([9])
    assert 60 < pool.now - began < 65


def test_a_call_that_hangs_three_workers_is_poison():
    office = Office(FakePool(2, act=at({0: HANG})), first_deadline=5)
    with pytest.raises(WorkerLost, match="silent for 5 s"):
        office.run(range(3))


def test_a_worker_that_does_not_start_in_time_is_replaced():
    office = Office(FakePool(1, births=lambda seat, n: HANG if n == 0 else 0.0), first_deadline=30)
    assert office.run(range(2)) == tens(2)
    assert office.notes == [
        "lost worker 0 (starting): killed, silent for 30 s (its deadline); runs again: nothing"
    ]


# --- seats


def test_a_seat_that_loses_three_workers_in_a_row_is_given_up():
    births = lambda seat, n: DIE if seat == 1 else 0.0  # noqa: E731
    office = Office(FakePool(2, births=births))
    assert office.run(range(6)) == tens(6)
    assert office.dispatcher.lost == 3
    assert office.notes[-1] == "worker 1 is not replaced; 1 left"


def test_a_finished_call_makes_up_for_earlier_losses_of_the_seat():
    act = lambda number, attempt, seat: DIE if attempt == 0 else 1.0  # noqa: E731
    office = Office(FakePool(1, act=act))
    assert office.run(range(6)) == tens(6)
    assert office.dispatcher.lost > 3


def test_a_run_without_any_worker_left_ends_with_the_reason():
    office = Office(FakePool(2, births=lambda seat, n: DIE))
    with pytest.raises(
        WorkerLost, match=r"no worker is left and 4 calls are unfinished; .*killed by the test"
    ):
        office.run(range(4))


def test_a_seat_whose_machine_is_gone_is_given_up_at_once():
    births = lambda seat, n: False if (seat, n) == (1, 1) else 0.0  # noqa: E731
    office = Office(FakePool(2, act=at({(1, 0): DIE}), births=births))
    assert office.run(range(6)) == tens(6)
    assert office.dispatcher.lost == 1


# --- exceptions


def test_an_exception_ends_the_run_with_the_call_and_the_traceback_and_is_not_retried():
    office = Office(FakePool(2, act=at({3: ValueError("bad lr")})))
    with pytest.raises(WorkerError, match=r"^3 failed on a worker:\nTraceback(.|\n)*bad lr"):
        office.run(range(6))
    assert [attempt for _, number, attempt in office.pool.log if number == 3] == [0]


def test_an_error_of_ours_keeps_its_class():
    office = Office(FakePool(1, act=at({0: ProtocolError("'dx' has the wrong shape")})))
    with pytest.raises(ProtocolError, match=r"^0 failed: 'dx' has the wrong shape$"):
        office.run(range(1))


def test_a_worker_out_of_memory_says_what_to_lower():
    office = Office(FakePool(1, act=at({0: MemoryError()})))
    with pytest.raises(ResourceError, match="0 failed: out of memory; use smaller blocks"):
        office.run(range(1))


def test_an_interrupt_abandons_what_is_in_flight():
    office = Office(FakePool(1))
    office.pool._finish = lambda seat: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        office.run(range(4))
    assert office.abandoned == [(0, 0, "0.0"), (1, 0, "0.0")]
