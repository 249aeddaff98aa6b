"""The protocol between a gossip strategy and the machine: no server, every client hears its neighbours.

One exchange (a *phase*)::

    every client                                           its neighbours in the topology
    state, message = client_update(state, {}, task)        ── message, along each link ──▶
    state          = aggregate(state, inbox)               ◀── their messages

Both functions work on C clients at once, as :mod:`fedsparse.protocol` says. A phase in which nothing is sent (an empty
message, or one of numbers to record alone) ends after ``client_update``. A client that is away keeps its state, and so
does one whose message is not finite: its neighbours do not hear it, and it does not hear them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NoReturn, Protocol

from torch import Tensor

from fedsparse.errors import ProtocolError
from fedsparse.protocol import Context, Message, State, Strategy, Task
from fedsparse.theory import Delivery, Participation, Stochastic

__all__ = ["Delivery", "Gossip", "Neighbours", "Stochastic"]

Map = Callable[[Tensor], Tensor]
"""From messages ``[M, d]`` to what is wanted of each, ``[M, k]``; row by row."""


class Neighbours(Protocol):
    """What C clients have of a phase: their own messages and those that they heard, E in all, by receiver and sender.

    Sums go over senders in ascending order, a client's own message in its place. W is the mixing matrix; the weight of
    what was not heard is dealt with as the strategy's ``delivery`` says. What it gives may be the memory of the
    messages themselves, which other clients read as well: nobody may write to it.
    """

    receivers: Tensor
    """Whose message it is that was heard: positions among the C clients, ``[E]`` int64, ascending."""
    senders: Tensor
    """Ids of those who sent it, ``[E]`` int64, ascending for each receiver."""
    weights: Tensor
    """W of each message, ``[E]`` float64."""

    def mix(self, name: str, of: Map | None = None) -> Tensor:
        """Sum of weight times message, the own one included: ``[C, d]``, or ``[C, k]`` of what ``of`` gives."""

    def completed(self, name: str, own: Tensor) -> Tensor:
        """As :meth:`mix`, where ``own [C, d]`` of the receiver stands in for what a sparse message leaves out."""

    def neighbours(
        self, name: str, of: Map | None = None, by: Literal["weights", "one"] = "weights"
    ) -> Tensor:
        """Mean of what was heard, without the own message; who heard nothing has its own. ``[C, d]`` or ``[C, k]``."""

    def combine(self, name: str, own: Tensor, others: Tensor, of: Map | None = None) -> Tensor:
        """Sum of messages with weights of the strategy's own: ``own [C]``, ``others [E]``. ``[C, d]`` or ``[C, k]``."""

    def own(self, name: str, of: Map | None = None) -> Tensor:
        """What each client sent itself, as its neighbours decode it: ``[C, d]`` or ``[C, k]``."""

    def heard(self, name: str, of: Map | None = None) -> Tensor:
        """Each message that was heard, ``[E, d]`` or ``[E, k]``."""

    def delivered(self, name: str) -> Tensor:
        """How much of a client's own messages its neighbours have got, ``[C, d]``.

        The sum over receivers j of W_ji times what j got of client i in this phase, the own share included. Without
        losses it is the message itself. What is mixed and what is delivered have the same sum over all clients.
        """


@dataclass(frozen=True)
class Gossip(Strategy):
    """Base of all strategies without a server.

    Attributes:
        stochastic: what must sum to one in the mixing matrix.
        symmetric: whether it must be symmetric.
        nonnegative: whether its weights must not be negative.
        static_graph: whether it may not change from round to round.
        delivery: by message name, what becomes of the weight of a message that was not heard; ``"latest"`` unless
            said. Only a static graph can have ``"queued"``.
    """

    participation: ClassVar[Participation] = "full"
    stochastic: ClassVar[Stochastic] = "doubly"
    symmetric: ClassVar[bool] = False
    nonnegative: ClassVar[bool] = False
    static_graph: ClassVar[bool] = False
    delivery: ClassVar[Mapping[str, Delivery]] = {}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        """The clients' work: new states (same keys, shapes and dtypes) and messages; ``heard`` is empty.

        ``ctx.ids`` are the clients of this call. An audience of ``"all"`` means an exchange of everybody with
        everybody, by all-reduce: W has 1/n everywhere.
        """
        self._lacks("client_update")

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:  # type: ignore[override]
        """The clients' new states, ``[C, ...]``, after they have heard their neighbours."""
        self._lacks("aggregate")

    def _lacks(self, method: str) -> NoReturn:
        raise ProtocolError(
            f"{type(self).__name__} has no {method}; a strategy for gossip needs init, client_update and aggregate"
        )
