"""Half of another rule, and half of oneself."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.sparse import csr_array

from fedsparse.errors import ConfigError
from fedsparse.graphs.rule import Mixing, with_diagonal
from fedsparse.mixing.metropolis import Metropolis
from fedsparse.options import option

__all__ = ["Lazy"]


@dataclass(frozen=True)
class Lazy(Mixing):
    """(I + W) / 2 with the W of another rule.

    Where that is symmetric, no eigenvalue is below 0, as some proofs need.
    """

    of: Mixing = option(Metropolis(), "the rule that gives W")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.of.stochastic != "doubly":
            raise ConfigError(
                f"mixing.of={self.of.name}: is only {self.of.stochastic} stochastic; lazy needs a rule whose "
                "rows and columns both sum to one, such as metropolis"
            )

    def weights(self, links: csr_array) -> csr_array:
        """See :meth:`Mixing.weights`."""
        half = self.of.weights(links) / 2
        half.setdiag(0)
        half.eliminate_zeros()
        return with_diagonal(half)
