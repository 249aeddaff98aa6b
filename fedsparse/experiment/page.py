"""The report of an experiment: ``fedsparse.report`` on its runs, with the experiment's own names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fedsparse.experiment.arms import Arm
from fedsparse.experiment.form import Experiment
from fedsparse.report.asked import Asked
from fedsparse.report.comparison import Comparison
from fedsparse.report.write import put_together, write

__all__ = ["figure", "pages"]


def pages(experiment: Experiment, arms: Sequence[Arm], folder: Path) -> list[Path]:
    """Writes a page for each panel; gives them."""
    found = []
    for panel in experiment.panels:
        own = [arm for arm in arms if arm.panel == panel]
        asked = _asked(experiment, folder / (own[0].slug.split("/")[0] if panel.label else ""))
        write(_comparison(own, asked), asked)
        found.append(asked.out / "index.html")
    return found


def figure(experiment: Experiment, arms: Sequence[Arm], stem: Path) -> list[Path]:
    """Writes the metric against the experiment's cost as ``STEM.svg``, one for each panel; gives them."""
    from fedsparse.report.figures import figures, save

    found = []
    for panel in experiment.panels:
        own = [arm for arm in arms if arm.panel == panel]
        comparison = _comparison(own, _asked(experiment, stem.parent))
        name = f"{stem.name}-{own[0].slug.split('/')[0]}" if panel.label else stem.name
        for title, drawn in figures(comparison):
            if title == f"{experiment.metric}-{experiment.against}":
                found.append(stem.with_name(f"{name}.svg"))
                save(drawn, found[-1])
    return found


def _asked(experiment: Experiment, out: Path) -> Asked:
    target = experiment.targets[0] + experiment.less if experiment.targets else None
    return Asked([], metric=experiment.metric, axis=experiment.against, target=target, out=out)


def _comparison(arms: Sequence[Arm], asked: Asked) -> Comparison:
    labels = {work.path: arm.method.label for arm in arms for work in arm.works}
    made = put_together([run for arm in arms for run in arm.runs], [], asked)
    return replace(made, groups=[replace(each, label=labels[each.runs[0].path]) for each in made.groups])
