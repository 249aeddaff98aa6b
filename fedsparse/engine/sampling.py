"""Who takes part in a round."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedsparse import rng
from fedsparse.engine.slab import Ids
from fedsparse.errors import ConfigError
from fedsparse.options import option, validate
from fedsparse.words import there_are

__all__ = ["Full", "RoundRobin", "Sampler", "Uniform", "Weighted", "get", "names"]


@dataclass(frozen=True)
class Sampler(ABC):
    """Draws the cohort of a round; the draw follows from (seed, round) alone."""

    needs_sizes: ClassVar[bool] = False
    """Whether :meth:`draw` needs the examples of all registered clients."""
    everybody: ClassVar[bool] = False
    """Whether a cohort is always all clients."""

    @property
    def limit(self) -> str:
        """What keeps clients out where some cannot take part, as it is configured."""
        return f"sampler={_name_of(type(self))}"

    def eligible(self, population: int, sizes: Ids | None = None) -> int:  # noqa: ARG002
        """How many clients can take part: all of them, unless the sampler leaves some out.

        Args:
            population: registered clients N.
            sizes: examples of each client, ``[N]``; where they are not given, nobody is left out for having none.
        """
        return population

    def able(self, population: int, sizes: Ids | None = None) -> Ids:
        """Which clients these are, ascending: the first ones, unless the sampler says otherwise.

        Whoever is not among them is not asked in any phase, also not in one for everybody: it is registered, has an id,
        and is evaluated where clients are judged one by one. Arguments as of :meth:`eligible`.
        """
        return np.arange(self.eligible(population, sizes), dtype=np.int64)

    def check(self, cohort: int, population: int, sizes: Ids | None = None) -> None:
        """Refuses a cohort that cannot be drawn.

        Raises:
            ConfigError: says what to do.
        """
        if not 1 <= cohort <= population:
            raise ConfigError(
                f"cohort={cohort}: must be at least 1 and at most the number of clients, {population}"
            )
        able = self.eligible(population, sizes)
        if cohort > able:
            raise ConfigError(
                f"cohort={cohort}: with {self.limit} only {able} of clients={population} can take part; lower "
                "cohort, or let more take part"
            )
        if self.everybody and cohort < able:
            raise ConfigError(
                f"cohort={cohort}: {self.limit} draws all of clients={population}; leave cohort out, or choose a "
                "sampler of some of them, as in sampler=uniform"
            )

    @abstractmethod
    def draw(self, seed: int, round: int, population: int, count: int, sizes: Ids | None = None) -> Ids:  # noqa: A002
        """The cohort.

        Args:
            seed: the run's seed.
            round: the round.
            population: registered clients N.
            count: how many to draw, 1 .. :meth:`eligible`.
            sizes: examples of each client, ``[N]``; only some samplers need them.

        Returns:
            distinct client ids, ascending, ``[count]`` int64.

        Raises:
            ConfigError: ``count`` is out of range, or sizes are needed and not given.
        """

    def coefficients(self, sizes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Relative weights of a cohort's messages, given its numbers of examples ``[C]``: those numbers."""
        return sizes.astype(np.float64)


@dataclass(frozen=True)
class Uniform(Sampler):
    """Every set of ``count`` clients is equally likely. Cost grows with the cohort, not the population."""

    novel: float = option(
        0.0,
        "share of the clients, the last ones, that never take part: no phase asks them, they are evaluated only",
        at_least=0,
        below=1,
    )

    def __post_init__(self) -> None:
        validate(self, "sampler.")

    @property
    def limit(self) -> str:
        """See :attr:`Sampler.limit`."""
        return f"sampler.novel={self.novel}"

    def eligible(self, population: int, sizes: Ids | None = None) -> int:  # noqa: ARG002
        """See :meth:`Sampler.eligible`: the first ones, without the share ``novel``."""
        return population - int(self.novel * population)

    def draw(self, seed: int, round: int, population: int, count: int, sizes: Ids | None = None) -> Ids:  # noqa: A002, ARG002
        """See :meth:`Sampler.draw`."""
        self.check(count, population)
        able, stream = self.eligible(population), rng.stream(seed, "sampler", round)
        # Unshuffled, NumPy uses Floyd's set sampling: no array of the population is made for a small cohort.
        drawn = stream.choice(able, count, replace=False, shuffle=False)
        return np.sort(drawn.astype(np.int64))


@dataclass(frozen=True)
class Weighted(Sampler):
    """Clients with more examples are drawn more often: successive draws in proportion to the examples.

    The draw has counted the examples, so the messages count alike. Without replacement the chance of being
    drawn is proportional to the examples only while the cohort is small against the population. Who has no example
    never takes part.

    Source: Efraimidis and Spirakis, "Weighted random sampling with a reservoir", Inf. Process. Lett. 2006.
    """

    needs_sizes: ClassVar[bool] = True

    @property
    def limit(self) -> str:
        """See :attr:`Sampler.limit`."""
        return "sampler=weighted (nobody without examples)"

    def eligible(self, population: int, sizes: Ids | None = None) -> int:
        """See :meth:`Sampler.eligible`: those that have examples."""
        return population if sizes is None else int(np.count_nonzero(sizes))

    def able(self, population: int, sizes: Ids | None = None) -> Ids:
        """See :meth:`Sampler.able`: those that have examples."""
        return super().able(population) if sizes is None else np.flatnonzero(sizes)

    def draw(self, seed: int, round: int, population: int, count: int, sizes: Ids | None = None) -> Ids:  # noqa: A002
        """See :meth:`Sampler.draw`; needs ``sizes``, and takes time linear in the population."""
        if sizes is None or sizes.shape != (population,):
            given = "none" if sizes is None else f"shape {sizes.shape}"
            raise ConfigError(
                f"sampler=weighted: needs the examples of all {population} clients, got {given}"
            )
        self.check(count, population, sizes)
        able = np.flatnonzero(sizes > 0)
        waits = rng.stream(seed, "sampler", round).standard_exponential(population)
        return able[_smallest(waits[able] / sizes[able], count)]

    def coefficients(self, sizes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Ones ``[C]``."""
        return np.ones(len(sizes), dtype=np.float64)


@dataclass(frozen=True)
class RoundRobin(Sampler):
    """One cohort after the other in ascending id, starting again at client 0 after the last."""

    def draw(self, seed: int, round: int, population: int, count: int, sizes: Ids | None = None) -> Ids:  # noqa: A002, ARG002
        """See :meth:`Sampler.draw`."""
        self.check(count, population)
        first = round * count % population
        return np.sort((first + np.arange(count, dtype=np.int64)) % population)


@dataclass(frozen=True)
class Full(Sampler):
    """Everybody, every round; ``count`` has no effect."""

    everybody: ClassVar[bool] = True

    def draw(self, seed: int, round: int, population: int, count: int, sizes: Ids | None = None) -> Ids:  # noqa: A002, ARG002
        """See :meth:`Sampler.draw`."""
        return np.arange(population, dtype=np.int64)


_SAMPLERS: dict[str, type[Sampler]] = {
    "full": Full,
    "round_robin": RoundRobin,
    "uniform": Uniform,
    "weighted": Weighted,
}


def names() -> list[str]:
    """The samplers there are, in alphabetical order."""
    return list(_SAMPLERS)


def get(name: str) -> type[Sampler]:
    """The sampler of that name.

    Raises:
        ConfigError: there is none; names those that exist, and the nearest.
    """
    if name not in _SAMPLERS:
        raise ConfigError(f"sampler={name}: no such sampler{there_are(name, names())}")
    return _SAMPLERS[name]


def _name_of(cls: type[Sampler]) -> str:
    return next((name for name, member in _SAMPLERS.items() if member is cls), cls.__name__)


def _smallest(keys: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """Positions of the ``count`` smallest keys, ascending; of equal keys the first positions."""
    limit = np.partition(keys, count - 1)[count - 1]
    below = np.flatnonzero(keys < limit)
    equal = np.flatnonzero(keys == limit)[: count - len(below)]
    return np.sort(np.concatenate((below, equal)))
