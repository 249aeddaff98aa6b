"""The extragradient method for saddle points: two exchanges a round, the second one at a point in between."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fedsparse.compress import Compressor, Identity
from fedsparse.message import Dense, Payload
from fedsparse.options import option
from fedsparse.protocol import (
    Context,
    Facts,
    Inbox,
    Message,
    Role,
    Start,
    State,
    Strategy,
    Task,
    Theory,
    Vectors,
)


@dataclass(frozen=True)
class Extragradient(Strategy):
    """Extragradient (Korpelevich, Ekonomika i Matematicheskie Metody 12, 1976), with a compressor C = ``uplink``.

    F = (1/M) sum_m F_m is monotone: of a saddle problem F_m = (grad_x g_m, -grad_y g_m), of a minimisation the
    gradient. With γ = ``lr``, S clients a round::

        look:   say x;   clients send C(γ F_m(x));    xh = x - (1/S) sum_S C(γ F_m(x))
        step:   say xh;  clients send C(γ F_m(xh));   x <- x - (1/S) sum_S C(γ F_m(xh))

    Sent: down x and xh (2d values); up two vectors through ``uplink``. Clients keep no state. Both exchanges use one
    and the same minibatch (Mishchenko, Kovalev, Shulgin, Richtárik, Malitsky, AISTATS 2020, arXiv:1905.11373). Limit:
    the solution without compression, where γ < 1/L. With any compressor that loses something, a distance that does
    not shrink where clients differ; that is the baseline for ``masha``.

    Gradient descent-ascent, x <- x - γ F(x), is ``fedavg`` with ``steps=1`` and ``weighting=one``, compressed with
    ``topk`` or with error feedback ``fed_ef``. On bilinear problems it diverges with every step size.
    """

    problems = ("operators", "minimisation")
    theory = (
        Theory("optimum", {"lr": 0.2}, rounds=300, within=1e-8, rate="linear"),
        Theory("optimum", {"lr": 0.8}, rounds=300, within=1e-8, problem="saddle", rate="linear"),
    )

    lr: float = option(0.1, "step size γ", above=0)
    uplink: Compressor = Identity()

    def phases(self, ctx: Context) -> tuple[str, ...]:
        return ("look", "step")

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        return {"x": start.x, "xh": start.x} if role == "server" else {}

    def broadcast(self, server: State, ctx: Context) -> Message:
        return {"x": Dense(server["x" if ctx.phase == "look" else "xh"][None])}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        state, sent = self.send(client, task.grad(heard["x"]).mul_(self.lr), ctx)
        return state, {"dx": sent}

    def send(self, client: State, step: Tensor, ctx: Context) -> tuple[State, Payload]:
        """The new state and the message of clients whose part of the step is ``step [C, d]``."""
        return client, self.uplink.compress(step, ctx, "uplink")

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        moved = server["x"] - inbox.mean("dx", by="one")
        # After a step xh is the new x: should nobody answer the next look, the step is one of descent-ascent.
        return {"x": server["x"] if ctx.phase == "look" else moved, "xh": moved}

    def communication(self, size: int) -> tuple[Vectors, ...]:
        once = Vectors(down=1, up_compressed=1)
        return (once, once)

    def theory_lr(self, facts: Facts) -> float | None:
        """1 / (2 L), with L_max for L where a part of the clients takes part, for an uncompressed uplink.

        Any γ < 1/L converges (Korpelevich 1976).
        """
        return 1 / (2 * (facts.L if facts.full else facts.L_max)) if facts.exact else None
