"""From the words of the command to a :class:`Tuning`: which methods are tried with what, and how they are judged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fedsparse.config import RunConfig, values_of
from fedsparse.config.resolve import keys
from fedsparse.config.specs import of_dataclass
from fedsparse.errors import ConfigError
from fedsparse.options import option, validate
from fedsparse.tuning.grid import Method, method, refuse_task
from fedsparse.words import listed, there_are

__all__ = ["OPTIONS", "Options", "Tuning", "asked"]

METRICS = ("validation_accuracy", "validation_loss")
"""What there is to judge by where examples are held back."""


@dataclass(frozen=True)
class Options:
    """The keys that only this command has; ``seed`` may have several values here."""

    seed: tuple[int, ...] = option((0, 1, 2), "seeds that each setting is tried with")
    report_seed: tuple[int, ...] = option(
        (100, 101, 102), "seeds of the runs with the chosen values, none of which may be among seed"
    )
    select: str = option(
        "final",
        "what a setting is judged by: the metric at the end, its best value, or the bytes until it is target",
        choices=("final", "best", "bytes_to_target"),
    )
    metric: str | None = option(
        None, "the metric that is judged; by default validation_accuracy, without classes validation_loss"
    )
    budget: str = option(
        "equal", "whether all methods must have the same number of trials", choices=("equal", "any")
    )

    def __post_init__(self) -> None:
        validate(self)


OPTIONS = {
    spec.name: replace(spec, allowed="0,1,2 or range(0,3)") if spec.name.endswith("seed") else spec
    for spec in of_dataclass(Options)
}
"""The keys of :class:`Options`."""

_FOLDER = ("name", "runs", "resume")
"""Keys that say where the tuning takes place, see :mod:`fedsparse.tune`."""


@dataclass(frozen=True)
class Tuning:
    """What is to be done.

    Attributes:
        methods: in the order in which they were given.
        options: seeds and criterion.
    """

    methods: Sequence[Method]
    options: Options

    @property
    def runs(self) -> int:
        """How many there are: trials, and those with the chosen values."""
        trials = sum(len(method.settings) for method in self.methods) * len(self.options.seed)
        return trials + len(self.methods) * len(self.options.report_seed)

    @property
    def task(self) -> RunConfig:
        """A configuration with the task that all trials have."""
        return self.methods[0].settings[0].config


@dataclass
class _Words:
    """The words, by what they are about."""

    options: dict[str, Any] = field(default_factory=dict)
    methods: list[str] = field(default_factory=list)
    common: list[str] = field(default_factory=list)
    own: dict[str, list[str]] = field(default_factory=dict)


def asked(words: Iterable[str]) -> Tuning:
    """The tuning that ``key=value,value`` and ``METHOD:key=value,value`` stand for.

    Args:
        words: as typed; those about the folder count for nothing.

    Raises:
        ConfigError: an unknown key, a value that cannot be, unequal budgets, a criterion without what it needs.
    """
    found = _sorted(words)
    if not found.methods:
        raise ConfigError("which methods? give strategy=NAME,NAME,...")
    for name, pairs in found.own.items():
        if name not in found.methods:
            raise ConfigError(f"{name}:{pairs[0]}: '{name}' is no method{there_are(name, found.methods)}")
    made = Tuning(_methods(found), Options(**found.options))
    _check_methods(made)
    _check_seeds(made.options)
    _check_criterion(made)
    return made


def _sorted(words: Iterable[str]) -> _Words:
    found = _Words()
    for word in words:
        typed, equals, value = word.partition("=")
        name, colon, key = typed.rpartition(":")
        first = key.partition(".")[0]
        if equals and first not in (*OPTIONS, *keys()):
            raise ConfigError(f"{word}: there is no key '{first}'{there_are(first, [*OPTIONS, *keys()])}")
        if colon:
            refuse_task(key, word)
            found.own.setdefault(name, []).append(f"{key}={value}")
        elif key in OPTIONS:
            found.options[key] = OPTIONS[key].read(_seeds(key, value) if key.endswith("seed") else value)
        elif key == "strategy":
            found.methods = values_of(word)
        elif key not in _FOLDER:
            found.common.append(word)
    return found


def _seeds(key: str, text: str) -> list[int]:
    seeds = []
    for value in values_of(f"seed={text}"):
        if not value.isdecimal():
            raise ConfigError(f"{key}={value}: must be a whole number of at least 0")
        seeds.append(replace(RunConfig(), seed=int(value)).seed)
    return seeds


def _methods(found: _Words) -> list[Method]:
    made, refused = [], []
    for name in found.methods:
        try:
            made.append(method(name, [*found.common, *found.own.get(name, [])]))
        except ConfigError as error:
            refused.append(error)
    if refused:
        raise ConfigError(f"{refused[0]}{_hint(str(refused[0]), found.common, made)}")
    return made


def _hint(refusal: str, common: Sequence[str], able: Sequence[Method]) -> str:
    """How to write what only some methods can have."""
    meant = [word for word in common if refusal.startswith(word.partition("=")[0] + "=")]
    return f"; for one method alone write {able[0].name}:{meant[0]}" if meant and able else ""


def _check_methods(made: Tuning) -> None:
    slugs = [m.slug for m in made.methods]
    for m in made.methods:
        if slugs.count(m.slug) > 1:
            raise ConfigError(f"strategy={m.name}: is there twice; leave one out")
    budgets = {m.name: len(m.settings) for m in made.methods}
    if max(budgets.values()) == 1:
        raise ConfigError("there is nothing to choose; give several values, as in strategy.lr=0.05,0.1,0.2")
    if made.options.budget == "equal" and len(set(budgets.values())) > 1:
        counted = listed([f"{name} {count}" for name, count in budgets.items()])
        raise ConfigError(
            f"budget=equal: methods have different numbers of trials ({counted}), and more trials find better values; "
            "give them as many, or accept it with budget=any"
        )


def _check_seeds(options: Options) -> None:
    for key in ("seed", "report_seed"):
        seeds = getattr(options, key)
        if len(set(seeds)) < len(seeds):
            raise ConfigError(f"{key}={listed([str(s) for s in seeds])}: a seed is there twice")
    both = sorted(set(options.seed) & set(options.report_seed))
    if both:
        raise ConfigError(
            f"report_seed={both[0]}: is among the seeds that values are chosen with, and would favour them; give others"
        )


def _check_criterion(made: Tuning) -> None:
    select, metric = made.options.select, made.options.metric
    if select == "bytes_to_target" and made.task.target is None:
        raise ConfigError("select=bytes_to_target: needs a target, as in target=0.9")
    if made.task.validation and metric is not None and metric not in METRICS:
        raise ConfigError(f"metric={metric}: is not of the validation part{there_are(metric, METRICS)}")
