"""Clients that are away and messages that get lost, by chance but always the same for one seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedsparse import rng
from fedsparse.options import option, validate

__all__ = ["Faults"]


@dataclass(frozen=True)
class Faults:
    """Independent faults, each drawn for one (round, phase, attempt, client) whatever else happens."""

    dropout: float = option(
        0.0, "share of the cohort that is away for the whole round", at_least=0, at_most=1
    )
    uplink_loss: float = option(0.0, "share of messages to the server that get lost", at_least=0, at_most=1)
    downlink_loss: float = option(
        0.0, "share of messages to the clients that get lost", at_least=0, at_most=1
    )

    link_loss: float = option(
        0.0, "gossip: share of messages between neighbours that get lost", at_least=0, at_most=1
    )
    symmetric: bool = option(
        False, "gossip: a link that loses a message loses the one in the other direction, too"
    )

    def __post_init__(self) -> None:
        validate(self, "faults.")

    def absent(self, seed: int, round: int, ids: Sequence[int] | NDArray[np.int64]) -> NDArray[np.bool_]:  # noqa: A002
        """Who is away for the whole round, ``[C]``."""
        return _happens(self.dropout, seed, "fault:absent", round, ids)

    def lost(
        self,
        direction: Literal["up", "down"],
        seed: int,
        round: int,  # noqa: A002
        phase: str,
        attempt: int,
        ids: Sequence[int] | NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """Whose message does not arrive.

        Args:
            direction: ``"up"``: from the client; ``"down"``: to the client.
            seed: the run's seed.
            round: the round.
            phase: the exchange.
            attempt: 0, and one more for each time the message is sent again.
            ids: clients, ``[C]``.

        Returns:
            ``[C]``.
        """
        share = self.uplink_loss if direction == "up" else self.downlink_loss
        # The phase is free text and therefore last.
        return _happens(share, seed, f"fault:{direction}:{attempt}:{phase}", round, ids)

    def lost_links(
        self,
        seed: int,
        round: int,  # noqa: A002
        phase: str,
        senders: NDArray[np.int64],
        receivers: NDArray[np.int64],
        clients: int,
    ) -> NDArray[np.bool_]:
        """Which messages between neighbours do not arrive, ``[E]``.

        Args:
            seed: the run's seed.
            round: the round.
            phase: the exchange.
            senders: of each message, ``[E]``.
            receivers: of each message, ``[E]``.
            clients: registered clients.
        """
        first, last = senders, receivers
        if self.symmetric:
            first, last = np.minimum(senders, receivers), np.maximum(senders, receivers)
        return _happens(self.link_loss, seed, f"fault:link:{phase}", round, first * clients + last)


def _happens(
    share: float,
    seed: int,
    purpose: str,
    round: int,  # noqa: A002
    ids: Sequence[int] | NDArray[np.int64],
) -> NDArray[np.bool_]:
    if share == 0:
        return np.zeros(len(ids), dtype=bool)
    drawn = np.array([rng.seed64(seed, purpose, round, int(client)) for client in ids], dtype=np.uint64)
    # 53 bits are a float64 in [0, 1) without rounding, so that a share of 1 is everybody.
    return (drawn >> np.uint64(11)).astype(np.float64) * 2.0**-53 < share
