"""What the conformance kit finds: one finding a check, and all of them together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from fedsparse.errors import FedSparseError

__all__ = ["ConformanceError", "Finding", "Report", "passed", "skipped"]


class ConformanceError(FedSparseError):
    """A strategy does not keep a promise of the protocol; the text says which, where, and what to do."""


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        name: of the check.
        outcome: ``"skipped"`` where the check does not apply, or where one that it builds on has failed.
        explanation: one line.
        numbers: what was measured, by name.
    """

    name: str
    outcome: Literal["passed", "failed", "skipped"]
    explanation: str
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against the strategy."""
        return self.outcome != "failed"


@dataclass(frozen=True)
class Report:
    """The findings about one strategy, in the order of the checks."""

    strategy: str
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The checks that failed."""
        return tuple(f for f in self.findings if not f.passed)

    def __getitem__(self, name: str) -> Finding:
        return {f.name: f for f in self.findings}[name]

    def require(self) -> None:
        """Does nothing where the strategy passed.

        Raises:
            ConformanceError: lists what failed.
        """
        if self.failures:
            lines = [f"{f.name}: {f.explanation}" for f in self.failures]
            raise ConformanceError(
                f"{self.strategy} fails {len(lines)} of {len(self.findings)} checks: " + "; ".join(lines)
            )


def passed(name: str, explanation: str, **numbers: float) -> Finding:
    """The check was made and nothing was wrong."""
    return Finding(name, "passed", explanation, numbers)


def skipped(name: str, explanation: str) -> Finding:
    """The check does not apply; the explanation says why."""
    return Finding(name, "skipped", explanation)
