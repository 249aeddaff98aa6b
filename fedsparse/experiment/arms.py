"""A method on a panel, and its runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fedsparse.config import RunConfig
from fedsparse.experiment.form import Method, Panel
from fedsparse.experiment.works import Work
from fedsparse.report.course import Run
from fedsparse.report.reading import read_run
from fedsparse.tuning.fairness import Tuned

__all__ = ["Arm", "placed", "slug"]


@dataclass(frozen=True)
class Arm:
    """A method on a panel.

    Attributes:
        panel: where.
        method: which.
        config: with the chosen values; seed and folder are those of nobody.
        tuned: how they were chosen; ``None`` where they were not.
        warnings: what a reader should know about the choice.
        works: its runs, one for each seed.
    """

    panel: Panel
    method: Method
    config: RunConfig
    tuned: Tuned | None = None
    warnings: Sequence[str] = ()
    works: Sequence[Work] = ()

    @property
    def slug(self) -> str:
        """Its place in a folder."""
        return "/".join(part for part in (slug(self.panel.label), slug(self.method.label)) if part)

    @property
    def label(self) -> str:
        """What it is called where there are several panels."""
        return f"{self.panel.label}: {self.method.label}" if self.panel.label else self.method.label

    @property
    def runs(self) -> list[Run]:
        """Its runs, read."""
        return [read_run(work.path) for work in self.works]


def slug(text: str) -> str:
    """A text as a name of a folder."""
    return re.sub(r"[^\w.]+", "-", text).strip("-")


def placed(config: RunConfig, folder: Path, seed: int) -> RunConfig:
    """A configuration with its seed and its folder."""
    return replace(config, seed=seed, runs=str(folder), name=f"s{seed}")
