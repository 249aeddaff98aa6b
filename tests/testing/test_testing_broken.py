"""Each way of breaking the protocol is found by the check that is there for it, and by no other."""

import pytest
from broken_communication import Synchronises
from broken_strategies import BROKEN
from sound import Sound

from fedsparse.testing import CHECKS, check_strategy


@pytest.mark.parametrize("broken", BROKEN, ids=lambda cls: cls.__name__)
def test_each_mistake_is_caught_by_its_own_check(broken):
    report = check_strategy(broken)
    assert [f.name for f in report.failures] == [broken.caught_by]


@pytest.mark.parametrize("sound", [Sound, Synchronises])
def test_the_strategies_that_they_are_made_from_pass(sound):
    check_strategy(sound).require()


def test_every_check_that_can_fail_has_a_mistake():
    # A row's commit is the engine's: no strategy can commit what was lost, see test_testing_checks.
    assert {cls.caught_by for cls in BROKEN} == set(CHECKS) - {"loss"}
