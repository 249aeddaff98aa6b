"""Strategies that move their masks: every iterate and every mask is that of a NumPy transcription."""

from math import cos, floor, pi

import numpy as np
import pytest
from sparse_cases import (
    ALWAYS,
    LR,
    ROUNDS,
    SHARES,
    SIZES,
    SLICES,
    START,
    STEPS,
    State,
    assert_same,
    averaged,
    gradient,
    iterates,
    local,
    magnitude,
    places,
    run,
    top,
)
from strategy_cases import Given

from fedsparse.engine.faults import Faults
from fedsparse.strategies.feddst import FedDST
from fedsparse.strategies.fedtiny import FedTiny
from fedsparse.strategies.lotteryfl import LotteryFL
from fedsparse.strategies.magnitude import Magnitude
from fedsparse.strategies.prunefl import PruneFL
from fedsparse.testing import check_strategy
from tests.reference.cohorts import sampled

STOP = 8
LOCAL = {"lr": LR, "steps": STEPS, "density": 0.5, "ratio": "uniform"}
MOVING = {**LOCAL, "every": 2, "stop": STOP, "share": 0.7}


def due(r: int) -> bool:
    return r % 2 == 0 and r <= STOP


def moves(r: int, count: int, share: float = 0.7) -> int:
    return floor(share * (1 + cos(pi * r / STOP)) / 2 * count)


def exchanged(x, mask, slope, where, count):
    """Mask after ``count`` weights of a layer grew and as many were pruned."""
    new = mask.copy()
    grow = [j for j in top(slope, places(where, mask, there=False), count) if slope[j]]
    prune = sorted(places(where, mask, there=True), key=lambda j: (abs(x[j]), j))[: len(grow)]
    new[grow], new[prune] = True, False
    return new


def fedtiny(blocks: int):
    """One block of layers at a time, the last first; clients send their a largest entries only."""

    def step(state: State, r: int) -> State:
        x, ends = averaged(state)
        mask = state.mask
        if due(r):
            turn = [SLICES] if blocks == 1 else [SLICES[:1], SLICES[1:]]
            for where in turn[-1 - (r // 2) % len(turn)]:
                count = moves(r, int(state.mask[where].sum()))
                slope = np.zeros_like(x)
                for i, p in enumerate(SHARES):
                    g = gradient(i, ends[i])
                    kept = top(g, places(where, state.mask, there=False), count)
                    slope[kept] += p * g[kept]
                mask = exchanged(x, mask, slope, where, count)
        return State(x * mask, mask)

    mask = magnitude([3, 3])
    return iterates(State(START * mask, mask), step)


@pytest.mark.parametrize("blocks", [1, 2, 5])
def test_fedtinys_pruning_is_the_transcription(blocks: int):
    """Two layers are two blocks at most."""
    assert_same(run(FedTiny(pool=1, blocks=blocks, **MOVING)), fedtiny(blocks))


def test_fedtiny_keeps_the_number_of_weights_of_every_layer_and_moves_them():
    masks = [run(FedTiny(pool=1, **{**MOVING, "stop": stop})).server["mask"].numpy() for stop in (1, STOP)]
    assert all(int(mask[where].sum()) == 3 for mask in masks for where in SLICES)
    assert not np.array_equal(*masks)


def test_fedtiny_without_its_modules_is_magnitude_pruning_to_the_bit():
    tiny, plain = run(FedTiny(pool=1, share=0.0, **LOCAL)), run(Magnitude(**LOCAL))
    assert all(one.equal(other) for one, other in zip(tiny.models, plain.models, strict=True))


def test_after_its_end_the_mask_stays():
    """The last move is in round 6: at 8 the cosine is zero."""
    rounds = [run(FedTiny(pool=1, **MOVING)).models[r] != 0 for r in range(6, ROUNDS)]
    assert all(support.equal(rounds[0]) for support in rounds)


def prunefl(state: State, r: int) -> State:
    """Springs have one position each, so that times are all equal."""
    x, ends = averaged(state)
    if not due(r):
        return State(x, state.mask)
    squares = sum(p * gradient(i, y) ** 2 for i, (p, y) in enumerate(zip(SHARES, ends, strict=True)))
    free = int(0.7 * (1 + cos(pi * r / STOP)) / 2 * 6)
    inside = list(np.flatnonzero(~ALWAYS))
    mask = ALWAYS.copy()
    mask[top(x, [j for j in inside if state.mask[j]], 6 - free)] = True
    mask[top(squares, [j for j in inside if not mask[j]], free)] = True
    return State(x * mask, mask)


def test_prunefl_is_the_transcription():
    mask = magnitude([3, 3])
    assert_same(run(PruneFL(**MOVING)), iterates(State(START * mask, mask), prunefl))


def test_prunefl_keeps_the_number_of_weights_over_all_layers():
    mask = run(PruneFL(**MOVING)).server["mask"].numpy()
    assert int((mask & ~ALWAYS).sum()) == 6


def feddst(layerwise: bool):
    def step(state: State, r: int) -> State:
        if not due(r):
            return State(averaged(state)[0], state.mask)
        total, weight = np.zeros_like(START), np.zeros_like(START)
        for i, p in enumerate(SHARES):
            y = local(i, state.x, state.mask, STEPS // 2)
            slope, own = gradient(i, y), state.mask
            for where in SLICES:
                own = exchanged(y, own, slope, where, moves(r, int(state.mask[where].sum())))
            y = local(i, y * own, own, STEPS - STEPS // 2)
            total += p * own * y
            weight += p * own
        x = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
        mask = ALWAYS.copy()
        held = [j for j in np.flatnonzero(~ALWAYS) if weight[j]]
        for where in SLICES if layerwise else [slice(0, len(x))]:
            here = [j for j in held if where.start <= j < where.stop]
            mask[top(x, here, int((state.mask & ~ALWAYS)[where].sum()))] = True
        return State(x * mask, mask)

    return step


@pytest.mark.parametrize("layerwise", [False, True])
def test_feddst_is_the_transcription(layerwise: bool):
    strategy = FedDST(layerwise=layerwise, **MOVING)
    # The first mask is drawn by the product; all that follows is the transcription's.
    mask = run(FedDST(**{**LOCAL, "share": 0.0})).server["mask"].numpy()
    assert_same(run(strategy), iterates(State(START * mask, mask), feddst(layerwise)))


def test_lotteryfl_is_the_transcription():
    """Springs have no accuracy, which counts as reached: all prune until half of the weights is left.

    Three of eight clients a round, so that their tickets differ.
    """
    tickets = [np.ones(len(START), dtype=bool) for _ in SIZES]
    x, found, cohorts = START, [], sampled(len(SIZES), 3, ROUNDS)
    for cohort in cohorts:
        total, weight = np.zeros_like(START), np.zeros_like(START)
        for i in sorted(cohort):
            p = SIZES[i] / SIZES[cohort].sum()
            y = x * tickets[i]
            if (tickets[i] & ~ALWAYS).sum() / (~ALWAYS).sum() > 0.5:
                pruned = []
                for where in SLICES:
                    there = places(where, tickets[i], there=True)
                    pruned += sorted(there, key=lambda j: abs(y[j]))[: int(0.3 * len(there))]
                tickets[i][pruned] = False
                y = START * tickets[i]
            y = local(i, y, tickets[i])
            total += p * tickets[i] * (y - x)
            weight += p * tickets[i]
        x = x + np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
        found.append(x)
    result = run(LotteryFL(lr=LR, steps=STEPS, density=0.5, share=0.3), sampler=Given(cohorts), cohort=3)
    assert_same(result, (found, ALWAYS))
    np.testing.assert_array_equal(result.clients["mask"].numpy(), np.stack(tickets)[result.ids])
    assert len({ticket.tobytes() for ticket in tickets}) > 1


def test_the_lotterys_server_knows_the_tickets_that_it_was_told():
    result = run(LotteryFL(lr=LR, steps=STEPS, density=0.5, share=0.3), faults=Faults(uplink_loss=0.3))
    assert result.server["tickets"][result.ids].equal(result.clients["mask"])


@pytest.mark.parametrize(
    "strategy",
    [FedTiny(pool=3, **MOVING), PruneFL(**MOVING), FedDST(**MOVING)],
    ids=lambda s: type(s).__name__,
)
def test_lost_messages_leave_clients_with_the_servers_mask(strategy):
    """What devices derive from what they heard is what the server has, whatever is lost; zeros stay zeros."""
    result = run(strategy, faults=Faults(uplink_loss=0.4, downlink_loss=0.4), cohort=3)
    mask = result.server["mask"]
    assert all((result.x[~mask]) == 0)
    assert all(int(mask[where].sum()) > 0 for where in SLICES)


@pytest.mark.parametrize(
    "strategy",
    [FedTiny(pool=3, **MOVING), PruneFL(**MOVING), FedDST(**MOVING), LotteryFL(density=0.5)],
    ids=lambda s: type(s).__name__,
)
def test_without_gradients_no_mask_moves(strategy):
    check_strategy(strategy, only=["stable", "zero_gradient"]).require()


def test_an_adjustment_sends_a_values_with_their_positions():
    """FedTiny in round 0: a = floor(0.7 * 3) = 2 of layer b: two values of eight bytes with positions of five bits.

    Up: 2 + 1 + 18 * 8 for the values, an empty payload of statistics, and head 2, size 1, count 1, coding 1, 16 of
    values, 2 of positions. Down, the mask of so small a model as a bitmap is shorter than what changed of it.
    """
    history = run(FedTiny(pool=1, **MOVING)).history
    statistics = 2 + 1
    plain = 2 + 1 + 18 * 8 + statistics
    assert history[1].traffic["up_payload_bytes"] == 8 * plain
    assert history[0].traffic["up_payload_bytes"] == 8 * (plain + 2 + 1 + 1 + 1 + 16 + 2)
    assert all(record.traffic["down_payload_bytes"] == 8 * (plain + 5 + 3) for record in history)
