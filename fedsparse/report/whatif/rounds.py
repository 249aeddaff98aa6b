"""Every round of a run: who took part, what was sent, how long it took."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedsparse.errors import RunFolderError
from fedsparse.ledger import Direction
from fedsparse.report.course import Floats, Run
from fedsparse.runfolder import read_rounds

__all__ = ["Leg", "Rounds", "every_round"]


@dataclass(frozen=True)
class Leg:
    """One direction of R rounds, all clients together, ``[R]`` each.

    Attributes:
        payload: bytes of the values.
        header: bytes around them.
        dense: bytes of the same values without compression.
        messages: how many.
        lost: how many of them did not arrive.
    """

    payload: Floats
    header: Floats
    dense: Floats
    messages: Floats
    lost: Floats

    @property
    def bytes(self) -> Floats:
        """All that was sent."""
        return self.payload + self.header


@dataclass(frozen=True)
class Rounds:
    """R rounds.

    Attributes:
        clients: that were there ``[R]``.
        uplink: from them.
        downlink: to them.
        examples: that they computed, all together ``[R]``.
        seconds: virtual ones, of each round ``[R]``.
    """

    clients: Floats
    uplink: Leg
    downlink: Leg
    examples: Floats
    seconds: Floats

    @property
    def up(self) -> Floats:
        """Bytes from clients ``[R]``."""
        return self.uplink.bytes

    @property
    def down(self) -> Floats:
        """Bytes to clients ``[R]``."""
        return self.downlink.bytes


def every_round(run: Run) -> Rounds:
    """All rounds of a run's records.

    Raises:
        RunFolderError: they are damaged, or those of a run without a server.
    """
    if run.config.get("topology", "star") != "star" or "radio_bytes" in run.course.costs:
        raise RunFolderError("gossip is not priced anew: what each client hears is not in the records")
    records = read_rounds(run.path)

    def column(*keys: str) -> Floats:
        found = records if len(keys) == 1 else [record[keys[0]] for record in records]
        return np.array([entry.get(keys[-1], 0) for entry in found], dtype=np.float64)

    def leg(way: Direction) -> Leg:
        names = ("payload_bytes", "header_bytes", "dense_bytes", "messages", "lost")
        return Leg(*(column("traffic", f"{way}_{name}") for name in names))

    try:
        return Rounds(
            clients=column("cohort") - column("absent"),
            uplink=leg("up"),
            downlink=leg("down"),
            examples=column("examples"),
            seconds=np.diff(column("virtual_s"), prepend=0.0),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise RunFolderError("its records do not say what was sent in each round") from None
