"""Where the files of a data set are looked for, and reading them so that damage is told in one sentence."""

from __future__ import annotations

import bz2
import gzip
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedsparse.errors import DataError

__all__ = ["VARIABLE", "Files", "Source", "data_root", "read_array", "read_arrays", "read_text", "reading"]

VARIABLE = "FEDSPARSE_DATA"
"""The environment variable that names the data folder when the configuration does not."""


@dataclass(frozen=True)
class Source:
    """A file that the public can get.

    Args:
        filename: what it is called in the data folder.
        urls: https addresses, the first one that works is used.
        sha256: what its bytes must hash to; empty where the publisher states none; then the set's module
            has a ``verify(path)`` that looks inside.
    """

    filename: str
    urls: tuple[str, ...]
    sha256: str = ""


@dataclass(frozen=True)
class Files:
    """The files of one data set.

    Args:
        name: the data set.
        folders: folders below the data folder that are looked at, in this order; ``"."`` is the data folder.
        sources: what can be downloaded.
        origin: where else the files come from, a sentence for the message when they are missing.
    """

    name: str
    folders: tuple[str, ...]
    sources: tuple[Source, ...] = ()
    origin: str = ""

    def find(self, data_dir: Path | None, *filenames: str) -> Path:
        """The first of these file names that exists in one of the folders.

        Raises:
            DataError: none exists; names every path that was looked at and what to do.
        """
        if data_dir is None:
            raise DataError(f"{self.name}: no data folder is set, so nothing was looked at. {self._advice()}")
        paths = [data_dir / folder / filename for folder in self.folders for filename in filenames]
        for path in paths:
            if path.is_file():
                return path
        looked = "".join(f"\n  {path}" for path in paths)
        raise DataError(f"{self.name}: {filenames[0]} was not found. Looked at:{looked}\n{self._advice()}")

    def _advice(self) -> str:
        advice = f"Name the folder with data_dir=FOLDER or the environment variable {VARIABLE}."
        if self.sources:
            hosts = ", ".join(sorted({url for s in self.sources for url in s.urls[:1]}))
            advice += f"\nDownload with: python -m fedsparse.data {self.name} data_dir=FOLDER\nfrom: {hosts}"
        return advice + (f"\n{self.origin}" if self.origin else "")


def data_root(data_dir: str | os.PathLike[str] | None) -> Path | None:
    """The data folder: the one given, else the one of ``FEDSPARSE_DATA``, else None.

    Raises:
        DataError: the folder does not exist.
    """
    given = data_dir or os.environ.get(VARIABLE)
    if not given:
        return None
    root = Path(given).expanduser()
    if not root.is_dir():
        origin = "data_dir" if data_dir else VARIABLE
        raise DataError(f"the data folder {root} of {origin} does not exist or is not a folder")
    return root


DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    zlib.error,
    zipfile.BadZipFile,
    tarfile.TarError,
    MemoryError,
)
"""What readers of numpy and of the standard library raise on truncated or foreign files."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a reader raises on a damaged file into a DataError that names the file."""
    try:
        yield
    except DAMAGE as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(
            f"{path} is damaged or not the file it should be ({reason}); delete it and get it again"
        ) from error


def read_text(path: Path) -> bytes:
    """The bytes of a plain, ``.gz`` or ``.bz2`` file.

    Raises:
        DataError: the file is damaged.
    """
    with reading(path):
        if path.suffix == ".gz":
            return gzip.decompress(path.read_bytes())
        if path.suffix == ".bz2":
            return bz2.decompress(path.read_bytes())
        return path.read_bytes()


def read_array(path: Path) -> NDArray[np.generic]:
    """The array of an ``.npy`` file; pickled objects are refused.

    Raises:
        DataError: the file is damaged, or holds objects.
    """
    with reading(path), path.open("rb") as file:
        array = np.load(file, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise TypeError("it is an archive of arrays")
        return array


def read_arrays(path: Path, **shapes: tuple[int | None, ...]) -> dict[str, NDArray[np.generic]]:
    """Arrays of an ``.npz`` file; pickled objects are refused.

    Args:
        path: the file.
        shapes: for each wanted array its shape, None where any length will do.

    Raises:
        DataError: the file is damaged, an array is missing, or has another shape.
    """
    with reading(path), path.open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise TypeError("it is a single array")
        arrays = {name: archive[name] for name in shapes}
    for name, shape in shapes.items():
        got = arrays[name].shape
        if len(got) != len(shape) or any(w not in (None, g) for w, g in zip(shape, got, strict=True)):
            wanted = tuple("any" if w is None else w for w in shape)
            raise DataError(
                f"{path} is not the file it should be: array {name!r} has shape {got}, not {wanted}"
            )
    return arrays
