"""Every strategy that the registry finds keeps the protocol and its promise; a new file needs no entry here."""

import pytest

from fedsparse.registry import strategies
from fedsparse.testing import CHECKS, check_strategy

NAMES = strategies.names()


def trials():
    """The strategies; those whose trial has many rounds among the slow tests: their iterates are compared elsewhere."""
    for name in NAMES:
        long = sum(theory.rounds for theory in strategies.get(name).theories()) > 300
        yield pytest.param(name, marks=pytest.mark.slow if long else ())


@pytest.mark.parametrize("name", NAMES)
def test_strategy_keeps_the_protocol(name):
    check_strategy(name, only=[check for check in CHECKS if check != "theory"]).require()


@pytest.mark.parametrize("name", list(trials()))
def test_strategy_keeps_its_promise(name):
    check_strategy(name, only=["theory"]).require()
