"""What the checks of MASHA share: given coins, the reference's random subsets, and its minibatches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from strategy_cases import ReferenceRandK, ToyProblem, run
from torch import Tensor

from fedsparse import rng
from fedsparse.compress import Identity, TopK
from fedsparse.protocol import Context
from fedsparse.simulation import Result, simulate
from fedsparse.strategies.masha import Masha
from tests.reference import Minibatches, Trace, b0_toy, b_toy, cohorts, masha1, masha2
from tests.reference.compressors import identity
from tests.reference.oracle import everybody, rand4, top4
from tests.reference.toys import Toy

B, B0 = b_toy(), b0_toy()
TAU = 0.9


def coins(rounds: int) -> tuple[bool, ...]:
    """One for each iteration, true with probability 1 - tau, from seed 9."""
    return tuple(cohorts.coins(rounds, 1 - TAU, seed=9).tolist())


@dataclass(frozen=True)
class Tossed(Masha):
    """MASHA with given coins: ``coins[t]`` is that of iteration t."""

    coins: tuple[bool, ...] = ()

    def syncs(self, ctx: Context) -> bool:
        return self.coins[ctx.round - 1]


SETTINGS: dict[str, Any] = {"lr": 0.1, "sync": 1 - TAU, "oracle": "full", "uplink": TopK(0.1)}


def tossed(rounds: int, cls: type[Tossed] = Tossed, **options: Any) -> Tossed:
    """The strategy of all checks: all examples at both points, k = 4 of 40."""
    return cls(**({"coins": coins(rounds)} | SETTINGS | options))


def end(rounds: int, toy: Toy = B, cls: type[Tossed] = Tossed, problem: Any = None, **options: Any) -> float:
    """The relative distance to the solution after some rounds of all clients."""
    strategy = tossed(rounds, cls, **options)
    made = problem or ToyProblem(toy)
    return toy.error(simulate(strategy, made, rounds=rounds, block=10, evaluate_every=rounds).x.numpy())


def rand(who: Sequence[cohorts.Cohort], seed: int = 3) -> ReferenceRandK:
    """The random subsets of 4 that the reference's clients draw."""
    return ReferenceRandK.of(who, seed=seed)


def server_rand(rounds: int, seed: int = 4) -> ReferenceRandK:
    """Those that its server draws."""
    return ReferenceRandK(rand([np.zeros(1, dtype=np.int64)] * rounds, seed).kept[:, :1])


FORMS: dict[str, Any] = {
    "masha1": (masha1, lambda who: {"uplink": rand(who)}, lambda: {"compress": rand4(3)}),
    "masha1-both": (
        masha1,
        lambda who: {"uplink": rand(who), "downlink": server_rand(len(who))},
        lambda: {"compress": rand4(3), "server_compress": rand4(4)},
    ),
    "masha2": (masha2, lambda _: {"uplink": TopK(0.1)}, lambda: {"compress": top4()}),
    "masha2-both": (
        masha2,
        lambda _: {"uplink": TopK(0.1), "downlink": TopK(0.1)},
        lambda: {"compress": top4(), "server_compress": top4()},
    ),
    "plain": (masha1, lambda _: {"uplink": Identity()}, lambda: {"compress": identity}),
}
"""Each form: the reference, and the compressors of the product (for these cohorts) and of the reference."""


def ours(form: str, rounds: int, who: Sequence[cohorts.Cohort] | None = None, **options: Any) -> Result:
    """The product's run."""
    who = who or everybody(rounds)
    return run(tossed(rounds, **(FORMS[form][1](who) | options)), who, toy=B)


def theirs(form: str, rounds: int, who: Sequence[cohorts.Cohort] | None = None, **options: Any) -> Trace:
    """The reference's run."""
    method, _, compressors = FORMS[form]
    given = {"lr": 0.1, "tau": TAU, "syncs": coins(rounds)} | compressors() | options
    trace: Trace = method(B.gradient, B.x0, 10, who or everybody(rounds), **given)
    return trace


class SampledProblem(ToyProblem):
    """F_mj(z) = F_m(z) + E_mj z with five parts a client; E_mj is 0.1 times normal, centred over j, seed 77.

    A minibatch is one part, drawn from the stream that the product gives.
    """

    def __init__(self) -> None:
        super().__init__(B)
        self.E = 0.1 * np.random.default_rng(77).standard_normal((10, 5, 40, 40))
        self.E -= self.E.mean(1, keepdims=True)

    def part(self, client: int, j: int, z: NDArray[np.float64]) -> NDArray[np.float64]:
        return B.gradient(client, z) + self.E[client, j] @ z

    def gradient(self, ids: Tensor, x: Tensor, draw: rng.Streams) -> Tensor:
        chosen = draw.integers(5, 1)[:, 0].tolist()
        rows = [self.part(m, j, z) for m, j, z in zip(ids.tolist(), chosen, x.numpy(), strict=True)]
        return torch.from_numpy(np.stack(rows))

    def minibatches(self, rounds: int) -> Minibatches:
        """The parts that the product draws with seed 0, for the reference."""
        drawn = [
            [int(rng.stream(0, "batches:0", t, m).integers(5)) for m in range(10)] for t in range(rounds)
        ]
        return Minibatches(self.part, np.array(drawn), np.array(drawn))
