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

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, NoReturn, Protocol, Self

import torch
from torch import Tensor

from fedsparse import rng
from fedsparse.errors import ProtocolError
from fedsparse.lazy import cached_property
from fedsparse.message import Payload
from fedsparse.options import validate
from fedsparse.schedule import Schedule
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

Forward = Callable[[Tensor, Tensor], Tensor]
"""From parameters ``[d]`` (or ``[d + f]``: :meth:`Strategy.model`) and inputs ``[B, ...]`` to outputs ``[B, ...]``."""

Predict = Callable[[Tensor, Tensor, Forward], Tensor]
"""From a model, inputs and the module's forward to outputs: :meth:`Strategy.predict`."""

Role = Literal["server", "client", "held"]
Audience = Literal["cohort", "all", "new"]


@dataclass(frozen=True)
class Field:
    """One parameter tensor inside the flat vector.

    Attributes:
        name: of the tensor.
        start: its first place.
        shape: of the tensor.
        prunable: whether single entries may be left out: weights of linear layers and convolutions.
        positions: how often an entry is multiplied for one example: output positions of a convolution, rows of a
            sequence; 0 where that is not known.
        table: whether it is that of an embedding: a row for each symbol, of which an example looks up some.
    """

    name: str
    start: int
    shape: tuple[int, ...]
    prunable: bool = False
    positions: int = 0
    table: bool = False

    @property
    def size(self) -> int:
        """Number of entries."""
        return int(torch.Size(self.shape).numel())

    @property
    def slice(self) -> slice:
        """Where the tensor lies in the flat vector."""
        return slice(self.start, self.start + self.size)


@dataclass(frozen=True)
class Layout:
    """How a flat vector is made of named tensors; ``layout["fc.weight"]`` is that tensor's :class:`Field`.

    Attributes:
        fields: the tensors, in order.
        activations: numbers that the model computes for one example, all layers together; 0 where that is not known.
    """

    fields: tuple[Field, ...]
    activations: int = 0

    @property
    def size(self) -> int:
        """Length of the flat vector."""
        return sum(f.size for f in self.fields)

    def __getitem__(self, name: str) -> Field:
        return self._by_name[name]

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    @cached_property
    def _by_name(self) -> dict[str, Field]:
        return {f.name: f for f in self.fields}

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """Views ``[..., *shape]`` of ``flat [..., d]``, one for each name."""
        lead = flat.shape[:-1]
        return {f.name: flat[..., f.slice].view(*lead, *f.shape) for f in self.fields}

    @cached_property
    def adapters(self) -> tuple[tuple[Field, Field], ...]:
        """A ``[r, n]`` and B ``[m, r]`` of each low-rank adapter: ``<layer>.lora_A`` and ``<layer>.lora_B``."""
        names = [f.name.removesuffix(".lora_A") for f in self.fields if f.name.endswith(".lora_A")]
        return tuple((self[f"{name}.lora_A"], self[f"{name}.lora_B"]) for name in names)

    @cached_property
    def products(self) -> Layout:
        """The products B A of the adapters, ``<layer>.lora`` of shape ``(m, n)``; they are in another vector than x."""
        return Layout.of({a.name.removesuffix("_A"): (b.shape[0], a.shape[1]) for a, b in self.adapters})

    def parted(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A model ``x [..., d]`` or ``[..., d + f]`` as its parameters, and what is merged into its frozen weights.

        The latter has no width where there is nothing.
        """
        return x[..., : self.size], x[..., self.size :]

    @staticmethod
    def of(
        shapes: Mapping[str, Sequence[int]],
        prunable: frozenset[str] = frozenset(),
        tables: frozenset[str] = frozenset(),
    ) -> Layout:
        """Tensors one behind the other in the order of ``shapes``."""
        made, start = [], 0
        for name, shape in shapes.items():
            made.append(Field(name, start, tuple(shape), name in prunable, table=name in tables))
            start += made[-1].size
        return Layout(tuple(made))


@dataclass(frozen=True)
class Start:
    """What everything starts from.

    Attributes:
        x: initial parameters ``[d]``, float32 or float64.
        layout: the tensors in ``x``.
        buffers: initial BatchNorm statistics and the like ``[b]``; empty where the model has none.
        buffer_layout: the tensors in ``buffers``.
        input_shape: the shape of one input; of no width where there are none.
        forward: the module in evaluation mode, differentiable in its parameters; ``None`` where there is no network.
    """

    x: Tensor
    layout: Layout
    buffers: Tensor = field(default_factory=lambda: torch.zeros(0))
    buffer_layout: Layout = field(default_factory=lambda: Layout(()))
    input_shape: tuple[int, ...] = (0,)
    forward: Forward | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Context:
    """The circumstances of a call. It may grow; strategies take what they need.

    Attributes:
        seed: the run's seed.
        round: from 0.
        rounds: how many rounds the run has.
        phase: the name of the exchange.
        ids: clients served by this call, ``[C]`` int64; on the server: the audience of the phase.
        population: registered clients N.
        total: examples of all registered clients together.
        layout: the tensors in the parameter vector.
        now: virtual seconds since the start of the run.
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

    def rng(self, purpose: str) -> rng.Streams:
        """C streams, one for each client of this call; the same ones each time it is called."""
        return rng.Streams(self.seed, f"client:{self.phase}:{purpose}", self.round, self.ids.tolist())

    def shared(self, purpose: str) -> Any:
        """One NumPy generator that the server and every client have alike this round: coins, seeded masks."""
        return rng.stream(self.seed, f"shared:{purpose}", self.round)

    def of_server(self, round: int) -> Context:  # noqa: A002
        """The server's own circumstances in ``round``, for what it compresses: one stream, whatever the phase."""
        return replace(self, ids=torch.tensor([rng.NOBODY]), round=round, phase="server")


@dataclass(frozen=True)
class Trained:
    """The result of local training. What is ``[C, d]`` is made when it is first asked for: ask for what you need.

    It is the caller's, who may write to it when nothing else will be asked for.

    Attributes:
        steps: local steps that each client took, ``[C, 1]`` in the dtype of the parameters.
        loss: mean minibatch loss over the steps, ``[C]``.
        buffers: final statistics ``[C, b]``.
        make_x: gives :attr:`x`.
        make_change: gives :attr:`change`.
        make_mean_grad: gives :attr:`mean_grad`, less what it is given.
    """

    steps: Tensor
    loss: Tensor
    buffers: Tensor
    make_x: Callable[[], Tensor] = field(repr=False)
    make_change: Callable[[], Tensor] = field(repr=False)
    make_mean_grad: Callable[[Tensor | None], Tensor] = field(repr=False)

    @cached_property
    def x(self) -> Tensor:
        """Final parameters, ``[C, d]``."""
        return self.make_x()

    @cached_property
    def change(self) -> Tensor:
        """Final minus first parameters, ``[C, d]``: cheaper than the parameters, and with the digits they lose."""
        return self.make_change()

    @cached_property
    def mean_grad(self) -> Tensor:
        """Mean over the steps of the minibatch gradients of the loss, ``[C, d]``: without shift, momentum, decay, prox.

        Equal to -change / (steps lr) - shift + control where none of the latter three is used.
        """
        return self.make_mean_grad(None)

    def mean_grad_less(self, known: Tensor) -> Tensor:
        """``mean_grad - known``, ``[C, d]``, where the former alone is not needed: it saves a pass over memory.

        Args:
            known: ``[C, d]`` or ``[1, d]``.
        """
        return self.make_mean_grad(known)


class Task(Protocol):
    """What C clients optimise. ``x`` is ``[C, d]``, or ``[1, d]`` for the same point on all of them.

    A task is bound to one round: the same ``step`` gives the same minibatch at two points, and a new one next round.
    """

    layout: Layout
    sizes: Tensor
    """Examples of each client, ``[C]`` int64."""
    examples: Tensor
    """Examples that each client has trained on so far, ``[C]`` int64."""

    def sgd(
        self,
        x: Tensor,
        *,
        lr: float,
        steps: int | None = None,
        epochs: int | None = None,
        shift: Tensor | None = None,
        control: Tensor | None = None,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        prox: float = 0.0,
        mask: Tensor | None = None,
        buffers: Tensor | None = None,
        first: int = 0,
    ) -> Trained:
        """Local training, ``y <- y - lr (m <- momentum m + g(y) + shift - control + weight_decay y + prox (y - x))``.

        Args:
            x: where it starts.
            lr: step size.
            steps: local steps of every client; give this or ``epochs``.
            epochs: passes over each client's own examples, hence unequal steps.
            shift: added to every gradient, ``[C, d]`` or ``[1, d]``; one row for all costs next to nothing.
            control: subtracted from every gradient, likewise: a client's control variate.
            momentum: heavy-ball weight, starting from zero.
            weight_decay: L2 penalty.
            prox: weight of the pull back to ``x``.
            mask: 0/1, ``[C, d]`` or ``[1, d]``: entries outside, and their velocity, stay exactly zero.
            buffers: statistics to start from, ``[C, b]``; by default those the engine keeps.
            first: number of the first step, which names its minibatch.
        """

    def grad(
        self,
        x: Tensor,
        step: int = 0,
        slices: Sequence[slice] | None = None,
        less: Tensor | None = None,
    ) -> Tensor:
        """Minibatch gradient ``[C, d]`` (of a saddle problem: its operator), which the caller may write to.

        Args:
            x: where.
            step: names the minibatch.
            slices: only these parts of it, one behind the other, e.g. ``[layout["fc.weight"].slice]``.
            less: is taken off the gradient, ``[C, d]`` or ``[1, d]``: cheaper here than afterwards.
        """

    def full_grad(self, x: Tensor) -> Tensor:
        """Gradient over all of the client's examples, ``[C, d]``."""

    def loss(self, x: Tensor, buffers: Tensor | None = None, step: int | None = None) -> Tensor:
        """Loss in evaluation mode over all of the client's examples, or over the minibatch of ``step``, ``[C]``.

        Args:
            x: where.
            buffers: BatchNorm statistics, ``[C, b]`` or ``[1, b]``; by default those the engine keeps.
            step: names the minibatch.
        """

    def accuracy(self, x: Tensor) -> Tensor:
        """Share of the client's own examples that are classified right in evaluation mode, ``[C]``; NaN: no classes."""

    def own_accuracy(
        self, model: Tensor | Callable[[Tensor, Tensor, Tensor], Tensor], buffers: Tensor | None = None
    ) -> Tensor:
        """Share of each client's own test examples that are classified right, ``[C]``; NaN where it has none.

        Args:
            model: ``[C, d]`` or ``[1, d]``; or a function that gives it for inputs ``[G, B, ...]``, their real rows
                ``[G]`` and the clients' places in the block ``[G]``, as gates do.
            buffers: BatchNorm statistics, ``[C, b]`` or ``[1, b]``; by default those the engine keeps.
        """

    def statistics(self, x: Tensor, step: int) -> Tensor:
        """BatchNorm statistics ``[C, b]`` of the minibatch of ``step`` alone; of no width where there are none."""

    def calibrate(self, x: Tensor, steps: int) -> None:
        """Puts BatchNorm statistics at ``x`` in the place of those the engine keeps: means over ``steps`` minibatches.

        Args:
            x: where; a mean of models, say, whose statistics are not the mean of theirs.
            steps: minibatches, those of steps 0 to ``steps`` - 1.
        """

    def merge(self, products: Tensor) -> None:
        """Merges something into the frozen weights of layers with adapters, for all that is asked for afterwards.

        W h + (alpha / r) B A h becomes (W + (alpha / r) P) h + (alpha / r) B A h. P is the same for all clients, so it
        is held once. What was merged before is forgotten.

        Args:
            products: P of all layers in the order of ``layout.products``, ``[f]`` or ``[1, f]``.
        """

    def inputs(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs of the minibatch of ``step``, ``[C, B, ...]``, padded, and its real rows ``[C]``.

        Of a problem without examples: one row of no width.
        """

    @property
    def optimum(self) -> Tensor:
        """The minimiser of the mean of all losses, ``[d]``: for yardsticks, which declare ``needs_optimum``."""


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

    def stack(self, name: str) -> Tensor:
        """All messages, dense, ``[M, d]``."""

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
        """Who takes part in this phase: the cohort, everybody (complete: retried), or cohort members never seen."""
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
