"""Whether a strategy suits a run: who takes part, what is solved, and which step its theory gives there."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from typing import Any

from fedsparse.cohort.trainer import Trainer
from fedsparse.compress import Compressor, Identity
from fedsparse.data.problem import Problem
from fedsparse.engine.block import Workload
from fedsparse.engine.eligible import Eligible, sizes_for
from fedsparse.engine.plan import Plan
from fedsparse.engine.sampling import Sampler
from fedsparse.engine.slab import Ids
from fedsparse.errors import ConfigError
from fedsparse.gossip import Gossip
from fedsparse.graphs.checks import require
from fedsparse.protocol import Facts, Strategy
from fedsparse.registry import strategies, trainers
from fedsparse.theory import FromTheory

__all__ = [
    "Settled",
    "check_calibration",
    "check_cohort",
    "check_formula",
    "check_optimum",
    "check_participation",
    "check_topology",
    "check_trainer",
    "facts_of",
    "formula",
    "notes_of",
    "problem_note",
    "settle",
    "wants_all",
]


def wants_all(strategy: Strategy) -> bool:
    """Whether all clients must take part: its theory needs them, and it is not a variant for a part of them."""
    return strategy.participation == "full" and getattr(strategy, "partial", False) is not True


def check_cohort(plan: Plan, workload: Workload, who: str) -> None:
    """:func:`check_participation` once it is known who has examples.

    Args:
        plan: what is run.
        workload: what clients optimise.
        who: what the strategy is called, for the message.

    Raises:
        ConfigError: says what to do.
    """
    # In gossip nobody is drawn.
    sizes = sizes_for(plan.sampler, workload) if plan.matrices is None else None
    check_participation(plan.strategy, who, plan.sampler, plan.cohort, workload.clients, sizes)


def check_participation(
    strategy: Strategy, who: str, sampler: Sampler, cohort: int, clients: int, sizes: Ids | None = None
) -> None:
    """Refuses a cohort that the strategy's theory does not cover, or that cannot be drawn.

    Args:
        strategy: the strategy.
        who: what it is called, for the message.
        sampler: draws the cohort.
        cohort: clients of a round.
        clients: registered clients.
        sizes: their examples ``[N]``, where they are known and the sampler needs them.

    Raises:
        ConfigError: says what to do.
    """
    able = sampler.eligible(clients, sizes)
    if not wants_all(strategy) or cohort == able == clients:
        return sampler.check(cohort, clients, sizes)
    variant = (
        "set strategy.partial=true for its variant with a part of them"
        if hasattr(strategy, "partial")
        else "choose a strategy for a part of them, such as scafcom"
    )
    if able < clients:
        raise ConfigError(
            f"{sampler.limit}: strategy={who} needs all clients in every round, and only {able} of clients={clients} "
            f"can take part; let all of them, or {variant}"
        )
    raise ConfigError(
        f"cohort={cohort}: strategy={who} needs all clients in every round, clients={clients}; leave cohort out, or "
        f"{variant}"
    )


def check_topology(plan: Plan, who: str) -> None:
    """Refuses a strategy for gossip with a server, one for a server without, and graphs that do not suit.

    Args:
        plan: what is run.
        who: what the strategy is called, for the message.

    Raises:
        ConfigError: says what to do.
    """
    strategy, matrices = plan.strategy, plan.matrices
    if not isinstance(strategy, Gossip):
        if matrices is not None:
            raise ConfigError(
                f"{matrices.name}: strategy={who} needs a server; leave topology out, or choose a strategy for gossip, "
                "such as dpsgd"
            )
        return
    if matrices is None:
        raise ConfigError(
            f"strategy={who} has no server, its clients talk to each other; choose a topology, as in topology=ring"
        )
    queued = [name for name, kind in strategy.delivery.items() if kind == "queued"]
    require(
        matrices,
        strategy.stochastic,
        symmetric=strategy.symmetric,
        static=strategy.static_graph or bool(queued and plan.faults.link_loss + plan.faults.dropout),
        nonnegative=strategy.nonnegative,
    )


def check_trainer(strategy: Strategy, trainer: Trainer, apart: bool) -> None:
    """Refuses what a sparse trainer cannot serve.

    Args:
        strategy: the strategy.
        trainer: what trains.
        apart: whether clients begin with weights of their own.

    Raises:
        ConfigError: says what to do.
    """
    who, name = strategies.name_of(type(strategy)), trainers.name_of(type(trainer))
    if strategy.predicts():
        raise ConfigError(
            f"trainer={name}: strategy={who} has its own way from parameters to outputs, which a trainer's masks do "
            "not know; leave trainer out, or choose another strategy"
        )
    if apart:
        raise ConfigError(
            f"trainer={name}: its masks follow from the weights that all clients begin with, and init=independent "
            "gives each its own; leave trainer or init out"
        )


def check_optimum(strategy: Strategy, who: str, workload: Workload, eligible: Eligible) -> None:
    """Refuses a strategy that uses the optimum where that is not known, or is one of other clients.

    Args:
        strategy: the strategy.
        who: what it is called, for the message.
        workload: of the problem.
        eligible: who can take part.

    Raises:
        ConfigError: says what to do.
    """
    if strategy.needs_optimum and not workload.has_optimum:
        raise ConfigError(
            f"strategy={who}: uses the clients' gradients at the optimum, which this problem does not know; use "
            "data=quadratic, or a problem of your own with an attribute optimum [d], or a strategy that can be run "
            "without, such as strategy=econtrol"
        )
    if strategy.needs_optimum and eligible.idle:
        raise ConfigError(
            f"strategy={who}: uses the clients' gradients at the optimum, which is that of all "
            f"{workload.clients} clients, and only {eligible.population} of them can take part; let all of them"
        )


def check_calibration(plan: Plan, workload: Workload) -> None:
    """Refuses to estimate statistics of a model that has none, or on one example, which has no variance.

    Raises:
        ConfigError: says what to do.
    """
    if plan.calibration is None:
        return
    count = plan.calibration.count
    if count < 2:
        raise ConfigError(
            f"calibration={count}: must be at least 2 examples, which have a variance; 0: statistics of training"
        )
    if not workload.minibatches(plan.calibration):
        raise ConfigError(
            f"calibration={count}: what is trained has no BatchNorm statistics to estimate; leave calibration out, or "
            "choose a model with BatchNorm, such as model=resnet model.norm=batch"
        )


def problem_note(strategy: Strategy, who: str, problem: Problem) -> str | None:
    """What people should know where the strategy's theory is about other problems than this one.

    It is no reason to refuse the run: that such a method fails is often what is to be shown.
    """
    found = getattr(problem, "problem_class", "minimisation")
    if found in strategy.problems:
        return None
    about = {"minimisation": "minimisation", "operators": "monotone operators (saddle points)"}
    covered = " and ".join(about[p] for p in strategy.problems)
    return (
        f"strategy={who} has theory for {covered} only, and this problem is of another class, {about[found]}: it may "
        "stall or diverge"
    )


def notes_of(settled: Settled, workload: Workload) -> tuple[str, ...]:
    """What people should know of a run before it begins, a line each."""
    strategy = settled.strategy
    if not strategy.personal or workload.personal:
        return (*settled.notes, *workload.notes)
    alone = (
        f"strategy={strategies.name_of(type(strategy))}: the evaluated model says nothing of the clients' own ones, "
        "which are tested on examples of theirs; set personal=0.2, say"
    )
    return (*settled.notes, alone, *workload.notes)


def check_formula(strategy: Strategy, who: str) -> None:
    """Refuses a step size from theory where the strategy has no formula for any.

    Raises:
        ConfigError: says what to do.
    """
    if isinstance(getattr(strategy, "lr", None), FromTheory) and not strategy.has_theory_lr():
        raise ConfigError(
            f"strategy.lr=theory: strategy={who} has no formula for its step size; give a number"
        )


@dataclass(frozen=True)
class Settled:
    """A strategy that is ready for a problem.

    Attributes:
        strategy: with a number for its step size.
        lr: that number, where it follows from theory.
        reason: how it follows.
        notes: what people should know, a line each.
    """

    strategy: Strategy
    lr: float | None
    reason: str
    notes: tuple[str, ...]


def settle(
    strategy: Strategy,
    who: str,
    problem: Problem | None,
    cohort: int,
    downlink: Compressor | None = None,
    able: int | None = None,
) -> Settled:
    """Finds the step size where it was left to theory, and says what is known of strategy and problem.

    Args:
        strategy: the strategy.
        who: what it is called, for messages.
        problem: what is solved; ``None`` for a data set with a model.
        cohort: clients of a round.
        downlink: of the machine, for broadcasts of any strategy; ``None`` is none.
        able: how many clients can take part; ``None`` is all.

    Raises:
        ConfigError: the problem's constants are not known, or theory gives no step size.
    """
    strange = None if problem is None else problem_note(strategy, who, problem)
    notes = (strange,) if strange else ()
    if not isinstance(getattr(strategy, "lr", None), FromTheory):
        return Settled(strategy, None, "", notes)
    check_formula(strategy, who)
    if strange:
        raise ConfigError(f"strategy.lr=theory: {strange}; give a number")
    if problem is None or getattr(problem, "constants", None) is None:
        raise ConfigError(
            "strategy.lr=theory: needs a problem whose constants (mu, L, ...) are known, such as data=quadratic; "
            "give a number"
        )
    if not isinstance(downlink, Identity | None):
        raise ConfigError(
            f"strategy.lr=theory: the theory of strategy={who} has broadcasts that are not compressed; give a "
            "number, or leave downlink out"
        )
    if able is not None and able < problem.clients:
        raise ConfigError(
            f"strategy.lr=theory: the problem's constants are those of all {problem.clients} clients, and only {able} "
            "of them can take part; give a number, or let all of them"
        )
    facts = facts_of(strategy, problem, cohort)
    lr = strategy.theory_lr(facts)
    if lr is None or not lr > 0:
        raise ConfigError(
            f"strategy.lr=theory: theory gives strategy={who} no step size with these options ({formula(strategy)}); "
            "give a number"
        )
    number: dict[str, Any] = {"lr": lr}
    reason = f"{formula(strategy)}, where {_told(facts)}"
    return Settled(
        replace(strategy, **number), lr, reason, (*notes, f"strategy.lr={lr:.6g} from theory: {reason}")
    )


def facts_of(strategy: Strategy, problem: Any, cohort: int) -> Facts:
    """What the strategy's formula may use of a problem that has ``constants``, and of the uplink."""
    size, known, uplink = len(problem.start), problem.constants, getattr(strategy, "uplink", None)
    facts = Facts(known.mu, known.L, known.L_max, known.L_rms, size, problem.clients, cohort)
    if not isinstance(uplink, Compressor):
        return facts
    omega, delta = uplink.omega(size), uplink.delta(size)
    return replace(
        facts, omega=float("inf") if omega is None else omega, delta=0.0 if delta is None else delta
    )


def formula(strategy: Strategy) -> str:
    """The formula of the step size in words: the first line of the method's docstring."""
    return (inspect.getdoc(strategy.theory_lr) or "").partition("\n")[0].rstrip(".")


def _told(facts: Facts) -> str:
    names = {"mu": "μ", "omega": "ω", "delta": "δ", "clients": "N", "cohort": "S", "size": "d"}
    order = ("mu", "L", "L_max", "L_rms", "omega", "delta", "size", "clients", "cohort")
    return ", ".join(f"{names.get(key, key)} = {getattr(facts, key):.6g}" for key in order)
