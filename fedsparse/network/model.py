"""The configured network: which line and which processor a client has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fedsparse import rng
from fedsparse.errors import ConfigError
from fedsparse.lazy import cached_property
from fedsparse.network.links import Links
from fedsparse.network.trace import read_trace
from fedsparse.options import option, validate

__all__ = ["Network"]


@dataclass(frozen=True)
class Network:
    """Bandwidth, delay and speed of every client.

    A client's values follow from the seed and its id alone, whoever else is asked about; nothing is computed
    for clients that do not take part. With ``lognormal`` the configured values are the medians, and the four
    values of a client are independent. With ``trace`` client c has row c mod n of a file with n rows.
    """

    profile: str = option(
        "constant",
        "where a client's values come from; none: everything takes no time",
        choices=("none", "constant", "lognormal", "trace"),
    )
    up: float = option(
        10.0, "bandwidth from client to server in Mbit/s, 0: no limit", at_least=0, at_most=1e6
    )
    down: float = option(
        50.0, "bandwidth from server to client in Mbit/s, 0: no limit", at_least=0, at_most=1e6
    )
    latency: float = option(20.0, "one-way delay of a message in ms", at_least=0, at_most=1e6)
    speed: float = option(
        1000.0, "training examples per second and client, 0: takes no time", at_least=0, at_most=1e12
    )
    up_spread: float = option(0.5, "lognormal: sigma of log(up) over clients", at_least=0, at_most=5)
    down_spread: float = option(0.5, "lognormal: sigma of log(down) over clients", at_least=0, at_most=5)
    latency_spread: float = option(
        0.25, "lognormal: sigma of log(latency) over clients", at_least=0, at_most=5
    )
    speed_spread: float = option(0.5, "lognormal: sigma of log(speed) over clients", at_least=0, at_most=5)
    jitter: float = option(
        0.0, "sigma of a lognormal factor on each value, new every round", at_least=0, at_most=5
    )
    trace: str | None = option(
        None, "trace: CSV file with the columns client,up_mbps,down_mbps,latency_ms,examples_per_s"
    )

    def __post_init__(self) -> None:
        validate(self, "network.")
        if self.profile == "trace" and not self.trace:
            raise ConfigError("network.profile=trace: needs a CSV file, give its path in network.trace")
        if self.trace and self.profile != "trace":
            raise ConfigError(
                f"network.trace={self.trace}: is only read with network.profile=trace, not {self.profile}"
            )
        if self.profile == "trace":
            self._rows  # noqa: B018 - a damaged file is reported before any work

    def links(self, seed: int, ids: Sequence[int] | NDArray[np.int64], round: int) -> Links:  # noqa: A002
        """What these clients have in this round.

        Args:
            seed: the run's seed.
            ids: clients, ``[C]``.
            round: only the jitter depends on it.
        """
        clients = [int(client) for client in ids]
        rates = self._rates(seed, clients)
        if self.jitter > 0 and self.profile != "none":
            draws = [_normals(seed, "network:jitter", round, client) for client in clients]
            rates = rates * _factors(draws, (self.jitter,) * 4)
        return Links.of(rates)

    def _rates(self, seed: int, clients: list[int]) -> NDArray[np.float64]:
        if self.profile == "none":
            return np.zeros((len(clients), 4))
        if self.profile == "trace":
            return self._rows[np.array(clients, dtype=np.int64) % len(self._rows)]
        medians = np.array([self.up, self.down, self.latency, self.speed])
        if self.profile == "constant":
            return np.tile(medians, (len(clients), 1))
        sigmas = (self.up_spread, self.down_spread, self.latency_spread, self.speed_spread)
        return medians * _factors([_lasting(seed, client) for client in clients], sigmas)

    @cached_property
    def _rows(self) -> NDArray[np.float64]:
        return read_trace(self.trace or "")


def _factors(draws: list[tuple[float, ...]], sigmas: tuple[float, ...]) -> NDArray[np.float64]:
    # exp of one number at a time: a vectorised one may round differently by the place in the array.
    rows = [[math.exp(sigma * z) for sigma, z in zip(sigmas, draw, strict=True)] for draw in draws]
    return np.array(rows, dtype=np.float64).reshape(len(draws), 4)


def _normals(seed: int, purpose: str, round: int, client: int) -> tuple[float, ...]:  # noqa: A002
    return tuple(rng.stream(seed, purpose, round, client).standard_normal(4).tolist())


@lru_cache(maxsize=1 << 16)
def _lasting(seed: int, client: int) -> tuple[float, ...]:
    # Remembered, as making a stream is the whole cost and a client comes back with the same numbers.
    return _normals(seed, "network", 0, client)
