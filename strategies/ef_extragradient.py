"""The extragradient method with error feedback: what the compressor left out is added to the next message."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse.compress import Compressor, TopK
from fedsparse.message import Payload
from fedsparse.protocol import Context, Role, Start, State, Strategy, Theory
from fedsparse.strategies.extragradient import Extragradient


@dataclass(frozen=True)
class EFExtragradient(Extragradient):
    """EF14 (Seide et al., Interspeech 2014; Karimireddy et al., ICML 2019, arXiv:1901.09847) on both messages.

    With a memory of a client for each exchange, e_m and e'_m, zero at first, γ = ``lr``, and a contractive C =
    ``uplink``::

        look:   v = γ F_m(x) + e_m;     send u = C(v);    e_m <- v - u;     xh = x - (1/S) sum_S u
        step:   v = γ F_m(xh) + e'_m;   send u' = C(v);   e'_m <- v - u';   x <- x - (1/S) sum_S u'

    Sent: as ``extragradient``. Client state: 2 vectors. Limit: a distance proportional to the step size where clients
    differ; on purely bilinear problems it diverges. It has no paper of its own: it is a baseline for ``masha``.
    """

    uplink_class = "contractive"
    theory = Theory("neighbourhood", {"lr": 0.1, "uplink": TopK(0.1)}, rounds=300, within=1e-2)

    theory_lr = Strategy.theory_lr  # there is no theory for it

    uplink: Compressor = TopK(0.01)

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        if role == "server":
            return super().init(role, start, ctx)
        return {name: torch.zeros_like(start.x)[None] for name in ("look", "step")}

    def send(self, client: State, step: Tensor, ctx: Context) -> tuple[State, Payload]:
        sent, memory = self.uplink.with_memory(step, client[ctx.phase], ctx, "uplink", out=step)
        return {**client, ctx.phase: memory}, sent
