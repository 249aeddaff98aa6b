"""Data sets and their division among clients.

``load("digits")`` needs no files. Others read a folder, ``data_dir`` or the environment variable
``FEDSPARSE_DATA``, which has one subfolder for each set; ``python -m fedsparse.data`` lists them.

Your own data: a function by import path, ``load("package.module:function")``, called as ``function(data_dir,
seed, **options)`` and returning a :class:`Dataset`, a :class:`Problem` or a :class:`Divisible`; or a folder of arrays
(``load("arrays")``).
"""

from __future__ import annotations

import inspect
import os

from fedsparse.data.dataset import Dataset
from fedsparse.data.files import data_root
from fedsparse.data.holdings import Partition
from fedsparse.data.members import Members
from fedsparse.data.problem import Divisible, Problem
from fedsparse.errors import DataError

__all__ = ["SETS", "Dataset", "Divisible", "Partition", "Problem", "load", "names", "options"]

SETS = Members(package="fedsparse.data.sets", function="load", kind="data set", given=("data_dir", "seed"))
"""The data sets: the modules of ``fedsparse.data.sets``, each with ``load(data_dir, seed, **options)``."""


def names() -> list[str]:
    """The data sets that come with fedsparse."""
    return SETS.names()


def options(name: str) -> dict[str, inspect.Parameter]:
    """The options of a data set, with types and defaults."""
    return SETS.options(name)


def load(
    name: str, data_dir: str | os.PathLike[str] | None = None, seed: int = 0, **options: object
) -> Dataset | Problem | Divisible:
    """Load a data set, or make a problem that is given by formulas (``quadratic``), perhaps over examples.

    Args:
        name: one of :func:`names`, or ``package.module:function``.
        data_dir: the folder of the files; ``FEDSPARSE_DATA`` when None.
        seed: the run's seed. Only generated sets depend on it; files and test parts never do.
        options: the options of the set, see :func:`options`.

    Raises:
        ConfigError: an unknown name or option, or a value that makes no sense.
        DataError: a file is missing or damaged.
    """
    function = SETS.checked(name, options)
    loaded = function(data_root(data_dir), seed, **options)
    if not isinstance(loaded, Dataset | Problem | Divisible):
        raise DataError(
            f"data set {name!r} returned a {type(loaded).__name__}; it must return a fedsparse.data.Dataset, "
            "Problem or Divisible"
        )
    return loaded
