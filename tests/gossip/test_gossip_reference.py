"""Gossip of whole models is, iterate by iterate, what an independent transcription computes; wrong versions are not."""

import pytest
from reference_cases import EXACT, TRIALS, WRONG, Trial, apart

from fedsparse.strategies.dpsgd import DPSGD
from tests.reference import d_psgd

EVERYWHERE = pytest.mark.parametrize("trial", TRIALS.values(), ids=TRIALS)
LOCAL = {"lr": 0.05, "steps": 3}


@EVERYWHERE
@pytest.mark.parametrize("order", ["atc", "cta"])
def test_every_iterate_of_d_psgd_is_the_references(trial: Trial, order: str):
    theirs = d_psgd(
        trial.gradient(steps=3), trial.x, trial.W, trial.rounds, order=order, lost=trial.lost(), **LOCAL
    )
    assert apart(trial.of(DPSGD(order=order, **LOCAL)), theirs) < EXACT
