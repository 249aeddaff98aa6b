"""pFedGate: every client learns a gate that says, minibatch by minibatch, which blocks of the common model it uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import torch
from torch import Tensor

from fedsparse.masks import Blocks, Cost, Gate, allowed, at_marks, blocks_of, forward_flops
from fedsparse.message import Dense, Mask, Ragged, Scalars
from fedsparse.options import option
from fedsparse.protocol import Context, Inbox, Layout, Message, Role, Start, State, Strategy, Task


class Gated(NamedTuple):
    """What a minibatch makes of a gate.

    Attributes:
        factors: what each block is multiplied by, ``[C, M]``; differentiable in the gate's parameters.
        kept: which blocks are kept, ``[C, M]`` bool.
        statistics: of the gate, ``[C, s]``.
    """

    factors: Tensor
    kept: Tensor
    statistics: Tensor


@dataclass(frozen=True)
class PFedGate(Strategy):
    """pFedGate (Chen, Yao, Gao, Ding, Li, ICML 2023, arXiv:2305.02776).

    Every tensor of θ is cut into at most B = ``parts`` blocks, M in all. Client i keeps a gating layer φ_i for ever.
    For a minibatch of inputs X, with budget s_i and s_min = min(max(1/B, 0.1), s_i)::

        t, g = mean over X of sigmoid(φ_i(X))        [M] each; one head for both, or with ``heads`` = 2 one for each
        ĝ = max(g, s_min)
        kept = the first block of every tensor, and of the others, apart for linear layers and the rest, those of
               largest ĝ (in tenths, ties by place) that fit into (s_i - s_min) of their parameters; all where s_i = 1
        M_b = t_b kept_b (1 + ĝ_b - sg(ĝ_b)),   sg passing no gradient on;      θ' = M ⊙ θ, block by block
        g_θ = M ⊙ ∇f_i(θ'),   g_φ = sum_b <θ, ∇f_i(θ')>_b ∂M_b/∂φ;             each clipped to norm ``clip``

        client:   θ_i = θ;  K times:  φ_i <- φ_i - η_g g_φ,   θ_i <- θ_i - η_l g_θ;     send θ_i - θ
        server:   θ <- θ + sum_i w_i (θ_i - θ)

    K = ``steps``, η_l = ``lr``, η_g = ``gate_lr``; w_i = n_i over the examples of all clients that can take part, or
    with ``sampled`` of those of the round. With ``alternating`` K steps of φ_i alone come first, and K of θ_i alone on
    other minibatches after them. s_i is ``budget``, or where there are ``budgets``, one of these: in turn by number, or
    drawn for each client once (``assigned``), as from a profile of devices: one that stands there twice is drawn twice
    as often.

    Sent: down θ, d values; up the change of the blocks that any step kept, and which these are, M bits. The gates stay
    where they are. Client state: φ_i and its running statistics.
    Records ``kept``, the share of all parameters that a step really kept, on average, and no more than can be kept:
    what is in no block, the first blocks, and of the others of each group the rounded share s - s_min (``most``). For
    tensors of many entries that is s_min + (1 - s_min)(s - s_min), less than s; small tensors, whose first block is
    more than a B-th of them, and norms make it more, even more than s. Also ``flops`` and ``device_bytes``.
    Limit: none that is common; φ_i and θ' are what a client uses, θ alone is what is evaluated. A client by itself is
    judged with its gate in evaluation mode and one mask for each minibatch of its test examples, as
    ``personal_accuracy`` and ``personal_kept``; one that never took part has a fresh gate. With ``tune`` it is judged
    again after so many steps of gate and model on its own examples, as ``tuned_accuracy`` and ``tuned_kept``, and
    forgets them.

    The paper's published code differs: what it reports as sparsity leaves the first blocks out; its ordering of equal
    ĝ depends on the sorting routine; it sends all of θ; and its models end in a ReLU, which the paper's do not.
    Departures: norms of the model are in no block, since a scale of zero passes nothing on; local steps, not passes.
    """

    lr: float = option(0.5, "step size η_l of the common model", above=0)
    gate_lr: float = option(1.0, "step size η_g of the gates", above=0)
    steps: int = option(5, "local steps K of every client", at_least=1)
    budget: float = option(0.5, "share s of the parameters that a client may use", above=0, at_most=1)
    budgets: tuple[float, ...] = option((), "shares of clients that differ, instead of budget")
    assigned: str = option("turn", "how clients get one of the budgets", choices=("turn", "drawn"))
    parts: int = option(5, "blocks B that a tensor is cut into, at most", at_least=1)
    heads: int = option(
        1, "outputs of a gate for each block: the scale apart from the importance, or not", choices=(1, 2)
    )
    alternating: bool = option(False, "whether gate and model are trained one after the other")
    sampled: bool = option(False, "whether weights are of the round's clients rather than of all")
    clip: float = option(10.0, "largest norm of a gradient", above=0)
    tune: int = option(
        0, "steps of gate and model after which a client is judged once more; 0: it is not", at_least=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for share in self.budgets:
            replace(self, budget=share, budgets=())  # is checked like the one of all

    # ---- the gate

    def blocks(self, layout: Layout) -> Blocks:
        """How the model is cut."""
        return blocks_of(layout, self.parts)

    def gate(self, input_shape: Sequence[int], blocks: Blocks) -> Gate:
        """The form of a gating layer."""
        return Gate(tuple(input_shape), self.heads * blocks.count)

    def shares(self, ctx: Context) -> Tensor:
        """s_i of the clients of a call, ``[C]`` float64."""
        given = torch.tensor(self.budgets or (self.budget,), dtype=torch.float64)
        if self.assigned == "turn":
            return given[ctx.ids % len(given)]
        once = replace(ctx, round=0, phase="budget")
        return given[once.rng("budget").integers(len(given), 1)[:, 0]]

    def gated(self, values: Tensor, statistics: Tensor, blocks: Blocks, budget: Tensor) -> Gated:
        """What the values ``[C, heads M]`` of the gates make of the blocks; ``budget`` is s_i, ``[C]``."""
        scale, importance = (values[:, : blocks.count], values[:, -blocks.count :])
        least = budget.clamp(max=max(1 / self.parts, 0.1))
        clipped = importance.clamp(min=least[:, None].to(values.dtype))
        kept = allowed(clipped.detach(), blocks, budget, least)
        # Its value is 0 or 1, its gradient that of the importance where the block is kept.
        straight = kept * (1 + clipped - clipped.detach())
        return Gated(scale * straight, kept, statistics)

    # ---- the protocol

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        if role == "server":
            return {"x": start.x}
        gate, statistics = self.gate(start.input_shape, self.blocks(start.layout)).start(ctx.shared("gate"))
        return {"gate": gate, "statistics": statistics}

    def broadcast(self, server: State, ctx: Context) -> Message:
        return {"x": Dense(server["x"][None])}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        local = _Local(self, client, heard["x"], task, ctx)
        rounds = ((True, False), (False, True)) if self.alternating else ((True, True),)
        for turn, (gates, model) in enumerate(rounds):
            for step in range(self.steps):
                local.step(turn * self.steps + step, gates, model)
        union = local.union
        change = Ragged.of(local.x - heard["x"], local.blocks.spread(union.to(local.x.dtype)) > 0)
        return local.state, {"dx": change, "blocks": Mask(union), **local.records()}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        blocks = self.blocks(ctx.layout)
        union = cast("Mask", inbox.payload("blocks")).marks
        sent = at_marks(cast("Ragged", inbox.payload("dx")), blocks.spread(union.float()) > 0)
        weights = inbox.weights if self.sampled else inbox.examples.double() / ctx.total
        change = torch.zeros_like(server["x"])
        sent.accumulate(change, weights)
        return {"x": server["x"] + change}

    def judge(self, client: State, x: Tensor, task: Task, new: Tensor, ctx: Context) -> dict[str, Tensor]:
        local = _Local(self, client, x, task, ctx)
        accuracy, kept = local.judged()
        found = {"personal_accuracy": accuracy, "personal_kept": kept}
        if not self.tune:
            return found
        for step in range(self.tune):
            local.step(step, gates=True, model=True)
        accuracy, kept = local.judged()
        return {**found, "tuned_accuracy": accuracy, "tuned_kept": kept}


class _Local:
    """Local training of the clients of a call."""

    def __init__(self, strategy: PFedGate, client: State, x: Tensor, task: Task, ctx: Context) -> None:
        count = len(ctx.ids)
        self._s, self._task, self._layout = strategy, task, ctx.layout
        self.blocks, self._budget = strategy.blocks(ctx.layout), strategy.shares(ctx)
        self.x, self.state = x.expand(count, -1).clone(), dict(client)
        self.union = torch.zeros(count, self.blocks.count, dtype=torch.bool)
        self._kept, self._flops, self._steps = (*torch.zeros(2, count, dtype=torch.float64), 0)

    def step(self, number: int, gates: bool, model: bool) -> None:
        """One minibatch; which of the two learns from it."""
        inputs, counts = self._task.inputs(number)
        gate = self._s.gate(inputs.shape[2:], self.blocks)
        leaf = self.state["gate"].detach().requires_grad_(gates)
        with torch.enable_grad():
            values, statistics = gate(leaf, self.state["statistics"], inputs, counts, train=True)
            made = self._s.gated(values, statistics, self.blocks, self._budget)
        factors = self.blocks.spread(made.factors.detach()).to(self.x.dtype)
        slope = self._task.grad(factors * self.x, number)
        if gates:
            outer = self.blocks.sums(self.x * slope).to(values.dtype)
            (inner,) = torch.autograd.grad(made.factors, leaf, outer)
            self.state |= {"gate": leaf.detach() - self._s.gate_lr * _clipped(inner, self._s.clip)}
        if model:
            self.x = self.x - self._s.lr * _clipped(factors * slope, self._s.clip)
            self.union |= made.kept
        self.state |= {"statistics": made.statistics.detach()}
        self._count(made.kept, counts, gate)

    def judged(self) -> tuple[Tensor, Tensor]:
        """Accuracy on the clients' own test examples, and what was kept for one of them on average, ``[C]`` each."""
        gates, statistics = self.state["gate"], self.state["statistics"]
        kept, judged = torch.zeros(2, len(self.x), dtype=torch.float64)

        def gated_model(inputs: Tensor, counts: Tensor, at: Tensor) -> Tensor:
            gate = self._s.gate(inputs.shape[2:], self.blocks)
            values, _ = gate(gates[at], statistics[at], inputs, counts, train=False)
            made = self._s.gated(values, statistics[at], self.blocks, self._budget[at])
            kept[at] += counts * self.blocks.share(made.kept)
            judged[at] += counts
            return self.blocks.spread(made.factors).to(self.x.dtype) * self.x[at]

        accuracy = self._task.own_accuracy(gated_model)
        return accuracy, kept / judged

    def _count(self, kept: Tensor, counts: Tensor, gate: Gate) -> None:
        mask = self.blocks.spread(kept.float()) > 0
        gating = 2 * gate.width * gate.outputs
        self._flops = self._flops + 3 * counts * (forward_flops(self._layout, mask) + gating)
        self._kept = self._kept + self.blocks.share(kept)
        self._steps += 1

    def records(self) -> dict[str, Scalars]:
        """What the round records. A device has θ, what is kept of it with its gradient, and the gate with its own."""
        kept = self._kept / self._steps
        size, itemsize = self._layout.size, self.x.element_size()
        batch = (self._task.examples / self._steps).ceil()
        numbers = size * (1 + 2 * kept) + 2 * self.state["gate"].shape[1] + self._layout.activations * batch
        return {"@kept": Scalars(kept[:, None]), **Cost(self._flops, itemsize * numbers.double()).message()}


def _clipped(gradient: Tensor, norm: float) -> Tensor:
    """Rows ``[C, n]`` of at most this Euclidean norm."""
    length = gradient.norm(dim=1, keepdim=True)
    return gradient * (norm / length.clamp(min=norm))
