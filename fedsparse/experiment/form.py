"""What an experiment is: one YAML file. How to write one is in ``experiments/README.md``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml  # type: ignore[import-untyped]

from fedsparse.errors import ConfigError
from fedsparse.experiment.trends import Trend
from fedsparse.words import listed, there_are

__all__ = ["VARIANTS", "Base", "Experiment", "Method", "Panel", "Tune", "read"]

VARIANTS = ("full", "quick")
"""The experiment as it is meant, and a short one that shows that everything runs."""

_T = TypeVar("_T")


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
        objective: ``"labels"``, or ``"words"``: to guess hidden words of texts, whose labels are not looked at.
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
        if self.objective not in ("labels", "words"):
            raise ConfigError(f"base: objective: {self.objective}: must be labels or words")


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

    def words(self, label: str) -> list[str]:
        """The grid of a method as the words of a sweep."""
        grid = {**self.grid, **self.own.get(label, {})}
        return [f"{key}={','.join(str(value) for value in values)}" for key, values in grid.items()]


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
        panels: circumstances; by default there are no others than the task.
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
    panels: Sequence[Panel] = (Panel(""),)
    tune: Tune | None = None
    words: Sequence[str] = ()
    base: Base | None = None

    @property
    def decisive(self) -> dict[str, Any]:
        """All that results depend on, as JSON holds it."""
        told = ("title", "claim", "source", "called", "expected", "against", "targets")
        found = {key: value for key, value in dataclasses.asdict(self).items() if key not in told}
        if self.base is None:
            del found["base"]
        return found


def read(path: Path, variant: str) -> Experiment:
    """The experiment of a file.

    Args:
        path: the YAML file.
        variant: one of :data:`VARIANTS`; what stands under ``quick`` counts before the rest.

    Raises:
        ConfigError: it cannot be read, a key is missing or unknown, or parts do not go together.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: must be a mapping with the keys of an experiment, such as title and task")
    quick = found.pop("quick", {}) or {}
    if variant == "quick":
        quick = {"expected": [], **quick}
        for key in ("tune", "base"):
            if key in quick and key in found:
                quick[key] = {**found[key], **quick[key]}
        found |= quick
    return _checked(_experiment(found, str(path)), str(path))


def _experiment(found: Mapping[str, Any], where: str) -> Experiment:
    made = dict(found)
    for key, kind in (("methods", Method), ("panels", Panel), ("expected", Trend)):
        if key in made:
            if not isinstance(made[key], list):
                raise ConfigError(f"{where}: {key}: must be a list")
            made[key] = [_made(kind, each, f"{where}: {key}") for each in made[key]]
    if made.get("tune") is not None:
        made["tune"] = _made(Tune, made["tune"], f"{where}: tune")
    if made.get("base") is not None:
        made["base"] = _made(Base, made["base"], f"{where}: base")
    return _made(Experiment, made, where)


def _made(kind: type[_T], values: Any, where: str) -> _T:
    """An object of a dataclass from a mapping."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: {values!r} must be a mapping")
    fields = {each.name: each for each in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise ConfigError(f"{where}: there is no key '{key}'{there_are(str(key), list(fields))}")
    missing = [
        name
        for name, each in fields.items()
        if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
    ]
    lacking = [name for name in missing if name not in values]
    if lacking:
        raise ConfigError(f"{where}: {listed(lacking)} must be given")
    return kind(**values)


def _checked(made: Experiment, where: str) -> Experiment:
    from fedsparse.report.axes import AXES

    labels, panels = [m.label for m in made.methods], [p.label for p in made.panels]
    for what, names in (("method", labels), ("panel", panels), ("seed", list(map(str, made.seeds)))):
        if len(set(names)) < len(names) or not names:
            raise ConfigError(
                f"{where}: each {what} must be there once, and there must be one: {listed(names)}"
            )
    if made.against not in AXES:
        raise ConfigError(f"{where}: against: {made.against}{there_are(made.against, list(AXES))}")
    for trend in made.expected:
        trend.check(labels, panels, where)
    for label in made.tune.own if made.tune else ():
        if label not in labels:
            raise ConfigError(f"{where}: tune: own: '{label}' is no method{there_are(label, labels)}")
    both = sorted(set(made.tune.seeds) & set(made.seeds)) if made.tune else []
    if both:
        raise ConfigError(
            f"{where}: seed {both[0]}: values are chosen with it, which would favour them; give others"
        )
    return made
