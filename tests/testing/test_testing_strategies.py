"""Every strategy that the registry finds keeps the protocol and its promise; a new file is checked without being listed."""

import pytest

from fedsparse.registry import strategies
from fedsparse.testing import CHECKS, check_strategy


@pytest.mark.parametrize("name", strategies.names())
def test_strategy_keeps_the_protocol(name):
    check_strategy(name, only=[check for check in CHECKS if check != "theory"]).require()


@pytest.mark.parametrize("name", strategies.names())
def test_strategy_keeps_its_promise(name):
    check_strategy(name, only=["theory"]).require()
