"""Federated and decentralized learning with sparse communication.

``fedsparse.simulate`` runs a strategy on a problem or a data set; ``python -m fedsparse.run`` does it from a
configuration, with a run folder. Importing this package is light: torch and ray are imported when they are needed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedsparse.simulation import Result, simulate

__all__ = ["Result", "simulate"]

# Without it MKL's products round differently with the alignment of their arguments, so that a client's bits would
# depend on its place in a block. MKL looks at its first use; a value that the user has set stays.
os.environ.setdefault("MKL_CBWR", "AUTO")


def __getattr__(name: str) -> Any:
    if name in __all__:
        from fedsparse import simulation

        return getattr(simulation, name)
    raise AttributeError(f"module 'fedsparse' has no attribute '{name}'")
