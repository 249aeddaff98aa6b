"""What the checks of strategies share: the reference's toys, cohorts, masks and noise, given to the product."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedsparse import rng
from fedsparse.compress import QSGD, Compressor, RandK, TopK
from fedsparse.engine.sampling import Sampler
from fedsparse.message import Sparse
from fedsparse.protocol import Context, Layout, Strategy
from fedsparse.simulation import Result, simulate
from fedsparse.strategies.d_ec import DEC
from fedsparse.strategies.diana import Diana
from fedsparse.strategies.ec_ideal import ECIdeal
from fedsparse.strategies.ec_sgd import ECSGD
from fedsparse.strategies.econtrol import EControl
from fedsparse.strategies.ef21 import EF21
from fedsparse.strategies.ef21_plus import EF21Plus
from fedsparse.strategies.ef21_sgdm import EF21SGDM
from fedsparse.strategies.ef_extragradient import EFExtragradient
from fedsparse.strategies.extragradient import Extragradient
from fedsparse.strategies.fed_ef import FedEF
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.strategies.fedcom import FedCOM
from fedsparse.strategies.fedcomgate import FedCOMGATE
from fedsparse.strategies.fedopt import FedOpt
from fedsparse.strategies.fedpaq import FedPAQ
from fedsparse.strategies.fedprox import FedProx
from fedsparse.strategies.marina import Marina
from fedsparse.strategies.masha import Masha
from fedsparse.strategies.masked_fedavg import MaskedFedAvg
from fedsparse.strategies.scafcom import Scafcom
from fedsparse.strategies.scaffold import Scaffold
from fedsparse.strategies.scallion import Scallion
from fedsparse.strategies.topk import NaiveTopK
from tests.reference import Toy, Trace
from tests.reference.cohorts import Cohort
from tests.reference.compressors import Compress
from tests.reference.oracle import LOCAL, Q, everybody, sampled
from tests.reference.toys import Array

EXACT = 1e-12
"""Largest difference between two orders of the same float64 operations; the values are of the order of 10."""

PARTICIPATION = {"all": everybody(60), "three": sampled(3, 60), "one": sampled(1, 60)}
"""Cohorts of 60 rounds."""

EVERY: Mapping[str, Strategy] = {
    "fedavg": FedAvg(**LOCAL),
    "fedpaq": FedPAQ(uplink=RandK(0.1), **LOCAL),
    "fedcom": FedCOM(uplink=QSGD(4), **LOCAL),
    "fedcomgate": FedCOMGATE(partial=True, **LOCAL),
    "masked": MaskedFedAvg(**LOCAL),
    "masked-scaled": MaskedFedAvg(scaled=True, **LOCAL),
    "diana": Diana(lr=0.1, partial=True, uplink=RandK(0.1)),
    "marina": Marina(lr=0.1, uplink=RandK(0.1)),
    "fedprox": FedProx(mu=0.5, **LOCAL),
    "fedavgm": FedOpt(optimizer="momentum", server_lr=0.1, **LOCAL),
    "fedadam": FedOpt(optimizer="adam", **LOCAL),
    "fedyogi": FedOpt(optimizer="yogi", **LOCAL),
    "fedadagrad": FedOpt(optimizer="adagrad", **LOCAL),
    "scaffold-1": Scaffold(variant=1, **LOCAL),
    "scaffold-2": Scaffold(variant=2, **LOCAL),
    "scaffold-topk": Scaffold(uplink=TopK(0.1), server_lr=0.5, **LOCAL),
    "scallion": Scallion(uplink=RandK(0.1), server_lr=0.5, **LOCAL),
    "scafcom": Scafcom(uplink=TopK(0.1), beta=0.5, **LOCAL),
    "topk": NaiveTopK(uplink=TopK(0.1), **LOCAL),
    "fed_ef": FedEF(uplink=TopK(0.1), **LOCAL),
    "ec_sgd": ECSGD(partial=True, lr=0.1, uplink=TopK(0.1)),
    "ec_ideal": ECIdeal(partial=True, lr=0.1, uplink=TopK(0.1)),
    "d_ec": DEC(partial=True, lr=0.1, uplink=TopK(0.1)),
    "econtrol": EControl(partial=True, lr=0.1, uplink=TopK(0.1)),
    "ef21": EF21(partial=True, lr=0.1, uplink=TopK(0.1)),
    "ef21_plus": EF21Plus(partial=True, lr=0.1, uplink=TopK(0.1)),
    "ef21_sgdm": EF21SGDM(partial=True, lr=0.1, beta=0.5, uplink=TopK(0.1)),
    "masha-1": Masha(uplink=RandK(0.1), downlink=RandK(0.1)),
    "masha-2": Masha(uplink=TopK(0.1), downlink=TopK(0.1), oracle="full"),
    "extragradient": Extragradient(uplink=TopK(0.1)),
    "ef_extragradient": EFExtragradient(uplink=TopK(0.1)),
}
"""Every strategy, in every form."""


class ToyProblem:
    """A reference toy as a problem for ``simulate``; each row by the very operations of the reference."""

    def __init__(self, toy: Toy = Q, noise: float = 0.0, sizes: Sequence[int] | None = None) -> None:
        self.toy, self.noise, self.clients = toy, noise, toy.clients
        self.start = torch.from_numpy(toy.x0)
        self.sizes = None if sizes is None else torch.tensor(sizes)

    @property
    def optimum(self) -> Tensor | None:
        return torch.from_numpy(self.toy.x_star)

    def full_gradient(self, ids: Tensor, x: Tensor) -> Tensor:
        rows = [self.toy.gradient(i, row) for i, row in zip(ids.tolist(), x.numpy(), strict=True)]
        return torch.from_numpy(np.stack(rows))

    def gradient(self, ids: Tensor, x: Tensor, draw: rng.Streams) -> Tensor:
        exact = self.full_gradient(ids, x)
        return exact + self.noise * draw.normal(x.shape[1], x.dtype) if self.noise else exact


def noisy(
    toy: Toy, cohorts: Sequence[Cohort], steps: int, noise: float, seed: int = 0
) -> Callable[[int, Array], Array]:
    """The reference's gradient with the noise that ``ToyProblem`` sees: a stream for each round, client and step.

    A client's calls are counted, since the reference does not name round and step.
    """
    rounds = {i: [t for t, cohort in enumerate(cohorts) if i in cohort] for i in range(toy.clients)}
    calls = dict.fromkeys(range(toy.clients), 0)

    def gradient(client: int, x: Array) -> Array:
        number, step = divmod(calls[client], steps)
        calls[client] += 1
        stream = rng.stream(seed, f"batches:{step}", rounds[client][number], client)
        return toy.gradient(client, x) + noise * stream.standard_normal(x.size)

    return gradient


@dataclass(frozen=True)
class Given(Sampler):
    """Cohorts from a list."""

    cohorts: Sequence[Cohort]

    def draw(self, seed: int, round: int, population: int, count: int, sizes: Any = None) -> Cohort:  # noqa: A002
        return np.sort(np.asarray(self.cohorts[round], dtype=np.int64))


@dataclass(frozen=True)
class ReferenceRandK(Compressor):
    """Unbiased rand-k with the subsets that the reference's generator draws, ``kept [rounds, N, k]``."""

    kept: NDArray[np.int64]

    @staticmethod
    def of(cohorts: Sequence[Cohort], k: int = 4, seed: int = 11, toy: Toy = Q) -> "ReferenceRandK":
        """One generator for all rounds; clients are visited in sampled order."""
        generator = np.random.default_rng(seed)
        kept = np.zeros((len(cohorts), toy.clients, k), dtype=np.int64)
        for t, cohort in enumerate(cohorts):
            for i in cohort:
                kept[t, i] = np.sort(generator.permutation(toy.size)[:k])
        return ReferenceRandK(kept)

    def compress(self, x: Tensor, ctx: Context, stream: str = "compress") -> Sparse:  # type: ignore[override]
        indices = torch.from_numpy(self.kept[ctx.round, ctx.ids.numpy()])
        size = x.shape[1]
        return Sparse.of(indices, x.gather(1, indices) * (size / indices.shape[1]), size, "fp64")

    def omega(self, size: int) -> float:
        return size / self.kept.shape[-1] - 1


def drawn(compressor: Compressor, stream: str = "uplink", phase: str = "train", toy: Toy = Q) -> Compress:
    """The product's compressor as the reference calls it, with what each client draws in a run with seed 0."""
    layout = Layout.of({"x": (toy.size,)})

    def compress(t: int, i: int, x: Array) -> Array:
        ctx = Context(0, t, phase, torch.tensor([i]), toy.clients, toy.clients, layout)
        return compressor.compress(torch.from_numpy(x)[None], ctx, stream).dense()[0].numpy()

    return compress


def run(
    strategy: Strategy, cohorts: Sequence[Cohort], toy: Toy = Q, noise: float = 0.0, **options: Any
) -> Result:
    """``strategy`` on ``toy`` with these cohorts; all clients of a round in one block unless said otherwise."""
    problem = ToyProblem(toy, noise, options.pop("sizes", None))
    given = {
        "cohort": len(cohorts[0]),
        "block": toy.clients,
        "evaluate_every": len(cohorts),
        "keep_models": True,
    }
    return simulate(strategy, problem, rounds=len(cohorts), sampler=Given(cohorts), **(given | options))


def iterates(result: Result, toy: Toy = Q) -> Array:
    """x^0 .. x^T, ``[T + 1, d]``."""
    return np.stack([toy.x0, *(model.numpy() for model in result.models)])


def error(result: Result, toy: Toy = Q) -> float:
    """The final relative distance to the solution."""
    return toy.error(result.x.numpy())


def rows(result: Result, name: str, clients: int = Q.clients) -> Array:
    """A client state of all clients ``[N, d]``; zeros for those never seen."""
    known = result.clients[name].numpy()
    out = np.zeros((clients, *known.shape[1:]))
    out[result.ids.numpy()] = known
    return out


def assert_same_run(
    result: Result, trace: Trace, renamed: Mapping[str, str] | None = None, toy: Toy = Q
) -> None:
    """Every server iterate, every final server vector and every client's final state are those of the reference.

    Args:
        result: of the product.
        trace: of the reference.
        renamed: the product's name of a state where the reference has another.
        toy: what both ran on.
    """
    named = dict(renamed or {})
    np.testing.assert_allclose(iterates(result, toy), trace.x, rtol=0, atol=EXACT)
    for name, value in trace.server.items():
        np.testing.assert_allclose(result.server[name].numpy(), value, rtol=0, atol=EXACT, err_msg=name)
    for name, value in trace.clients.items():
        ours = rows(result, named.get(name, name), toy.clients)
        np.testing.assert_allclose(ours, value, rtol=0, atol=EXACT, err_msg=name)


def assert_control_is_the_mean(result: Result, clients: int = Q.clients) -> None:
    """Control c == (1/N) sum c_i over all N clients, those never seen counting zero."""
    mean = rows(result, "c", clients).mean(0)
    np.testing.assert_allclose(result.server["c"].numpy(), mean, rtol=0, atol=EXACT)


def assert_same_bits(result: Result, other: Result) -> None:
    """Two runs agree in every bit of the iterates, of the states and of the bytes counted."""
    assert len(result.models) == len(other.models)
    assert all(torch.equal(a, b) for a, b in zip(result.models, other.models, strict=True))
    assert result.server.keys() == other.server.keys()
    assert all(torch.equal(result.server[name], other.server[name]) for name in result.server)
    assert torch.equal(result.ids, other.ids)
    assert result.clients.keys() == other.clients.keys()
    assert all(torch.equal(result.clients[name], other.clients[name]) for name in result.clients)
    assert [r.traffic for r in result.history] == [r.traffic for r in other.history]
