"""What clients hold of what they heard: it commits on receipt, a client's own state on acceptance."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import pytest
import torch
from server_cases import Log, Pieces, Pulls, column

from fedsparse.engine.faults import Faults
from fedsparse.engine.sampling import Sampler
from fedsparse.errors import ProtocolError
from fedsparse.message import Dense
from fedsparse.protocol import Context, Role, Start, State
from fedsparse.simulation import simulate

PULLS = Pulls(clients=5, size=40)


@dataclass(frozen=True)
class Counting(Pieces):
    """Everybody counts the broadcasts that it heard, in what it holds; and its updates, in its state."""

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        if role == "server":
            return {"x": start.x}
        return {"count": torch.zeros(1, 1, dtype=torch.float64)}

    def hear(self, held: State, said: State, ctx: Context) -> State:
        self.log.add("hear", ctx.round, ctx.phase, ctx.ids.tolist(), sorted(said))
        return {"count": held["count"] + 1}

    def client_update(self, client, heard, task, ctx):
        self.log.add("client", ctx.round, ctx.phase, ctx.ids.tolist(), dict(heard))
        zero = torch.zeros(len(ctx.ids), 40, dtype=torch.float64)
        return {"count": client["count"] + 1}, {"g": Dense(zero)}


@dataclass(frozen=True)
class CountingAlone(Counting):
    held: ClassVar[Literal["shared", "own"]] = "own"


def counts(log: Log) -> list[tuple[int, int, float]]:
    """(round, client, its count) of each time that a client worked."""
    return [
        (r, client, float(value))
        for r, _, ids, heard in log.of("client")
        for client, value in zip(ids, heard["count"].expand(len(ids), 1), strict=True)
    ]


def test_what_all_hold_is_heard_once_and_reaches_absentees_too():
    log = Log()
    simulate(Counting(log=log), PULLS, rounds=4, faults=Faults(downlink_loss=0.5))
    assert [ids for _, _, ids, _ in log.of("hear")] == [[-1]] * 4
    assert 0 < len(counts(log)) < 20
    assert all(count == r + 1 for r, _, count in counts(log))


def test_what_each_holds_counts_only_what_reached_it():
    log, faults = Log(), Faults(downlink_loss=0.5, uplink_loss=0.5)
    simulate(CountingAlone(log=log), PULLS, rounds=8, faults=faults, block=2)
    received = [~faults.lost("down", 0, r, "train", 0, range(5)) for r in range(8)]
    expected = [(r, c, float(sum(received[k][c] for k in range(r + 1)))) for r in range(8) for c in range(5)]
    assert counts(log) == [entry for entry in expected if received[entry[0]][entry[1]]]


@pytest.mark.parametrize("method", [Counting, CountingAlone])
def test_a_clients_state_commits_only_when_its_message_was_accepted(method: type[Counting]):
    faults = Faults(downlink_loss=0.3, uplink_loss=0.5)
    result = simulate(method(), PULLS, rounds=8, faults=faults)
    updates = sum(
        (
            ~faults.lost("down", 0, r, "train", 0, range(5)) & ~faults.lost("up", 0, r, "train", 0, range(5))
        ).astype(int)
        for r in range(8)
    )
    assert result.ids.tolist() == [c for c in range(5) if updates[c]]
    assert result.clients["count"].flatten().tolist() == [float(n) for n in updates if n]


@pytest.mark.parametrize("method", [Counting, CountingAlone])
def test_hear_gets_what_is_said_in_its_phase_only(method: type[Counting]):
    log = Log()
    strategy = method(
        log=log,
        phase_names=lambda _: ("a", "b"),
        say=lambda server, ctx: {ctx.phase: Dense(server["x"][None])},
    )
    simulate(strategy, PULLS, rounds=1)
    assert {(phase, *said) for _, phase, _, said in log.of("hear")} == {("a", "a"), ("b", "b")}


def test_a_client_works_with_what_it_holds():
    log = Log()
    simulate(Counting(log=log), PULLS, rounds=1)
    assert {key for *_, heard in log.of("client") for key in heard} == {"count"}


# ---- what it costs


def down_bytes(cohorts: list[list[int]], value: int) -> list[int]:
    """Payload bytes down of each round, where 8 ``value`` bytes and a little are said each time."""

    @dataclass(frozen=True)
    class Cohorts(Sampler):
        def draw(self, seed, number, population, count, sizes=None):
            import numpy as np

            return np.array(cohorts[number], dtype=np.int64)

    @dataclass(frozen=True)
    class Holding(Pieces):
        def init(self, role: Role, start: Start, ctx: Context) -> State:
            return {"x": start.x} if role == "server" else ({"z": start.x[None]} if role == "held" else {})

        def hear(self, held: State, said: State, ctx: Context) -> State:
            return held

        def client_update(self, client, heard, task, ctx):
            return {}, {"g": Dense(heard["z"].expand(len(ctx.ids), -1))}

    said = Dense(torch.ones(1, value, dtype=torch.float64))
    result = simulate(
        Holding(say=lambda *_: {"v": said}), PULLS, rounds=len(cohorts), cohort=1, sampler=Cohorts(), block=9
    )
    return [r.traffic["down_payload_bytes"] for r in result.history]


def test_whoever_heard_the_last_broadcast_pays_for_the_new_one():
    news = int(Dense(torch.ones(1, 3, dtype=torch.float64)).nbytes())
    assert down_bytes([[0], [0], [0]], value=3)[1:] == [news, news]


def test_an_absentee_pays_for_all_it_missed():
    news = int(Dense(torch.ones(1, 3, dtype=torch.float64)).nbytes())
    assert down_bytes([[0, 1], [0], [0], [0, 1]], value=3)[3] == news + 3 * news


def test_an_absentee_pays_at_most_for_what_is_held():
    news, held = (int(Dense(torch.ones(1, size, dtype=torch.float64)).nbytes()) for size in (15, 40))
    assert 3 * news > held
    assert down_bytes([[0, 1], [0], [0], [0, 1]], value=15)[3] == news + held


# ---- what is refused


def test_rows_for_each_client_cannot_go_into_what_all_hold():
    strategy = Counting(say=lambda _, ctx: {"id": column(ctx.ids)})
    with pytest.raises(
        ProtocolError, match=r"Counting: broadcast 'id' has a row for each client.*held = 'own'"
    ):
        simulate(strategy, PULLS, rounds=1)


@pytest.mark.parametrize(
    ("held", "problem"),
    [
        ({}, "lacks count"),
        ({"count": torch.zeros(1, 1), "y": torch.zeros(1, 1)}, "has y, unknown to init"),
        ({"count": torch.zeros(1, 2, dtype=torch.float64)}, r"'count' .*\(., 2\)"),
        ({"count": torch.zeros(1, 1)}, "'count' .*float32"),
        ({"count": 1.0}, "'count' is a float"),
    ],
)
@pytest.mark.parametrize("method", [Counting, CountingAlone])
def test_what_is_held_keeps_its_keys_shapes_and_dtypes(method: type[Counting], held, problem: str):
    @dataclass(frozen=True)
    class Wrong(method):
        def hear(self, _held, said, ctx):
            return {
                k: v.expand(len(ctx.ids), -1) if isinstance(v, torch.Tensor) else v for k, v in held.items()
            }

    with pytest.raises(ProtocolError, match=f"Wrong: what .*hold.* {problem}"):
        simulate(Wrong(), PULLS, rounds=1)


@pytest.mark.parametrize("method", [Counting, CountingAlone])
def test_first_values_of_what_is_held_have_a_leading_axis(method: type[Counting]):
    @dataclass(frozen=True)
    class Flat(method):
        def init(self, role: Role, start: Start, ctx: Context) -> State:
            return {"z": start.x} if role == "held" else super().init(role, start, ctx)

    with pytest.raises(ProtocolError, match=r"Flat: init\('held'\) gave 'z' of shape \(40,\)"):
        simulate(Flat(), PULLS, rounds=1)
