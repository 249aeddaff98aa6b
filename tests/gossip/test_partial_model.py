"""Partial models: what has changed most since it was last sent goes first."""

import numpy as np
import pytest
import torch
from gossip_cases import (
    AWAY,
    RING,
    assert_any_blocks_and_wire,
    bowls,
    flat,
    rows,
    run,
    scattered,
    weights,
)  # fmt: skip

from fedsparse.strategies.dpsgd import DPSGD
from fedsparse.strategies.partial_model import PartialModel


def test_with_all_coordinates_it_is_dpsgd():
    same, problem = {"lr": 0.05, "steps": 3, "momentum": 0.5}, bowls(noise=0.5)
    whole = run(PartialModel(fraction=1.0, **same), problem)
    np.testing.assert_allclose(rows(whole), rows(run(DPSGD(**same), problem)), rtol=0, atol=1e-13)
    assert not rows(whole, "since").any()


def test_a_round_is_the_formula_with_the_largest_changes():
    problem, x = bowls(), scattered()
    change = -0.1 * problem.gradients(x).numpy()
    y = x.numpy() + change
    masks = np.zeros_like(y)
    np.put_along_axis(masks, np.argsort(-np.abs(change), axis=1)[:, :4], 1, axis=1)
    expected = y + np.einsum("ij,jk,ijk->ik", weights(RING), masks, y[None] - y[:, None])
    result = run(PartialModel(fraction=0.2), problem, rounds=1, starts=x)
    np.testing.assert_allclose(rows(result), expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(rows(result, "since"), np.where(masks == 1, 0, change), rtol=0, atol=1e-14)


def test_counting_what_mixing_changes_a_coordinate_that_was_never_sent_has_its_whole_change():
    """V = x_T - x_0 there: local changes and those by mixing telescope."""
    x = scattered()
    result = run(PartialModel(averaging=True), bowls(), rounds=2, starts=x)
    change, since = rows(result) - x.numpy(), rows(result, "since")
    never = np.isclose(since, change, rtol=0, atol=1e-13)
    assert (never.sum(1) >= 16).all()  # of 20, two were sent in each of two rounds
    without = run(PartialModel(averaging=False), bowls(), rounds=2, starts=x)
    assert (~np.isclose(rows(without, "since"), rows(without) - x.numpy(), rtol=0, atol=1e-13)).sum() > 64


def test_models_that_agree_stay_as_they_are_whatever_gets_lost():
    first = torch.linspace(-1, 1, 20, dtype=torch.float64)
    result = run(PartialModel(), flat(), rounds=20, starts=first.expand(16, -1), faults=AWAY)
    np.testing.assert_allclose(rows(result), first.expand(16, -1).numpy(), rtol=0, atol=1e-14)


@pytest.mark.parametrize("averaging", [False, True])
def test_same_bits_for_any_blocks_and_on_the_wire(averaging: bool):
    strategy = PartialModel(averaging=averaging)
    assert_any_blocks_and_wire(lambda **o: run(strategy, bowls(noise=0.1), rounds=3, faults=AWAY, **o))


def test_a_round_costs_the_chosen_values_and_their_indices():
    """At most 2 values of 8 bytes, 3 bytes of indices and 5 of heads and counts."""
    traffic = run(PartialModel(), bowls(), rounds=2).history[-1].traffic
    assert 2 * 16 * 16 < traffic["up_payload_bytes"] <= 2 * 16 * 24
