"""The protocol carries MASHA: complete synchronisations at random times, and vectors that all devices derive from what
they heard. The numbers are those of 10 % top-k, τ = 0.9 and the coins of generator 9 on the reference's saddle point.
"""  # noqa: D205

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from fedsparse.compress import RandK, TopK
from fedsparse.data.affine import Affine
from fedsparse.engine.faults import Faults
from fedsparse.protocol import Context
from fedsparse.simulation import Result, simulate
from fedsparse.strategies.masha import Masha
from fedsparse.wire import ENVELOPE_BYTES
from tests.reference.toys import b_toy

TOY = b_toy()
SIZE, DENSE = 40, 40 * 8


@dataclass(frozen=True)
class Tossed(Masha):
    """MASHA with given coins."""

    coins: tuple[bool, ...] = ()

    def syncs(self, ctx: Context) -> bool:
        return self.coins[ctx.round - 1]


def play(rounds: int, cohort: int | None = None, faults: Faults | None = None, **given) -> Result:
    coins = tuple((np.random.default_rng(9).random(rounds) < 0.1).tolist())
    options = {"lr": 0.1, "sync": 0.1, "oracle": "full", "uplink": TopK(0.1), "coins": coins} | given
    problem = Affine(torch.from_numpy(TOY.H), torch.from_numpy(TOY.b))
    return simulate(
        Tossed(**options), problem, rounds=rounds, cohort=cohort, faults=faults, evaluate_every=rounds
    )


def test_the_coin_falls_78_times_in_1000_iterations():
    assert (np.random.default_rng(9).random(1000) < 0.1).sum() == 78


def test_an_iteration_sends_sparse_messages_up_and_a_synchronisation_dense_ones():
    found = play(60)
    busy = [r for r, record in enumerate(found.history) if record.traffic["up_messages"] == 20]
    quiet = [record for r, record in enumerate(found.history) if r not in busy]
    assert busy[0] == 0
    assert 1 < len(busy) < 15
    assert all(10 * 4 * 8 < record.traffic["up_payload_bytes"] <= 10 * (4 * 8 + 8) for record in quiet)
    assert all(found.history[r].traffic["up_payload_bytes"] > 10 * (SIZE + 4) * 8 for r in busy)


def test_a_synchronisation_costs_two_more_envelopes_and_a_dense_vector_each_way():
    """The coin is told by the phase in an envelope, which every message has."""
    alike = {"uplink": TopK(k=4), "downlink": TopK(k=4)}
    never, once = play(8, coins=(False,) * 8, **alike), play(8, coins=(False,) * 6 + (True, False), **alike)
    quiet, busy = never.history[7].traffic, once.history[7].traffic
    head = 3  # class and kind, and the length of the vector in one byte
    for direction in ("up", "down"):
        header, payload = (
            busy[f"{direction}_{name}"] - quiet[f"{direction}_{name}"]
            for name in ("header_bytes", "payload_bytes")
        )
        assert header >= 10 * ENVELOPE_BYTES
        assert payload == pytest.approx(10 * (DENSE + head), abs=10 * 8)  # indices of top-k differ in length


def test_an_absentee_pays_for_what_it_missed_and_at_most_for_all_that_is_held():
    """Held are z, zh, w and Fw, each of 40 values; what is missed are D's, and Fw by who was not there at the start."""
    quiet = (False,) * 200
    few = play(200, cohort=1, uplink=RandK(0.1), downlink=RandK(0.1), coins=quiet)
    every = play(2, uplink=RandK(0.1), downlink=RandK(0.1), coins=quiet)
    news = every.history[1].traffic["down_payload_bytes"] / 10
    paid = np.array([record.traffic["down_payload_bytes"] for record in few.history[1:]])
    held = 4 * (DENSE + 3)
    assert news < 60  # of D 4 values and 8 bytes of seed, the number, and two heads
    assert set(paid[paid < held] % news) == {0, (DENSE + 3) % news}
    assert paid.max() == held


@pytest.mark.slow
def test_lost_messages_do_not_stall_it_as_what_was_heard_commits_on_receipt():
    assert TOY.error(play(2000, faults=Faults(uplink_loss=0.05)).x.numpy()) < 1e-7


@pytest.mark.slow
def test_half_of_the_devices_suffice():
    assert TOY.error(play(1500, cohort=5).x.numpy()) < 1e-4
