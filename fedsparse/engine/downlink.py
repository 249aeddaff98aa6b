"""What the server says, and what it costs: compression of the downlink, and replicas that are brought up to date."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedsparse import rng
from fedsparse.compress import Compressor, Identity, Scaled
from fedsparse.engine.block import dense_nbytes
from fedsparse.ledger import CatchUp
from fedsparse.message import Dense, Payload
from fedsparse.protocol import Message
from fedsparse.wire import message_nbytes

__all__ = ["Downlink", "Said"]


@dataclass(frozen=True)
class _ServerStreams:
    """The server's own random streams."""

    seed: int
    round: int

    def rng(self, purpose: str) -> rng.Streams:
        return rng.Streams(self.seed, f"server:{purpose}", self.round, [rng.NOBODY])


@dataclass(frozen=True)
class Said:
    """One broadcast.

    Attributes:
        message: what travels.
        values: what the audience decodes, ``[1, ...]`` or ``[A, ...]``.
        dense: bytes of the same values without compression, one receiver.
    """

    message: Message
    values: Mapping[str, Tensor]
    dense: int


class Downlink:
    """Compresses dense broadcasts with a memory at the server.

    The server keeps a replica z of what all clients hold of a value v, and sends C(v - z): what was left out stays in
    v - z, so nothing is lost for good (error feedback in the form of EF21). An unbiased compressor is used in its
    contractive form C / (1 + omega), without which z need not come closer. Whoever was away is charged for what it
    missed, or for the dense value where that is shorter; the first broadcast is the dense value.

    Source: Gruntkowska, Tyurin, Richtárik, "EF21-P and friends", ICML 2023; Tang et al., DoubleSqueeze, ICML 2019.
    """

    def __init__(self, compressor: Compressor, seed: int, replicated: bool) -> None:
        """Args: the compressor; the run's seed; whether clients share a replica in any case (a ``hear`` of theirs)."""
        self.active = not isinstance(compressor, Identity)
        self.replicated = replicated or self.active
        self.replicas: dict[str, Tensor] = {}
        self.catch_up = CatchUp()
        self._compressor, self._seed = compressor, seed

    def say(self, message: Message, round: int, phase: str) -> Said:  # noqa: A002
        """Compresses what can be: dense values of one row for all."""
        dense = dense_nbytes(message)
        sent: dict[str, Payload] = dict(message)
        values: dict[str, Tensor] = {}
        for name, payload in message.items():
            if not (self.active and isinstance(payload, Dense) and payload.rows == 1):
                values[name] = payload.dense()
                continue
            if name in self.replicas:
                sent[name] = self._change(name, payload.dense(), _ServerStreams(self._seed, round), phase)
                self.replicas[name] = self.replicas[name] + sent[name].dense()
            else:
                self.replicas[name] = payload.dense()
            values[name] = self.replicas[name]
        return Said(sent, values, dense)

    def _change(self, name: str, value: Tensor, streams: _ServerStreams, phase: str) -> Payload:
        compressor, size = self._compressor, value.shape[-1]
        if compressor.delta(size) is None and compressor.omega(size) is not None:
            compressor = Scaled(compressor)
        return compressor.compress(value - self.replicas[name], streams, f"{phase}:{name}")

    def charge(
        self, said: Said, ids: np.ndarray, received: np.ndarray, held: Mapping[str, Tensor]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Payload and header bytes that each of the audience is sent, ``[A]`` each.

        Args:
            said: the broadcast.
            ids: the audience.
            received: whose message arrives.
            held: what clients hold in common, by name.
        """
        payload, header = (np.broadcast_to(n.numpy(), (len(ids),)) for n in message_nbytes(_aligned(said.message)))
        if not self.replicated:
            return payload, header
        whole = [*said.values.values(), *held.values()]
        self.catch_up.said(int(payload[0]))
        return self.catch_up.charge(ids, sum(map(_plain_nbytes, whole)), received), header

    def state(self) -> dict[str, np.ndarray]:
        """Everything as arrays, for a checkpoint."""
        arrays = {f"replica.{name}": value.numpy() for name, value in self.replicas.items()}
        return arrays | {f"catch_up.{name}": value for name, value in self.catch_up.state().items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Goes on from what :meth:`state` gave."""
        self.replicas = {
            name.removeprefix("replica."): torch.from_numpy(value.copy())
            for name, value in arrays.items()
            if name.startswith("replica.")
        }
        self.catch_up.restore(
            {k.removeprefix("catch_up."): v for k, v in arrays.items() if k.startswith("catch_up.")}
        )


def _plain_nbytes(value: Tensor) -> int:
    row = value[:1].flatten(1)
    return int(Dense(row).nbytes()) if row.is_floating_point() else row.numel() * row.element_size()


def _aligned(message: Message) -> Message:
    """The same payloads with equal numbers of rows: those of one row for all are repeated."""
    rows = max(p.rows for p in message.values())
    return {n: p if p.rows == rows else p.select(torch.zeros(rows, dtype=torch.int64)) for n, p in message.items()}
