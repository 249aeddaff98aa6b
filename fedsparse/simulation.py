"""The Python API: a strategy on a problem or a data set, without a run folder."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fedsparse import rng
from fedsparse.aggregate import Aggregator, Mean
from fedsparse.cohort.calibration import Calibration
from fedsparse.cohort.examples import Examples
from fedsparse.cohort.trainer import Trainer
from fedsparse.compress import Compressor, Identity
from fedsparse.data.problem import Problem
from fedsparse.engine.eligible import sizes_for
from fedsparse.engine.faults import Faults
from fedsparse.engine.local import LocalPool
from fedsparse.engine.plan import Plan
from fedsparse.engine.pool import Pool
from fedsparse.engine.recipes import AnalyticRecipe, Recipe, SparseRecipe, for_driver, supervised
from fedsparse.engine.sampling import Sampler, Uniform
from fedsparse.engine.session import Place, Session, default_block
from fedsparse.engine.suits import check_trainer, notes_of, settle
from fedsparse.errors import ConfigError
from fedsparse.gossip import Gossip
from fedsparse.graphs import Matrices, Mixing, Topology
from fedsparse.network import Deadline, Network
from fedsparse.protocol import State, Strategy
from fedsparse.records import Record
from fedsparse.registry import strategies
from fedsparse.summary import Summary, summarise

__all__ = ["Result", "simulate"]


@dataclass(frozen=True)
class Result:
    """What a simulation ends with.

    Attributes:
        server: the server's final state, by name.
        buffers: BatchNorm statistics ``[b]`` that the final model was evaluated with.
        ids: clients that have a state, ascending ``[n]``; empty where states were not to be kept.
        clients: their final states ``[n, ...]``, by name.
        history: one record for each round.
        models: the evaluated parameters ``[d]`` after each round, where asked for.
    """

    server: State
    buffers: Tensor
    ids: Tensor
    clients: State
    history: list[Record]
    models: list[Tensor] = field(default_factory=list)

    @property
    def x(self) -> Tensor:
        """The final parameters ``[d]``."""
        return self.server["x"]

    @property
    def summary(self) -> Summary:
        """Totals, final and best metrics."""
        return summarise(self.history)


def simulate(
    strategy: Strategy,
    problem: Problem | None = None,
    *,
    examples: Examples | None = None,
    model: nn.Module | None = None,
    batch: int = 0,
    rounds: int = 100,
    cohort: int | None = None,
    seed: int = 0,
    sampler: Sampler | None = None,
    aggregator: Aggregator | None = None,
    downlink: Compressor | None = None,
    network: Network | None = None,
    deadline: Deadline | None = None,
    faults: Faults | None = None,
    block: int | None = None,
    workers: int = 1,
    device: str = "cpu",
    trainer: Trainer | None = None,
    pool: Pool | None = None,
    encode: bool = False,
    topology: Topology | None = None,
    mixing: Mixing | None = None,
    starts: Callable[[int], Tensor] | None = None,
    judged: int | None = None,
    calibration: int = 0,
    evaluate_every: int = 1,
    keep_models: bool = False,
    keep_clients: bool = True,
    state_dir: str | Path | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Result:
    """Runs ``strategy`` on clients of ``problem``, or on ``examples`` with ``model``.

    Args:
        strategy: a strategy with its hyper-parameters; ``lr=FromTheory()`` where theory has a formula for it.
        problem: an analytic problem, see :class:`~fedsparse.data.problem.Problem`.
        examples: a data set and who holds what.
        model: the module to train on it; its weights are the start and are left alone.
        batch: examples of a minibatch, 0 for all of a client's.
        rounds: how many.
        cohort: clients drawn for each round; all that can take part by default.
        seed: names all random streams.
        sampler: draws the cohort; uniformly by default.
        aggregator: rule for robust message names; the mean by default.
        downlink: compressor of broadcasts; none by default.
        network: seconds for bytes and examples; none by default.
        deadline: what keeps slow clients from holding up a round.
        faults: absent clients and lost messages.
        block: clients that a worker trains together.
        workers: threads of this process.
        device: what clients of a data set train on: ``"cpu"``, ``"cuda"``, ``"cuda:1"``. An accelerator has
            PyTorch of this process use deterministic routines and full float32 products from then on.
        trainer: keeps models sparse while clients train; nothing by default.
        pool: workers to use instead, e.g. Ray's; stays open.
        encode: really encode and decode every message.
        topology: who hears whom, for a strategy of gossip.
        mixing: how a topology without weights gets them; the topology's usual rule by default.
        starts: initial parameters ``[d]`` of a client, where gossip does not begin at the same point for all.
        judged: clients whose own models are evaluated in gossip; all by default.
        calibration: training examples on which the BatchNorm statistics of an evaluated model are estimated; none: it
            has those that training ended with.
        evaluate_every: rounds between two evaluations; the last round is always evaluated.
        keep_models: keep the parameters of every round in ``models``.
        keep_clients: keep the clients' final states in ``clients``: they must fit into memory then, once more.
        state_dir: where clients' states lie; chosen by size unless given.
        note: is told of lost workers and the like.

    Raises:
        ConfigError: arguments that make no sense together.
    """
    recipe, arrays = _recipe(problem, examples, model, batch, device, isinstance(strategy, Gossip))
    if trainer is not None:
        check_trainer(strategy, trainer, starts is not None)
        recipe = SparseRecipe(recipe, trainer, seed, rounds)
    workload = for_driver(recipe)(arrays)
    _check(rounds=rounds, evaluate_every=evaluate_every, block=block)
    sampler = sampler or Uniform()
    sizes = sizes_for(sampler, workload)
    able = sampler.eligible(workload.clients, sizes)
    count = able if cohort is None else cohort
    sampler.check(count, workload.clients, sizes)
    every = evaluate_every
    settled = settle(strategy, strategies.name_of(type(strategy)), problem, count, downlink, able)
    for line in notes_of(settled, workload):
        note(line)
    plan = Plan(
        strategy=settled.strategy,
        seed=seed,
        rounds=rounds,
        cohort=count,
        block=block or default_block(count, workload.client_bytes, device != "cpu"),
        sampler=sampler,
        aggregator=aggregator or Mean(),
        downlink=downlink or Identity(),
        network=network or Network(profile="none"),
        deadline=deadline or Deadline(),
        faults=faults or Faults(),
        encode=encode,
        evaluate=lambda r: r % every == every - 1 or r == rounds - 1,
        run=rng.seed64(seed, "run"),
        matrices=None if topology is None else Matrices(topology, workload.clients, mixing, seed),
        starts=starts,
        judged=judged,
        calibration=Calibration(seed, calibration) if calibration else None,
    )
    with ExitStack() as stack:
        if pool is None:
            pool = LocalPool(workers)
            stack.callback(pool.close)
        fallback = Path(tempfile.gettempdir())
        place = Place(Path(state_dir) if state_dir else None, fallback)
        session = stack.enter_context(Session(plan, recipe, arrays, pool, place, note, workload))
        history, models = [], []
        for r in range(rounds):
            history.append(session.engine.round(r))
            if keep_models:
                models.append(session.engine.model(r))
        ids, rows = session.clients() if keep_clients else (np.zeros(0, dtype=np.int64), {})
        return Result(
            server=session.engine.state,
            buffers=session.engine.evaluated(rounds - 1)[1],
            ids=torch.from_numpy(ids),
            clients={name: torch.from_numpy(value) for name, value in rows.items()},
            history=history,
            models=models,
        )


def _recipe(
    problem: Problem | None,
    examples: Examples | None,
    model: nn.Module | None,
    batch: int,
    device: str,
    own_models: bool,
) -> tuple[Recipe, dict[str, np.ndarray]]:
    """What clients optimise, and the arrays that all workers share."""
    if problem is not None and examples is None and model is None:
        return AnalyticRecipe(problem), {}
    if problem is None and examples is not None and model is not None:
        return supervised(examples, model, batch, device, own_models)
    raise ConfigError("simulate: give a problem, or examples and a model")


def _check(**counts: int | None) -> None:
    for name, value in counts.items():
        if value is not None and value < 1:
            raise ConfigError(f"{name}={value}: must be at least 1")
