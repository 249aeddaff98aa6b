"""Virtual seconds: what a phase takes, and who is too late."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from server_cases import Log, Pieces, Pulls

from fedsparse.engine.faults import Faults
from fedsparse.engine.local import LocalPool
from fedsparse.engine.recipes import AnalyticRecipe
from fedsparse.engine.sampling import Full, Uniform, Weighted
from fedsparse.engine.session import Place, Session
from fedsparse.errors import ConfigError
from fedsparse.network import Deadline, Network
from fedsparse.simulation import simulate
from fedsparse.testing.trial import Setting, opened

PULLS = Pulls(size=1000)
COUNT = {"n": torch.zeros(1, 1)}
SLOW = Network(up=1.0, down=2.0, latency=10.0, speed=100.0)
"""8 microseconds for a byte up, 4 down, 10 ms for each message, 10 ms for an example."""
SPREAD = Network(profile="lognormal", latency=100.0, latency_spread=1.0)


def seconds(record) -> float:
    """Of a round in which all clients do the same, over the network ``SLOW``."""
    traffic = record.traffic
    down = (traffic["down_payload_bytes"] + traffic["down_header_bytes"]) / traffic["down_messages"]
    up = (traffic["up_payload_bytes"] + traffic["up_header_bytes"]) / traffic["up_messages"]
    return 0.010 + down * 4e-6 + 0.010 + 0.010 + up * 8e-6


def test_without_a_network_nothing_takes_time():
    assert [r.virtual_s for r in simulate(Pieces(), PULLS, rounds=3).history] == [0.0] * 3


def test_a_round_takes_its_messages_latencies_and_examples():
    history = simulate(Pieces(), PULLS, rounds=2, network=SLOW).history
    assert history[0].virtual_s == pytest.approx(seconds(history[0]), rel=1e-12)
    assert history[1].virtual_s == pytest.approx(2 * history[0].virtual_s, rel=1e-12)


def test_the_phases_of_a_round_follow_one_another():
    [one] = simulate(Pieces(), PULLS, rounds=1, network=SLOW).history
    [two] = simulate(Pieces(phase_names=lambda _: ("a", "b")), PULLS, rounds=1, network=SLOW).history
    assert two.virtual_s == pytest.approx(2 * one.virtual_s, rel=1e-12)


def test_a_strategy_knows_the_time():
    now = []
    strategy = Pieces(step=lambda server, _, ctx: now.append(ctx.now) or server)
    history = simulate(strategy, PULLS, rounds=3, network=SLOW).history
    assert now == [0.0, history[0].virtual_s, history[1].virtual_s]


def test_a_round_lasts_until_its_last_message():
    history = simulate(Pieces(), PULLS, rounds=1, network=SPREAD).history
    latencies = SPREAD.links(0, range(6), 0).latency_ns
    assert history[0].virtual_s > 2e-9 * latencies.max()


def late_from(deadline: float) -> np.ndarray:
    """Whose two latencies alone take longer."""
    return 2e-9 * SPREAD.links(0, range(6), 0).latency_ns > deadline


def test_whoever_misses_the_deadline_is_late_and_the_round_ends():
    log = Log()
    result = simulate(Pieces(log=log), PULLS, rounds=2, network=SPREAD, deadline=Deadline(0.25))
    late = late_from(0.25)
    assert 0 < late.sum() < 6
    assert [r.late for r in result.history] == [late.sum()] * 2
    assert [r.virtual_s for r in result.history] == [0.25, 0.5]
    assert log.of("aggregate")[0][2] == np.flatnonzero(~late).tolist()


def test_the_state_of_a_late_client_stays():
    result = simulate(Pieces(state=COUNT), PULLS, rounds=2, network=SPREAD, deadline=Deadline(0.25))
    assert result.ids.tolist() == np.flatnonzero(~late_from(0.25)).tolist()


def test_a_late_message_was_sent_and_arrived():
    [record] = simulate(Pieces(), PULLS, rounds=1, network=SPREAD, deadline=Deadline(0.25)).history
    assert record.traffic["up_messages"] == 6
    assert record.traffic["up_lost"] == 0


def test_a_sampler_of_all_clients_waits_for_all_of_them():
    [record] = simulate(Pieces(), PULLS, rounds=1, sampler=Full()).history
    assert (record.cohort, record.accepted, record.late) == (6, 6, 0)


def test_a_sampler_of_all_clients_has_no_smaller_cohort():
    with pytest.raises(ConfigError, match=r"cohort=2: sampler=full draws all of clients=6; leave cohort out"):
        simulate(Pieces(), PULLS, rounds=1, cohort=2, sampler=Full())


@pytest.mark.parametrize(
    ("sampler", "sizes", "able"),
    [(Uniform(novel=0.4), None, [0, 1, 2, 3]), (Weighted(), [0, 1, 0, 1, 1, 1], [1, 3, 4, 5])],
)
@pytest.mark.parametrize(("cohort", "accepted"), [(None, 4), (3, 3)])
def test_no_more_are_drawn_than_can_take_part(sampler, sizes, able, cohort, accepted):
    log, deadline = Log(), Deadline(over_select=1.0)
    [record] = simulate(
        Pieces(log=log), Pulls(sizes=sizes), rounds=1, cohort=cohort, sampler=sampler, deadline=deadline
    ).history
    assert log.of("client")[0][2] == able
    assert (record.cohort, record.accepted) == (4, accepted)


def test_a_larger_cohort_than_can_take_part_is_refused_before_the_first_round():
    log = Log()
    with pytest.raises(
        ConfigError, match=r"cohort=5: with sampler\.novel=0\.4 only 4 of clients=6 can take part"
    ):
        simulate(Pieces(log=log), PULLS, rounds=1, cohort=5, sampler=Uniform(novel=0.4))
    assert log.calls == []


def test_a_larger_cohort_than_has_examples_is_refused_before_the_first_round(tmp_path):
    problem = Pulls(sizes=[0, 1, 0, 1, 1, 1])
    with opened(Pieces(), problem, Setting(cohort=5)) as session:
        plan = replace(session.engine.plan, sampler=Weighted())
    place = Place(None, tmp_path)
    with pytest.raises(ConfigError, match=r"cohort=5: with sampler=weighted .* only 4 of clients=6"):
        Session(plan, AnalyticRecipe(problem), {}, LocalPool(1), place, lambda _: None)


def test_with_more_clients_drawn_than_wanted_the_slowest_are_late():
    log, deadline = Log(), Deadline(over_select=0.5)
    strategy = Pieces(log=log, state=COUNT)
    result = simulate(strategy, PULLS, rounds=1, cohort=4, network=SPREAD, deadline=deadline)
    [record] = result.history
    assert (record.cohort, record.accepted, record.late) == (6, 4, 2)
    fastest = np.argsort(SPREAD.links(0, range(6), 0).latency_ns)[:4]
    assert log.of("aggregate")[0][2] == sorted(fastest.tolist()) == result.ids.tolist()


@pytest.mark.parametrize("fault", ["dropout", "uplink_loss", "downlink_loss"])
def test_the_server_waits_until_the_deadline_for_messages_that_do_not_come(fault: str):
    result = simulate(
        Pieces(), PULLS, rounds=2, network=SLOW, deadline=Deadline(3.0), faults=Faults(**{fault: 1.0})
    )
    assert [r.virtual_s for r in result.history] == [3.0, 6.0]


def test_a_phase_for_new_clients_waits_for_them_only():
    def who(ctx):
        return "new" if ctx.phase == "greet" else "cohort"

    strategy = Pieces(phase_names=lambda _: ("greet", "train"), who=who)
    history = simulate(
        strategy, Pulls(clients=4, size=1000), rounds=2, network=SLOW, deadline=Deadline(9.0)
    ).history
    assert history[1].virtual_s == pytest.approx(1.5 * history[0].virtual_s, rel=1e-12)
    drawn = simulate(strategy, PULLS, rounds=3, cohort=3, network=SLOW, deadline=Deadline(9.0)).history
    assert drawn[2].virtual_s < 1.0


def test_a_phase_for_all_has_all_the_time_it_needs():
    strategy = Pieces(who=lambda _: "all")
    [record] = simulate(
        strategy, PULLS, rounds=1, network=SPREAD, deadline=Deadline(0.25, over_select=1.0)
    ).history
    assert (record.accepted, record.late) == (6, 0)
    assert record.virtual_s > 0.25


def test_messages_that_are_sent_again_take_longer():
    strategy, faults = Pieces(who=lambda _: "all"), Faults(uplink_loss=0.5, downlink_loss=0.5)
    times = [
        simulate(strategy, PULLS, rounds=1, network=SLOW, faults=f).history[0].virtual_s
        for f in (None, faults)
    ]
    assert times[1] > 1.5 * times[0]
