"""Other links: how long the recorded rounds would take over them.

With T the recorded time of a round, n its clients, U and D the bytes from and to them, p its exchanges, and links that
are alike for all clients,

    T = 2 p delay + 8 D / (n down) + 8 U / (n up) + C

where C is what the slowest client computed. T, n, U and D are in the records and the links in the configuration, so C
is known, and the same sum with other links is the new time. It is exact to the rounding of nanoseconds where all
clients of a round send and hear as much as each other. Else the slowest client of the round may have been another one,
and it is an estimate, as it is where the recorded links differed from client to client: there the mean client's C is
taken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from fedsparse.errors import ConfigError, RunFolderError
from fedsparse.report.course import Floats, Run
from fedsparse.report.whatif.rounds import Leg, Rounds
from fedsparse.units import number_text

__all__ = ["Line", "own_line", "parse_line", "seconds"]

_RATES = {"bps": 1.0, "kbps": 1e3, "Mbps": 1e6, "Gbps": 1e9}
_DELAYS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_SLACK_S = 1e-6


@dataclass(frozen=True)
class Line:
    """What every client has.

    Attributes:
        down: bits per second to it; infinite without limit.
        up: bits per second from it.
        delay: seconds that a message takes, one way.
    """

    down: float
    up: float
    delay: float

    def __str__(self) -> str:
        down, up = (number_text(rate / 1e6) for rate in (self.down, self.up))
        return f"{down} Mbit/s down, {up} Mbit/s up, {number_text(self.delay * 1e3)} ms"

    def transfer(self, rounds: Rounds, exchanges: Floats) -> Floats:
        """Seconds that a client of each round spends on sending and hearing ``[R]``."""
        clients = np.maximum(rounds.clients, 1)
        return (
            2 * exchanges * self.delay
            + 8 * rounds.down / (clients * self.down)
            + 8 * rounds.up / (clients * self.up)
        )


def parse_line(text: str) -> Line:
    """``10Mbps/1Mbps,50ms``: down, up, delay. One rate is meant for both ways, and no delay is none.

    Raises:
        ConfigError: it is not of that form.
    """
    rates, _, delayed = text.partition(",")
    first, slash, second = rates.partition("/")
    try:
        down = _number(first, _RATES)
        up = _number(second, _RATES) if slash else down
        delay = _number(delayed, _DELAYS) if delayed else 0.0
    except KeyError:
        raise ConfigError(
            f"--network {text}: write DOWN/UP,DELAY, as in 10Mbps/1Mbps,50ms; rates are in bps, kbps, Mbps or Gbps "
            "(bits per second), delays in us, ms or s"
        ) from None
    if down <= 0 or up <= 0:
        raise ConfigError(f"--network {text}: a line needs a rate above 0")
    return Line(down, up, delay)


def own_line(run: Run) -> Line | None:
    """The links of a run; ``None`` where they differ from client to client or from round to round."""
    options = {key: run.config.get(f"network.{key}", 0) for key in ("up", "down", "latency", "jitter")}
    if run.config.get("network") != "constant" or options["jitter"]:
        return None
    down, up = (options[key] * 1e6 if options[key] else np.inf for key in ("down", "up"))
    return Line(down, up, options["latency"] / 1e3)


def seconds(run: Run, recorded: Rounds, sent: Rounds, over: Line) -> tuple[Floats, list[str]]:
    """Virtual seconds of each round over a line ``[R]``, and why they may not be exact.

    Args:
        run: whose rounds they are.
        recorded: as they were.
        sent: the bytes that are sent now.
        over: the line that they take.

    Raises:
        RunFolderError: other links would have changed who was heard, and so what was learned.
    """
    config = run.config
    if config.get("deadline") is not None or config.get("over_select"):
        raise RunFolderError(
            "deadlines and larger cohorts let the links decide who is heard; run it over the new ones"
        )
    exchanges = np.maximum(1, np.rint(recorded.downlink.messages / np.maximum(recorded.clients, 1)))
    own, mean = own_line(run), _mean_compute(run, recorded)
    if own is None:
        computing, doubts = (
            mean,
            ["links and speeds of single clients are not in the records, the mean client is taken"],
        )
    else:
        computing = recorded.seconds - own.transfer(recorded, exchanges)
        doubts = _doubts(run, recorded, computing - mean)
        computing = np.maximum(computing, mean)
    return over.transfer(sent, exchanges) + computing, doubts


def _mean_compute(run: Run, rounds: Rounds) -> Floats:
    """What the mean client computes: a lower bound of what the slowest does."""
    speed = run.config.get("network.speed") or np.inf
    return np.asarray(rounds.examples / np.maximum(rounds.clients, 1) / speed)


def _doubts(run: Run, rounds: Rounds, beyond_mean: Floats) -> list[str]:
    found = []
    if run.config.get("downlink") is not None:
        found.append("with a compressed downlink clients that were away hear more than others")
    if any(bool(leg.lost.any()) for leg in (rounds.uplink, rounds.downlink)):
        found.append("messages were lost, and the records do not say whose")
    if _uneven(rounds, rounds.uplink) or _uneven(rounds, rounds.downlink):
        found.append("not all clients took part in every exchange of a round")
    if bool((beyond_mean < -_SLACK_S).any()):
        found.append("the slowest client of a round sent less than the mean")
    return found


def _uneven(rounds: Rounds, leg: Leg) -> bool:
    return bool((leg.messages % np.maximum(rounds.clients, 1) != 0).any())


def _number(text: str, units: dict[str, float]) -> float:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([A-Za-z]+)\s*", text)
    if found is None:
        raise KeyError
    return float(found[1]) * units[found[2]]
