"""Phases of a round: which there are, whom they are for, and what is heard in them."""

from functools import partial

import pytest
import torch
from server_cases import Log, Pieces, Pulls, column

from fedsparse.engine.faults import Faults
from fedsparse.errors import ProtocolError
from fedsparse.message import Dense
from fedsparse.protocol import Context, State
from fedsparse.schedule import Linear
from fedsparse.simulation import simulate
from fedsparse.wire import SERVER, Envelope, encode_message

PULLS = Pulls()
LOSSY = Faults(uplink_loss=0.5, downlink_loss=0.5)


def by_phase(**audiences: str):
    """The audience of each phase."""
    return lambda ctx: audiences[ctx.phase]


def named(server: State, ctx: Context):
    """A broadcast that is named after its phase."""
    return {ctx.phase: Dense(server["x"][None] + ctx.round)}


def reply(client, heard, task, ctx):
    """A zero gradient."""
    return client, {"g": Dense(torch.zeros(len(ctx.ids), 4, dtype=torch.float64))}


def test_phases_may_depend_on_the_round():
    log = Log()
    strategy = Pieces(log=log, phase_names=lambda ctx: ("vote", "train") if ctx.round % 2 else ("train",))
    simulate(strategy, PULLS, rounds=3)
    assert [entry[:2] for entry in log.of("broadcast")] == [
        (0, "train"),
        (1, "vote"),
        (1, "train"),
        (2, "train"),
    ]


def test_a_round_without_phases_is_skipped():
    result = simulate(Pieces(phase_names=lambda _: ()), PULLS, rounds=1)
    assert result.history[0].skipped
    assert result.history[0].cohort == 0


@pytest.mark.parametrize("phases", ["train", ("mix", "mix"), ["train"], (1,), ("",)])
def test_phases_that_are_not_distinct_names_in_a_tuple_are_refused(phases):
    with pytest.raises(ProtocolError, match=r"Pieces: phases gave"):
        simulate(Pieces(phase_names=lambda _: phases), PULLS, rounds=1)


def test_an_unknown_audience_is_refused():
    with pytest.raises(
        ProtocolError, match=r"Pieces: audience gave 'some'; there are 'new', 'cohort', 'all'"
    ):
        simulate(Pieces(who=lambda _: "some"), PULLS, rounds=1)


def test_a_broadcast_is_made_once_for_the_whole_audience():
    log = Log()
    simulate(Pieces(log=log), PULLS, rounds=1, block=2)
    assert log.of("broadcast") == [(0, "train", list(range(6)))]
    assert [ids for _, _, ids, _ in log.of("client")] == [[0, 1], [2, 3], [4, 5]]


# ---- all


def test_a_phase_for_all_reaches_every_client_whatever_is_lost():
    faults = Faults(uplink_loss=0.5, downlink_loss=0.5, dropout=0.5)
    log = Log()
    result = simulate(Pieces(log=log, who=lambda _: "all"), PULLS, rounds=3, cohort=2, faults=faults)
    assert [senders for _, _, senders in log.of("aggregate")] == [list(range(6))] * 3
    assert [(r.cohort, r.accepted) for r in result.history] == [(6, 6)] * 3


def test_each_attempt_of_a_phase_for_all_is_charged():
    strategy = Pieces(who=lambda _: "all")
    [perfect] = simulate(strategy, PULLS, rounds=1).history
    [lossy] = simulate(strategy, PULLS, rounds=1, faults=LOSSY).history
    for direction in ("up", "down"):
        messages, lost = lossy.traffic[f"{direction}_messages"], lossy.traffic[f"{direction}_lost"]
        assert messages == 6 + lost > 6
        for kind in ("payload", "header", "dense"):
            name = f"{direction}_{kind}_bytes"
            assert lossy.traffic[name] * 6 == perfect.traffic[name] * messages


def test_a_client_that_cannot_be_reached_ends_a_phase_for_all():
    with pytest.raises(
        ProtocolError, match=r"Pieces: phase 'train' needs every client.*lower faults.uplink_loss"
    ):
        simulate(Pieces(who=lambda _: "all"), PULLS, rounds=1, faults=Faults(uplink_loss=1.0))


# ---- new


def test_new_clients_are_those_whose_message_was_never_accepted():
    log, faults = Log(), Faults(uplink_loss=0.6)
    strategy = Pieces(
        log=log, phase_names=lambda _: ("greet", "train"), who=by_phase(greet="new", train="cohort")
    )
    simulate(strategy, PULLS, rounds=8, faults=faults)
    seen: set[int] = set()
    asked = {r: ids for r, phase, ids in log.of("broadcast") if phase == "greet"}
    accepted = {(r, phase): ids for r, phase, ids in log.of("aggregate")}
    for r in range(8):
        assert asked.get(r, []) == sorted(set(range(6)) - seen)
        seen |= {*accepted.get((r, "greet"), []), *accepted.get((r, "train"), [])}


def test_a_phase_for_nobody_is_left_out_and_does_not_skip_the_round():
    log = Log()
    strategy = Pieces(
        log=log, phase_names=lambda _: ("greet", "train"), who=by_phase(greet="new", train="cohort")
    )
    result = simulate(strategy, PULLS, rounds=2)
    assert [entry[:2] for entry in log.of("broadcast")] == [(0, "greet"), (0, "train"), (1, "train")]
    assert not result.history[1].skipped


# ---- what is heard


def heard_in(log: Log, phase: str) -> dict[int, dict[str, float]]:
    """What each client heard in a phase of the last round: the first number of each value."""
    found = {}
    for _, now, ids, heard in log.of("client"):
        for row, client in enumerate(ids):
            if now == phase:
                found[client] = {
                    n: v[0 if len(v) == 1 else row].flatten()[0].item() for n, v in heard.items()
                }
    return found


def test_heard_gathers_over_the_phases_of_a_round():
    log = Log()
    simulate(Pieces(log=log, phase_names=lambda _: ("a", "b"), say=named, work=reply), PULLS, rounds=2)
    assert heard_in(log, "a")[3].keys() == {"a"}
    assert heard_in(log, "b")[3] == {"a": 1.0, "b": 1.0}


def test_a_value_for_a_narrower_audience_is_not_heard_by_a_wider_one():
    log = Log()
    who = by_phase(a="new", b="cohort", c="all", d="new")
    strategy = Pieces(log=log, phase_names=lambda _: ("a", "b", "c", "d"), who=who, say=named, work=reply)
    simulate(strategy, PULLS, rounds=1, faults=Faults(uplink_loss=0.5))
    assert heard_in(log, "b")[0].keys() == {"b"}
    assert heard_in(log, "c")[0].keys() == {"c"}
    strategy = Pieces(
        log=(late := Log()), phase_names=lambda _: ("c", "b", "a"), who=who, say=named, work=reply
    )
    simulate(strategy, PULLS, rounds=1, faults=Faults(uplink_loss=0.0))
    assert heard_in(late, "b")[0].keys() == {"b", "c"}


def own_number(server: State, ctx: Context):
    """Each client's own id, in the first phase; nothing of the kind in the second."""
    return {"id": column(ctx.ids)} if ctx.phase == "a" else {"x": Dense(server["x"][None])}


def test_each_client_hears_its_own_row_of_a_broadcast():
    log = Log()
    strategy = Pieces(log=log, phase_names=lambda _: ("a",), say=own_number, work=reply)
    simulate(strategy, PULLS, rounds=4, cohort=4, block=2, faults=Faults(downlink_loss=0.4))
    rows = [(ids, heard["id"]) for _, _, ids, heard in log.of("client")]
    assert all(heard.flatten().tolist() == ids for ids, heard in rows)


@pytest.mark.parametrize("second", ["cohort", "new"])
def test_rows_of_an_earlier_phase_stay_with_their_clients(second: str):
    log = Log()
    who = by_phase(a="all", b=second)
    strategy = Pieces(log=log, phase_names=lambda _: ("a", "b"), who=who, say=own_number, work=reply)
    # Nobody is new any more once a phase for all is over, unless that phase comes second.
    simulate(strategy, PULLS, rounds=2, cohort=3, block=2, faults=LOSSY)
    heard = [(ids, heard["id"]) for _, phase, ids, heard in log.of("client") if phase == "b"]
    assert all(own.flatten().tolist() == ids for ids, own in heard)
    assert bool(heard) == (second == "cohort")


def test_whoever_missed_an_earlier_broadcast_is_sent_it_with_the_next_one():
    phases = {"phase_names": lambda _: ("a", "b"), "say": named, "work": reply}
    [perfect] = simulate(Pieces(**phases), PULLS, rounds=1).history
    one = perfect.traffic["down_payload_bytes"] // 12
    [lossy] = simulate(Pieces(**phases), PULLS, rounds=1, faults=Faults(downlink_loss=0.5)).history
    lost = Faults(downlink_loss=0.5).lost("down", 0, 0, "a", 0, range(6))
    assert 0 < lost.sum() < 6
    assert lossy.traffic["down_payload_bytes"] == (12 + lost.sum()) * one
    assert lossy.traffic["down_messages"] == 12
    # Everybody is sent the first broadcast, and whoever lost it both values in the second message.
    value = Dense(torch.zeros(1, 4, dtype=torch.float64))
    alone, both = (
        len(encode_message(dict.fromkeys(names, value), 0, Envelope(0, 0, 0, SERVER)))
        for names in ("a", "ab")
    )
    assert lossy.down_bytes == (12 - lost.sum()) * alone + lost.sum() * both


def test_a_value_that_is_said_again_is_not_sent_twice_to_whoever_missed_it():
    two = partial(Pieces, phase_names=lambda _: ("a", "b"))
    [perfect] = simulate(two(), PULLS, rounds=1).history
    [lossy] = simulate(two(), PULLS, rounds=1, faults=Faults(downlink_loss=0.5)).history
    assert lossy.traffic["down_payload_bytes"] == perfect.traffic["down_payload_bytes"]


def test_where_nothing_is_said_nothing_is_lost_or_charged():
    strategy = Pieces(say=lambda *_: {}, work=reply)
    [record] = simulate(strategy, PULLS, rounds=1, faults=Faults(downlink_loss=1.0)).history
    assert record.accepted == 6
    assert record.traffic["down_messages"] == record.traffic["down_payload_bytes"] == 0


# ---- the context


def test_schedules_are_evaluated_at_the_round():
    strategy = Pieces(lr=Linear(0.5, 0.0))
    result = simulate(strategy, Pulls(clients=1, size=1), rounds=3, keep_models=True)
    assert [float(x) for x in result.models] == [0.5, 0.5 + 0.25 * 0.5, 0.625]


def test_shared_numbers_are_equal_for_server_and_clients_and_new_every_round():
    drawn: dict[str, list[float]] = {"server": [], "client": []}

    def say(server, ctx):
        drawn["server"].append(float(ctx.shared("coin").random()))
        return {"x": Dense(server["x"][None])}

    def work(client, heard, task, ctx):
        drawn["client"].append(float(ctx.shared("coin").random()))
        return client, {"g": Dense(task.grad(heard["x"]))}

    simulate(Pieces(say=say, work=work), PULLS, rounds=3, block=6)
    assert drawn["server"] == drawn["client"]
    assert len(set(drawn["server"])) == 3


def test_a_clients_own_numbers_depend_on_seed_round_phase_purpose_and_client_alone():
    def drawn(**options):
        found = {}

        def work(client, heard, task, ctx):
            for purpose in ("one", "two"):
                for client_id, row in zip(ctx.ids.tolist(), ctx.rng(purpose).uniform(3), strict=True):
                    found[ctx.round, ctx.phase, purpose, client_id] = tuple(row.tolist())
            return client, {"g": Dense(task.grad(heard["x"]))}

        simulate(Pieces(work=work, phase_names=lambda _: ("a", "b")), PULLS, rounds=2, **options)
        return found

    everybody, some = drawn(block=4), drawn(cohort=2, block=1)
    assert some.items() <= everybody.items()
    assert len(set(everybody.values())) == 2 * 2 * 2 * 6
    assert not set(drawn(seed=1).values()) & set(everybody.values())
