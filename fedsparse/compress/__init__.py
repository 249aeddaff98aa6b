"""Compressors, one file each. Adding one is adding a module with one :class:`Compressor` in it.

On the command line a compressor is called as its module: ``uplink=topk uplink.fraction=0.01``.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil

from fedsparse.compress.base import Compressor, HasStreams
from fedsparse.compress.block_topk import BlockTopK
from fedsparse.compress.classes import name_of, require
from fedsparse.compress.identity import Identity
from fedsparse.compress.lowbit import LowBit
from fedsparse.compress.natural import Natural
from fedsparse.compress.qsgd import QSGD
from fedsparse.compress.randk import RandK
from fedsparse.compress.scaled import Scaled
from fedsparse.compress.sign import Sign
from fedsparse.compress.threshold import Threshold
from fedsparse.compress.topk import TopK
from fedsparse.errors import ConfigError
from fedsparse.words import there_are

__all__ = [
    "QSGD",
    "BlockTopK",
    "Compressor",
    "HasStreams",
    "Identity",
    "LowBit",
    "Natural",
    "RandK",
    "Scaled",
    "Sign",
    "Threshold",
    "TopK",
    "get",
    "name_of",
    "names",
    "require",
]

_MACHINERY = frozenset(
    {"base", "bracket", "classes", "counts", "dither", "grid", "pieces", "rounding", "rows", "select"}
)


def names() -> list[str]:
    """The compressors that exist, in alphabetical order."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in _MACHINERY)


def get(name: str) -> type[Compressor]:
    """The compressor of a name: the one class of that module which is a :class:`Compressor`.

    Raises:
        ConfigError: there is none of that name; says which there are and the nearest.
    """
    if name not in names():
        raise ConfigError(f"compressor={name}: no such compressor{there_are(name, names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    own = [
        thing
        for thing in vars(module).values()
        if inspect.isclass(thing) and issubclass(thing, Compressor) and thing.__module__ == module.__name__
    ]
    if len(own) != 1:
        found = ", ".join(c.__name__ for c in own) or "none"
        raise ConfigError(
            f"compressor {name!r}: {module.__file__} must define one Compressor, it has {found}"
        )
    return own[0]
