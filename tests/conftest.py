"""What holds for every test, and how tests are divided among processes."""

import os
import sys

import pytest
from hypothesis import HealthCheck, settings

# Ray reads these once in a process: all tests that start it must agree. Commands run by the tests of the documentation
# start Ray as a user does.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_worker_niceness", "0")

# Before NumPy and torch are imported: results are compared bit by bit.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

# Where readline is loaded, as by pytest, processes get a width of 80, and what the commands print depends on it.
os.environ.pop("COLUMNS", None)

# The same examples each time, however busy the machine is.
settings.register_profile(
    "fedsparse", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("fedsparse")

MOST = 8
"""Processes beyond which little is gained: each imports torch and collects all tests."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """``-n auto``: a process for each CPU; only this one where files or tests are named, so that they begin at once."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None  # then it is this number
    if all(argument.partition("::")[0].endswith(".py") for argument in config.args):
        return 0
    return min(MOST, len(os.sched_getaffinity(0)))


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that start Ray go to one process, one after the other, as two Rays would want the same CPUs.

    So do those that start Flower's processes: a deployment serves all tests of its module.
    """
    for item in items:
        for name in ("ray", "flower"):
            if item.get_closest_marker(name):
                item.add_marker(pytest.mark.xdist_group(name))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """What a test draws without a seed, such as the weights of a module, does not depend on the tests before it."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
