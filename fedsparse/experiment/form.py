"""What an experiment is: one YAML file. How to write one is in ``experiments/README.md``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fedsparse.errors import ConfigError
from fedsparse.experiment.trends import Trend

__all__ = ["VARIANTS", "Base", "Experiment", "Method", "Panel", "Preparation", "Tune"]

VARIANTS = ("full", "quick")
"""The experiment as it is meant, and a short one that shows that everything runs."""


@dataclass(frozen=True)
class Base:
    """A model that is pre-trained before the runs, for adapters; the runs' clients hold what it was not trained on.

    Attributes:
        data: the data set by name.
        examples: of its training part; the others are left for the clients.
        model: by name.
        epochs: passes over the examples.
        lr: step size of AdamW.
        batch: examples of a minibatch.
        objective: ``"labels"``; or without a look at them ``"words"``, to guess hidden words of texts, or ``"turns"``,
            to guess by how many quarters images were turned.
        data_options: of the data set.
        options: of the model.

    Raises:
        ConfigError: there is no such objective.
    """

    data: str
    examples: int
    model: str
    epochs: int
    lr: float
    batch: int = 32
    objective: str = "labels"
    data_options: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.objective not in ("labels", "words", "turns"):
            raise ConfigError(f"base: objective: {self.objective}: must be labels, words or turns")


@dataclass(frozen=True)
class Panel:
    """Circumstances in which all methods are compared.

    Attributes:
        label: what they are called.
        words: what sets them apart, as for ``python -m fedsparse.run``.
    """

    label: str
    words: Sequence[str] = ()


@dataclass(frozen=True)
class Method:
    """What is compared.

    Attributes:
        label: what it is called.
        words: what sets it apart; they come after those of the task and of the panel.
        without: panels that it does not take part in, and why.
    """

    label: str
    words: Sequence[str]
    without: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Preparation:
    """A run that comes before the others, once for each seed.

    Attributes:
        name: ``model.base={name}`` begins the other runs with what the one with their seed ended with.
        words: all that it is made of, as for ``python -m fedsparse.run``.
    """

    name: str
    words: Sequence[str]


@dataclass(frozen=True)
class Tune:
    """How values are chosen, for each method and panel: all combinations, the best by the validation part.

    Attributes:
        grid: values by key, for all methods.
        own: further or other values of single methods, by label; all must have as many combinations.
        seeds: with which each is tried.
        validation: the share of the examples that is held back meanwhile.
        metric: what is judged; ``None``: the headline of the validation part.
        select: ``"final"`` or ``"best"``.
    """

    grid: Mapping[str, Sequence[Any]]
    seeds: Sequence[int]
    validation: float
    own: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)
    metric: str | None = None
    select: str = "final"

    def tried(self, label: str) -> dict[str, Sequence[Any]]:
        """The grid of a method."""
        return {**self.grid, **self.own.get(label, {})}

    def words(self, label: str) -> list[str]:
        """The grid of a method as the words of a sweep."""
        return [
            f"{key}={','.join(str(value) for value in values)}" for key, values in self.tried(label).items()
        ]


@dataclass(frozen=True)
class Experiment:
    """An experiment in one of its variants.

    Attributes:
        title: in one line.
        claim: what is expected, a sentence.
        source: who says so.
        task: words that all runs have, as for ``python -m fedsparse.run``.
        methods: in the order of tables.
        seeds: of the runs that are judged; none of them may be one that values were chosen with.
        metric: what is judged.
        expected: what must be seen for the claim to hold.
        less: is taken from the metric, as the least loss for a gap.
        called: what tables call the metric; by default its name.
        against: the cost that it is held against, an axis of ``fedsparse.report``.
        targets: values of the metric; tables say what it cost to reach them.
        columns: what else tables show, by heading: a metric, or a figure of ``summary.json`` (``scalars.kept.mean``).
        panels: circumstances; by default there are no others than the task.
        prepare: runs that come first, such as the training of a model that all begin with.
        tune: how values are chosen; ``None``: as they stand.
        words: come after all others, to make a variant short.
        base: what is pre-trained first; ``model.base`` and ``data=arrays`` of all runs are then its folder's.
    """

    title: str
    claim: str
    source: str
    task: Sequence[str]
    methods: Sequence[Method]
    seeds: Sequence[int]
    metric: str
    expected: Sequence[Trend] = ()
    less: float = 0.0
    called: str = ""
    against: str = "up_bytes"
    targets: Sequence[float] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    panels: Sequence[Panel] = (Panel(""),)
    prepare: Sequence[Preparation] = ()
    tune: Tune | None = None
    words: Sequence[str] = ()
    base: Base | None = None

    @property
    def decisive(self) -> dict[str, Any]:
        """All that results depend on, as JSON holds it."""
        told = ("title", "claim", "source", "called", "expected", "against", "targets", "columns")
        found = {key: value for key, value in dataclasses.asdict(self).items() if key not in told}
        if self.base is None:
            del found["base"]
        return found
