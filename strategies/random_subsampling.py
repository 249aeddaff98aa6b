"""Random subsampling: neighbours exchange a random part of their models, which a seed stands for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from fedsparse.compress import RandK
from fedsparse.gossip import Gossip, Neighbours
from fedsparse.options import option
from fedsparse.protocol import Context, Message, Role, Start, State, Task, Vectors


@dataclass(frozen=True)
class RandomSubsampling(Gossip):
    """Sharing of random parts of the model, as the subsampling of decentralizepy.

    Source: Dhasade, Kermarrec, Pires, Sharma, Vujasinovic, EuroMLSys 2023, arXiv:2304.08322, and their code.

    Update of client i with K = ``steps`` local steps of size η = ``lr``, α = ``fraction``, W the mixing matrix, and m_i
    a random 0/1 vector, a new one in each round::

        y_i = x_i;  K times:  y_i <- y_i - η g_i(y_i);      send m_i and y_i where m_i is 1
        x_i <- y_i + sum_j W_ij m_j (y_j - y_i)             so i fills in its own values for what j leaves out

    State: x. Sent to each neighbour: α d values and a seed of 8 bytes.

    ``masks=own``: each sender draws its own. The mean of all models is then kept on average only, since j hears of i
    what i does not hear of j. ``masks=shared``: all have the same mask in a round, and the mean is kept.

    A message that is lost gives its weight to the receiver's own.

    Limit: as D-PSGD; differences of models shrink on average by the factor 1 - α (1 - λ) a round where W shrinks them
    by λ. Departure: a mask has exactly α d ones, rounded, and not that many on average; each coordinate is still drawn
    with probability α, and independently of other senders and rounds.
    """

    delivery: ClassVar = {"x": "latest"}

    lr: float = option(0.1, "step size η", above=0)
    steps: int = option(1, "local steps K", at_least=1)
    momentum: float = option(0.0, "heavy-ball weight, zero at the start of each round", at_least=0, below=1)
    fraction: float = option(0.1, "share α of the coordinates that is sent", above=0, at_most=1)
    masks: str = option("own", "a mask for each sender, or one for all", choices=("own", "shared"))

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        return {"x": start.x[None]}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        y = task.sgd(client["x"], lr=self.lr, steps=self.steps, momentum=self.momentum).x
        part = RandK(self.fraction, unbiased=False).compress(y, self._draws(ctx), "mask")
        return {"x": y}, {"x": part}

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        return {"x": inbox.completed("x", client["x"])}

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(up_compressed=1),)

    def _draws(self, ctx: Context) -> Context:
        """Whose streams the masks come from."""
        if self.masks == "own":
            return ctx
        nobody = ctx.of_server(ctx.round)
        return replace(nobody, ids=nobody.ids.expand(len(ctx.ids)))
