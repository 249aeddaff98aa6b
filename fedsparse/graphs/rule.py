"""What a mixing rule is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from scipy.sparse import csr_array, diags_array

from fedsparse import registry
from fedsparse.errors import ProtocolError
from fedsparse.options import validate
from fedsparse.theory import Stochastic

__all__ = ["Mixing", "Stochastic", "with_diagonal"]


@dataclass(frozen=True)
class Mixing:
    """Base of all rules that make a mixing matrix from links without weights.

    A subclass is a frozen dataclass; its fields are its options.

    Attributes:
        stochastic: what the rule promises for every graph.
        directed: whether it takes links that go one way.
        extra: numbers that travel with the model in each message.
    """

    stochastic: ClassVar[Stochastic] = "doubly"
    directed: ClassVar[bool] = False
    extra: ClassVar[int] = 0

    def __post_init__(self) -> None:
        validate(self, "mixing.")

    @property
    def name(self) -> str:
        """The name it is chosen by: its file, or ``module:Class`` outside of this package."""
        return registry.mixings.name_of(type(self))

    def weights(self, links: csr_array) -> csr_array:
        """``W [n, n]`` from ones ``[n, n]``; row = receiver, the diagonal of ``links`` is empty."""
        raise ProtocolError(f"{type(self).__name__} has no weights; a mixing rule needs weights(links)")


def with_diagonal(others: csr_array, axis: Literal[0, 1] = 1) -> csr_array:
    """Adds to weights ``[n, n]`` of others what is left to one, for oneself.

    Args:
        others: nothing on the diagonal.
        axis: 1: rows sum to one; 0: columns do.
    """
    left = 1.0 - np.asarray(others.sum(axis=axis)).ravel()
    made = csr_array(others + diags_array(left))
    made.sort_indices()
    return made
