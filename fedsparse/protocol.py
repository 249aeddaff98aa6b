"""The protocol between a strategy and the machine that runs it.

A strategy is a frozen dataclass of hyper-parameters with pure functions over explicit values. Values of a *client* have
a leading axis C, the clients served by one call: a block of the simulator, or 1 on a device. Server values have no
client axis. Nothing is hidden: no attribute changes, no global state, no clock, no files.

One exchange (a *phase*)::

    server                                            client
    broadcast(server) -> said     ── down ──▶         held = hear(held, said)             (optional)
                                                      state, message = client_update(state, heard, task)
    aggregate(server, inbox)      ◀── up ───          message

A client's new state takes effect when its message was accepted, what it *held* when it heard it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, NoReturn, Protocol, Self

import torch
from torch import Tensor

from fedsparse import rng
from fedsparse.errors import ProtocolError
from fedsparse.layout import Field, Forward, Layout, Start
from fedsparse.message import Payload
from fedsparse.options import validate
from fedsparse.schedule import Schedule
from fedsparse.task import Task, Trained
from fedsparse.theory import CompressorClass, Facts, Participation, ProblemClass, Theory, Vectors

__all__ = [
    "Audience",
    "Context",
    "Facts",
    "Field",
    "Forward",
    "Inbox",
    "Layout",
    "Message",
    "Predict",
    "Role",
    "Start",
    "State",
    "Strategy",
    "Task",
    "Theory",
    "Trained",
    "Vectors",
]

State = Mapping[str, Tensor]
"""Named tensors. Of clients: ``[C, ...]``; of the server: any shape."""

Message = Mapping[str, Payload]
"""Named payloads, each with one row for each client (or one row for all, in a broadcast)."""

Predict = Callable[[Tensor, Tensor, Forward], Tensor]
"""From a model, inputs and the module's forward to outputs: :meth:`Strategy.predict`."""

Role = Literal["server", "client", "held"]
Audience = Literal["cohort", "all", "new"]


@dataclass(frozen=True)
class Context:
    """The circumstances of a call. It may grow; strategies take what they need.

    Attributes:
        seed: the run's seed.
        round: from 0.
        rounds: how many rounds the run has.
        phase: the name of the exchange.
        ids: clients served by this call, ``[C]`` int64; on the server: the audience of the phase.
        population: clients that can take part in training, N: by this a sum over all of them is divided.
        total: examples of all these clients together.
        layout: the tensors in the parameter vector.
        now: virtual seconds since the start of the run.
        idle: registered clients that never take part (``sampler.novel``, or ``sampler=weighted`` without examples).
    """

    seed: int
    round: int
    phase: str
    ids: Tensor
    population: int
    total: int
    layout: Layout
    rounds: int = 1
    now: float = 0.0
    idle: int = 0

    @property
    def registered(self) -> int:
        """All clients there are: every id is below this, so that tables by id have as many rows."""
        return self.population + self.idle

    def rng(self, purpose: str) -> rng.Streams:
        """C streams, one for each client of this call; the same ones each time it is called."""
        return rng.Streams(self.seed, f"client:{self.phase}:{purpose}", self.round, self.ids.tolist())

    def shared(self, purpose: str) -> Any:
        """One NumPy generator that the server and every client have alike this round: coins, seeded masks."""
        return rng.stream(self.seed, f"shared:{purpose}", self.round)

    def of_server(self, round: int) -> Context:  # noqa: A002
        """The server's own circumstances in ``round``, for what it compresses: one stream, whatever the phase."""
        return replace(self, ids=torch.tensor([rng.NOBODY]), round=round, phase="server")


class Inbox(Protocol):
    """The accepted messages of a phase, ascending by sender; never empty. Reductions go in that order."""

    senders: Tensor
    """``[M]`` int64."""
    examples: Tensor
    """Examples of each sender, ``[M]`` int64."""
    weights: Tensor
    """Coefficients of ``by="examples"``, ``[M]`` float64; they sum to one in synchronous rounds."""
    ages: Tensor
    """How many server versions ago each sender heard the server, ``[M]`` int64."""

    def mean(self, name: str, by: Literal["examples", "one"] = "examples") -> Tensor:
        """Sum of coefficient times message, ``[d]``. Coefficients may not sum to one: send differences, not models."""

    def sum(self, name: str, by: Literal["examples", "one"] = "one") -> Tensor:
        """Plain sum ``[d]``, or weighted by the numbers of examples."""

    def stack(self, name: str, columns: slice = slice(None)) -> Tensor:
        """All messages, dense, ``[M, d]``; or some columns of them, where all at once would be too much memory."""

    def payload(self, name: str) -> Payload:
        """All messages as one payload of M rows."""


@dataclass(frozen=True)
class Strategy:
    """Base of all strategies: defaults of the protocol.

    A subclass is a frozen dataclass; its fields are its hyper-parameters, its schema and its command-line keys. Class
    attributes declare what the machine must know:

    Attributes:
        buffers: what happens to BatchNorm statistics: ``"average"`` (sent both ways and averaged, by the engine),
            ``"local"`` (each client keeps its own), ``"none"`` (frozen), ``"own"`` (the strategy sends them itself).
        held: ``"shared"``: what clients derive from the broadcast is equal on all of them and is stored once; whoever
            missed a round is charged for catching up. ``"own"``: stored for each client.
        uplink_class: the compressors that ``uplink`` may be: ``"any"``, ``"unbiased"``, ``"contractive"``, or
            ``"either"`` of the latter two.
        downlink_class: likewise of ``downlink``, where the strategy has one: it compresses what it says itself.
        problems: what its theory covers: ``"minimisation"``, monotone ``"operators"``, or both. On others it runs, and
            the run says so.
        participation: ``"full"``: its theory needs all clients in every round. A smaller cohort is refused, unless a
            boolean field ``partial`` of the strategy is true: a variant of its own, without the theory.
        needs_optimum: whether it uses :attr:`Task.optimum`; a problem whose optimum is not known is refused then.
        fresh: names of what is said, and held, that is whole each time: whoever missed a round needs only the last one.
        prunes: whether the server sets entries of the model to zero by itself, whatever the gradients.
        personal: whether only the clients' own models say what it is worth; a run in which they have no test examples
            of their own says that.
        robust: message names that the configured aggregation rule applies to; ``None``: all.
        theory: what it promises, see :class:`Theory`; several where it promises several things.
    """

    buffers: ClassVar[Literal["average", "local", "none", "own"]] = "average"
    held: ClassVar[Literal["shared", "own"]] = "shared"
    uplink_class: ClassVar[CompressorClass] = "any"
    downlink_class: ClassVar[CompressorClass] = "any"
    problems: ClassVar[tuple[ProblemClass, ...]] = ("minimisation",)
    participation: ClassVar[Participation] = "partial"
    needs_optimum: ClassVar[bool] = False
    fresh: ClassVar[tuple[str, ...]] = ()
    prunes: ClassVar[bool] = False
    personal: ClassVar[bool] = False
    robust: ClassVar[tuple[str, ...] | None] = None
    theory: ClassVar[Theory | tuple[Theory, ...] | None] = None

    def __post_init__(self) -> None:
        validate(self, "strategy.")

    def phases(self, ctx: Context) -> tuple[str, ...]:
        """The exchanges of this round."""
        return ("train",)

    def audience(self, ctx: Context) -> Audience:
        """Who takes part in this phase: the cohort, everybody that can (complete: retried), or members never seen."""
        return "cohort"

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        """First values of the server (no client axis), of a client, or of what it holds (``[1, ...]``, one row)."""
        self._lacks("init")

    def broadcast(self, server: State, ctx: Context) -> Message:
        """What the audience hears: payloads of one row for all, or of one row for each of ``ctx.ids``."""
        self._lacks("broadcast")

    def hear(self, held: State, said: State, ctx: Context) -> State:
        """What a client holds after it heard ``said``, decoded; where overridden, it is what ``client_update`` gets."""
        self._lacks("hear")

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        """The clients' work: new states (same keys, shapes and dtypes) and messages."""
        self._lacks("client_update")

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        """The server's new state; a name with @ before it, as ``"@residual"``, is a number that the round records."""
        self._lacks("aggregate")

    def _lacks(self, method: str) -> NoReturn:
        raise ProtocolError(
            f"{type(self).__name__} has no {method}; a strategy for a server needs init, broadcast, client_update and "
            "aggregate"
        )

    def communication(self, size: int) -> tuple[Vectors, ...]:
        """What is sent in a round, one :class:`Vectors` for each kind of exchange; empty: not declared. It is measured.

        Args:
            size: d, on which the probability of a synchronisation may depend.
        """
        return ()

    def theory_lr(self, facts: Facts) -> float | None:
        """The step size ``lr`` that theory gives, for ``strategy.lr=theory``; ``None`` where it gives none.

        The first line of the docstring is the formula, which a run writes down; then its source. It depends on the
        other fields and on ``facts`` alone.
        """
        return None

    def model(self, state: State, ctx: Context) -> Tensor:
        """The parameters to evaluate, ``[d]``; with what is merged into the frozen weights behind them ``[d + f]``.

        The latter f numbers are those of :meth:`Task.merge`.
        """
        return state["x"]

    def statistics(self, state: State, ctx: Context) -> Tensor | None:
        """The BatchNorm statistics to evaluate with, ``[b]``, if ``buffers = "own"``; ``None``: those of the start."""
        return None

    def predict(self, x: Tensor, inputs: Tensor, forward: Forward) -> Tensor:
        """Outputs of the evaluated model for ``inputs [B, ...]``, where parameters alone do not say it (gates, say).

        Args:
            x: what :meth:`model` gave; where this is overridden it may have any length.
            inputs: examples, ready for the module.
            forward: ``(parameters [d], inputs) -> outputs``: the module in evaluation mode.
        """
        return forward(x, inputs)

    def judge(self, client: State, x: Tensor, task: Task, new: Tensor, ctx: Context) -> Mapping[str, Tensor]:
        """What is measured of each client by itself, ``[C]`` by name; NaN where it has nothing to be measured on.

        Asked in evaluations where clients have test examples of their own. Nothing is sent, and nothing stays.

        Args:
            client: the clients' states.
            x: the evaluated model, ``[1, d]``.
            task: theirs.
            new: who never took part, ``[C]`` bool.
            ctx: the circumstances.
        """
        return {"personal_accuracy": task.own_accuracy(x)}

    @classmethod
    def predicts(cls) -> bool:
        """Whether this strategy has its own way from a model to its outputs."""
        return cls.predict is not Strategy.predict

    @classmethod
    def theories(cls) -> tuple[Theory, ...]:
        """All that it promises, in order."""
        return cls.theory if isinstance(cls.theory, tuple) else () if cls.theory is None else (cls.theory,)

    @classmethod
    def has_theory_lr(cls) -> bool:
        """Whether its theory gives a step size."""
        return cls.theory_lr is not Strategy.theory_lr

    @classmethod
    def hears(cls) -> bool:
        """Whether this strategy keeps something of what it heard."""
        return cls.hear is not Strategy.hear

    def at(self, round: int, rounds: int) -> Self:  # noqa: A002
        """This strategy with every :class:`Schedule` among its fields evaluated at ``round``."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        now = {name: v.at(round, rounds) for name, v in values.items() if isinstance(v, Schedule)}
        if not now:
            return self
        # Not by `replace`: the range was checked when the schedule was given, and its end may be the bound itself.
        made = object.__new__(type(self))
        for name, value in (values | now).items():
            object.__setattr__(made, name, value)
        return made
