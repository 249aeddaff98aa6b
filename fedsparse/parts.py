"""From a configuration to the objects of a run: data, model, strategy, plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, cast

from fedsparse import config as configuration
from fedsparse import rng
from fedsparse.config import Choice, RunConfig
from fedsparse.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from fedsparse.data import Dataset, Divisible, Partition, Problem
    from fedsparse.engine.block import Workload
    from fedsparse.engine.plan import Plan
    from fedsparse.engine.suits import Settled
    from fedsparse.graphs import Matrices

__all__ = ["Parts", "build", "check_nothing_held_back", "loaded"]

_EVALUATIONS = 20
"""Evaluations of a run that does not say how often."""


@dataclass(frozen=True)
class Parts:
    """Everything that a run is made of.

    Attributes:
        config: with numbers for what was left to theory.
        settled: where those numbers come from, and notes.
    """

    config: RunConfig
    settled: Settled
    plan: Plan
    recipe: Callable[[Mapping[str, np.ndarray]], Workload]
    arrays: Mapping[str, np.ndarray]
    workload: Workload
    divided: bool


def build(config: RunConfig) -> Parts:
    """Every object of a run.

    Raises:
        ConfigError: they do not go together.
        DataError: a file is missing or damaged.
    """
    from fedsparse.cohort.calibration import Calibration
    from fedsparse.compress import Identity
    from fedsparse.engine.eligible import eligible_of
    from fedsparse.engine.plan import Plan
    from fedsparse.engine.recipes import SparseRecipe, for_driver
    from fedsparse.engine.session import check_compressors, default_block
    from fedsparse.engine.suits import check_calibration, check_cohort, check_optimum, check_topology
    from fedsparse.gossip import Gossip
    from fedsparse.network import Deadline

    found = _load(config)
    config, settled = _settled(config, found.data)
    made = {
        key: configuration.build(config, key)
        for key in ("strategy", "sampler", "aggregator", "downlink", "network")
    }
    recipe, arrays = _workload(config, found, isinstance(made["strategy"], Gossip))
    if (trainer := configuration.build(config, "trainer")) is not None:
        recipe = SparseRecipe(recipe, trainer, config.seed, config.rounds)
    workload = for_driver(recipe)(arrays)
    every = config.eval_every or max(1, config.rounds // _EVALUATIONS)
    rounds = config.rounds
    plan = Plan(
        strategy=made["strategy"],
        seed=config.seed,
        rounds=rounds,
        cohort=min(config.cohort, workload.clients),
        block=config.engine.options.get("block")
        or default_block(config.cohort, workload.client_bytes, config.device != "cpu"),
        sampler=made["sampler"],
        aggregator=made["aggregator"],
        downlink=made["downlink"] or Identity(),
        network=made["network"],
        deadline=Deadline(config.deadline, config.over_select),
        faults=configuration.build(config, "faults"),
        encode=config.wire == "encode",
        evaluate=lambda r: r % every == every - 1 or r == rounds - 1,
        run=rng.seed64(config.seed, "run"),
        matrices=_matrices(config, workload.clients),
        starts=_starts(config, found.data),
        judged=config.judged,
        calibration=Calibration(config.seed, config.calibration) if config.calibration else None,
    )
    check_topology(plan, config.strategy.name)
    if config.partition.name != "own":  # else nobody knows yet who has which examples
        check_cohort(plan, workload, config.strategy.name)
    check_compressors(plan, workload.start.x.numel())
    check_optimum(plan.strategy, config.strategy.name, workload, eligible_of(plan, workload))
    check_calibration(plan, workload)
    return Parts(config, settled, plan, recipe, arrays, workload, found.held is not None)


class _Found(NamedTuple):
    """What clients optimise, and who holds which examples where there are any."""

    data: Dataset | Problem
    held: Partition | None
    own_test: Partition | None = None


def _load(config: RunConfig) -> _Found:
    """The data set, divided, or the problem."""
    from fedsparse import data
    from fedsparse.data.chosen import chosen
    from fedsparse.data.partition import partition
    from fedsparse.data.personal import set_aside
    from fedsparse.data.validation import held_back

    found = loaded(config)
    dataset = found.dataset if isinstance(found, data.Divisible) else found
    if not isinstance(dataset, data.Dataset):
        return _Found(_accepted(dataset, config), None)
    if not isinstance(found, data.Divisible):
        dataset = chosen(dataset, config.examples, config.seed)
        dataset = held_back(dataset, config.validation, config.seed)
    held = partition(config.partition.name, dataset, config.clients, config.seed, **config.partition.options)
    if isinstance(found, data.Divisible):
        return _Found(_accepted(found.over(held, config.batch), config), held)
    if config.personal:
        return _Found(dataset, *set_aside(held, config.personal, config.seed))
    return _Found(dataset, held)


def _settled(config: RunConfig, found: Dataset | Problem) -> tuple[RunConfig, Settled]:
    """The configuration with a number for a step size from theory, and where it comes from."""
    from fedsparse.data import Dataset
    from fedsparse.engine.suits import settle

    strategy, name = configuration.build(config, "strategy"), config.strategy.name
    problem = None if isinstance(found, Dataset) else found
    able = configuration.build(config, "sampler").eligible(config.clients)
    settled = settle(strategy, name, problem, config.cohort, configuration.build(config, "downlink"), able)
    if settled.lr is None:
        return config, settled
    choice = Choice(name, {**config.strategy.options, "lr": settled.lr})
    return replace(config, strategy=choice), settled


def _workload(
    config: RunConfig, found: _Found, own_models: bool
) -> tuple[Callable[[Mapping[str, np.ndarray]], Workload], Mapping[str, np.ndarray]]:
    from fedsparse import data, models
    from fedsparse.cohort.examples import Examples
    from fedsparse.engine.recipes import AnalyticRecipe, supervised

    if not isinstance(found.data, data.Dataset):
        return AnalyticRecipe(found.data), {}
    model = models.build(
        config.model.name, found.data.example_shape, found.data.classes, config.seed, **config.model.options
    )
    held = cast("Partition", found.held)  # a data set is always divided
    examples = Examples.of(found.data, held, found.own_test)
    return supervised(examples, model, config.batch, config.device, own_models)


def _matrices(config: RunConfig, clients: int) -> Matrices | None:
    """Who hears whom; none where there is a server."""
    from fedsparse.graphs import Matrices

    topology = configuration.build(config, "topology")
    if topology.server:
        return None
    return Matrices(topology, clients, configuration.build(config, "mixing"), config.seed)


def _starts(config: RunConfig, found: Dataset | Problem) -> Callable[[int], Tensor] | None:
    """Each client's own initial parameters; none where all have the same."""
    from fedsparse import data, models

    if config.init == "common":
        return None
    if not isinstance(found, data.Dataset):
        raise ConfigError(
            f"init={config.init}: data={config.data.name} is given by formulas and says where to start; leave init out"
        )

    from fedsparse.cohort.batched import parameters_of

    def start(client: int) -> Tensor:
        seed = rng.seed64(config.seed, "init", 0, client) >> 1
        model = models.build(
            config.model.name, found.example_shape, found.classes, seed, **config.model.options
        )
        return parameters_of(model)

    return start


def _accepted(problem: Problem, config: RunConfig) -> Problem:
    if problem.clients != config.clients:
        raise ConfigError(
            f"clients={config.clients}: data={config.data.name} has {problem.clients} clients; give that"
        )
    if config.device != "cpu":
        raise ConfigError(
            f"device={config.device}: data={config.data.name} is given by formulas, "
            "which only the processor computes; use device=cpu"
        )
    check_nothing_held_back(config)
    return problem


def check_nothing_held_back(config: RunConfig) -> None:
    """A problem has no examples to choose from, for a validation part, or for clients to be tested on by themselves.

    Raises:
        ConfigError: one is asked for.
    """
    for key in ("examples", "validation", "personal"):
        if share := getattr(config, key):
            raise ConfigError(
                f"{key}={share}: data={config.data.name} has no examples to hold back, it is judged by a metric of "
                f"its own; leave {key} out"
            )


def loaded(config: RunConfig) -> Dataset | Problem | Divisible:
    """The whole data set that a configuration names, or the problem.

    Raises:
        ConfigError: an unknown name or option, or a value that makes no sense.
        DataError: a file is missing or damaged.
    """
    from fedsparse import data

    options = dict(config.data.options)
    if options.get("clients") == 0:
        options["clients"] = config.clients
    return data.load(config.data.name, config.data_dir, config.seed, **options)
