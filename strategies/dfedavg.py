"""DFedAvg and DFedAvgM: local momentum SGD, then a weighted mean of the neighbours' models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fedsparse.compress import Compressor, Identity
from fedsparse.errors import ConfigError
from fedsparse.gossip import Gossip, Neighbours
from fedsparse.message import Dense
from fedsparse.options import option
from fedsparse.protocol import Context, Message, Role, Start, State, Task, Vectors
from fedsparse.variance import corrected_mean


@dataclass(frozen=True)
class DFedAvg(Gossip):
    """DFedAvg and, with momentum, DFedAvgM (Sun, Li, Wang, IEEE TPAMI 2022, arXiv:2104.11375).

    Update of client i with K = ``steps`` local steps of size η = ``lr``, θ = ``momentum``, W the mixing matrix::

        z_i = x_i;  K times:  z_i <- z_i - η g_i(z_i) + θ (z_i - z_i before the last step)
        sends=model:   send z_i;                        x_i <- sum_j W_ij z_j
        sends=change:  send q_i = Q(z_i - x_i);         x_i <- x_i + sum_j W_ij q_j        Q = ``uplink``

    State: x. Sent to each neighbour: one vector of d values, or one through ``uplink``, which may be biased as the
    quantiser of the paper is. ``sends=model`` is ``dpsgd`` with ``order=atc``, and with epochs. A message that is lost
    gives its weight to the receiver's own. With ``correct``, and ``sends=model``, the tensors of what W mixes get the
    variance sum_j W_ij Var(z_j^l), about the same mean: the correction of ``variance_corrected`` with these weights.

    Limit of ``sends=model``: on clients that differ the fixed point of local descent and mixing, near the optimum.

    ``sends=change`` is the quantised variant, from memory: the algorithm box was not at hand. It moves the mean of all
    models by the mean of all q_i, and starting from one point it follows the plain variant for a while. But nothing
    brings models together, since nobody knows those of others: where it comes to rest, W q = 0, so that with an
    invertible W each client is at its own optimum; directions in which W has a negative eigenvalue grow. ``choco``
    compresses without that.
    """

    delivery: ClassVar = {"z": "latest", "q": "latest"}

    lr: float = option(0.1, "step size η", above=0)
    steps: int = option(5, "local steps K", at_least=1)
    epochs: int | None = option(None, "passes over each client's examples, instead of steps", at_least=1)
    momentum: float = option(
        0.0, "heavy-ball weight θ of the local steps, zero at their start", at_least=0, below=1
    )
    weight_decay: float = option(0.0, "L2 penalty of the local steps", at_least=0)
    sends: str = option("model", "the model, or its change through uplink", choices=("model", "change"))
    correct: bool = option(False, "whether the tensors of a mean get back the mean of the models' variances")
    uplink: Compressor = Identity()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.correct and self.sends == "change":
            raise ConfigError(
                "strategy.correct=true: variances are those of models, which strategy.sends=change does not send; "
                "use strategy.sends=model"
            )
        if self.sends == "model" and not isinstance(self.uplink, Identity):
            raise ConfigError(
                "uplink: strategy.sends=model sends models as they are; use strategy.sends=change, or strategy=choco, "
                "which compresses without drifting apart, or leave uplink out"
            )

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        return {"x": start.x[None]}

    def trained(self, x: Tensor, task: Task) -> Tensor:
        """Local models ``[C, d]`` after training from ``x [C, d]``."""
        steps = None if self.epochs else self.steps
        return task.sgd(
            x,
            lr=self.lr,
            steps=steps,
            epochs=self.epochs,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        ).x

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        z = self.trained(client["x"], task)
        if self.sends == "model":
            return {"x": z}, {"z": Dense(z)}
        return client, {"q": self.uplink.compress_sum(z, client["x"], -1.0, ctx, "uplink")}

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        if self.correct:
            return {"x": corrected_mean(lambda of: inbox.mix("z", of), ctx.layout)}
        if self.sends == "model":
            return {"x": inbox.mix("z")}
        return {"x": client["x"] + inbox.mix("q")}

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(up=1) if self.sends == "model" else Vectors(up_compressed=1),)
