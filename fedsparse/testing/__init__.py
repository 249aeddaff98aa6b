"""The conformance kit: holds a strategy against the protocol, as ``python -m fedsparse.check strategy=mine`` does.

In a test of your own::

    def test_mine_keeps_the_protocol():
        check_strategy(Mine).require()
"""

from fedsparse.testing.communication import check_communication
from fedsparse.testing.form import check_dataclass, check_documented, check_options
from fedsparse.testing.kit import CHECKS, check_strategy
from fedsparse.testing.moves import check_loss, check_zero_gradient
from fedsparse.testing.pure import check_pure, check_randomness
from fedsparse.testing.report import ConformanceError, Finding, Report
from fedsparse.testing.same import check_blocks, check_permutation, check_resume
from fedsparse.testing.stable import check_stable
from fedsparse.testing.theory import check_theory
from fedsparse.testing.wire import check_wire

__all__ = [
    "CHECKS",
    "ConformanceError",
    "Finding",
    "Report",
    "check_blocks",
    "check_communication",
    "check_dataclass",
    "check_documented",
    "check_loss",
    "check_options",
    "check_permutation",
    "check_pure",
    "check_randomness",
    "check_resume",
    "check_stable",
    "check_strategy",
    "check_theory",
    "check_wire",
    "check_zero_gradient",
]
