"""All checks of a strategy, in their order, and which of them build on which."""

from __future__ import annotations

from collections.abc import Callable, Collection

from fedsparse.errors import ConfigError, FedSparseError
from fedsparse.protocol import Strategy
from fedsparse.registry import strategies
from fedsparse.testing.communication import check_communication
from fedsparse.testing.form import check_dataclass, check_documented, check_options
from fedsparse.testing.moves import check_loss, check_zero_gradient
from fedsparse.testing.pure import check_pure, check_randomness
from fedsparse.testing.randomness import kept
from fedsparse.testing.report import Finding, Report, skipped
from fedsparse.testing.same import check_blocks, check_permutation, check_resume
from fedsparse.testing.stable import check_stable
from fedsparse.testing.theory import check_theory
from fedsparse.testing.wire import check_wire
from fedsparse.words import there_are

__all__ = ["CHECKS", "check_strategy"]

CHECKS: dict[str, tuple[Callable[[Strategy], Finding], tuple[str, ...]]] = {
    "dataclass": (check_dataclass, ()),
    "documented": (check_documented, ()),
    "options": (check_options, ("dataclass",)),
    "stable": (check_stable, ("dataclass",)),
    "randomness": (check_randomness, ("stable",)),
    "pure": (check_pure, ("randomness",)),
    "blocks": (check_blocks, ("pure",)),
    "resume": (check_resume, ("pure",)),
    "wire": (check_wire, ("pure",)),
    "zero_gradient": (check_zero_gradient, ("stable",)),
    "permutation": (check_permutation, ("pure",)),
    "loss": (check_loss, ("pure",)),
    "communication": (check_communication, ("stable",)),
    "theory": (check_theory, ("stable",)),
}
"""Each check by name, and the checks without which its findings would mean nothing."""


def check_strategy(strategy: Strategy | type[Strategy] | str, only: Collection[str] = ()) -> Report:
    """Holds a strategy against the protocol.

    Args:
        strategy: an object; or a class, which is checked with its defaults; or a name, ``package.module:Class`` or
            ``path/to/file.py``, as on the command line.
        only: names of :data:`CHECKS`; all of them by default.

    Returns:
        one finding for each check; :meth:`~fedsparse.testing.Report.require` raises where one failed.

    Raises:
        ConfigError: there is no such strategy or check, or the class cannot be made without arguments.
    """
    made = _made(strategy)
    for name in only:
        if name not in CHECKS:
            raise ConfigError(f"check '{name}': no such check{there_are(name, CHECKS)}")
    findings: list[Finding] = []
    causes: dict[str, str] = {}
    for name, (check, needs) in CHECKS.items():
        if only and name not in only:
            continue
        cause = next((causes[need] for need in needs if need in causes), None)
        found = (
            _run(name, check, made) if cause is None else skipped(name, f"not run, because '{cause}' failed")
        )
        findings.append(found)
        if cause is not None or not found.passed:
            causes[name] = cause or name
    return Report(type(made).__name__, tuple(findings))


def _made(strategy: Strategy | type[Strategy] | str) -> Strategy:
    if isinstance(strategy, Strategy):
        return strategy
    cls = strategies.get(strategy) if isinstance(strategy, str) else strategy
    try:
        made = cls()
    except TypeError as error:
        raise ConfigError(
            f"{cls.__name__} cannot be made without arguments ({error}); check an object instead"
        ) from error
    if not isinstance(made, Strategy):
        raise ConfigError(f"{cls.__name__} is not a strategy; derive it from fedsparse.protocol.Strategy")
    return made


def _run(name: str, check: Callable[[Strategy], Finding], strategy: Strategy) -> Finding:
    try:
        with kept():
            return check(strategy)
    except FedSparseError as error:
        # A worker's error ends with its traceback, of which the last line is the error itself.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return Finding(
            name, "failed", " ".join(dict.fromkeys((lines[0], lines[-1]))) if lines else type(error).__name__
        )
    except Exception as error:  # noqa: BLE001 - a strategy may do anything
        return Finding(name, "failed", f"{type(error).__name__}: {' '.join(str(error).split())}")
