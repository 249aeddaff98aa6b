"""The LIBSVM text format: ``label index:value index:value ...``, indices from 1, zeros left out.

Format: C.-C. Chang, C.-J. Lin, "LIBSVM: a library for support vector machines", ACM TIST, 2011.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from fedsparse.data.files import read_text
from fedsparse.errors import DataError

__all__ = ["Rows", "read_svmlight"]


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a file.

    Attributes:
        x: ``[n, features]`` float32, dense.
        labels: ``[n]`` float64, as they stand in the file.
        nonzeros: how many values the file lists.
    """

    x: NDArray[np.float32]
    labels: NDArray[np.float64]
    nonzeros: int


def read_svmlight(path: Path, features: int) -> Rows:
    """Read a file, plain or compressed by its suffix (``.gz``, ``.bz2``).

    Args:
        path: the file.
        features: the number of columns; a file need not reach its last one.

    Raises:
        DataError: the file is damaged, or a line is not of the format; names the line.
    """
    lines = [line for line in read_text(path).splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path} holds no examples; get it again")
    counts = np.array([line.count(b":") for line in lines])
    try:
        tokens = np.array(b" ".join(lines).replace(b":", b" ").split(), dtype=np.bytes_).astype(np.float64)
    except ValueError:
        _blame(path, lines)
    if len(tokens) != len(lines) + 2 * counts.sum():
        _blame(path, lines)
    starts = np.cumsum(1 + 2 * counts) - (1 + 2 * counts)
    pairs = np.delete(tokens, starts).reshape(-1, 2)
    rows = np.repeat(np.arange(len(lines)), counts)
    x = _dense(path, rows, pairs, (len(lines), features))
    return Rows(x, tokens[starts], len(pairs))


def _dense(
    path: Path, rows: NDArray[np.int64], pairs: NDArray[np.float64], shape: tuple[int, int]
) -> NDArray[np.float32]:
    columns = pairs[:, 0].astype(np.int64)
    wrong = (columns != pairs[:, 0]) | (columns < 1) | (columns > shape[1]) | ~np.isfinite(pairs[:, 1])
    if wrong.any():
        at = int(np.argmax(wrong))
        raise DataError(
            f"{path}, example {rows[at] + 1}: the entry {pairs[at, 0]:g}:{pairs[at, 1]:g} is not a finite "
            f"value of a column from 1 to {shape[1]}; the file is damaged, or has more features"
        )
    cells = rows * shape[1] + columns - 1
    if (np.diff(cells) <= 0).any():
        at = int(np.argmax(np.diff(cells) <= 0)) + 1
        raise DataError(
            f"{path}, example {rows[at] + 1}: its columns are not in ascending order; get it again"
        )
    x = np.zeros(shape, dtype=np.float32)
    x.reshape(-1)[cells] = pairs[:, 1]
    return x


def _blame(path: Path, lines: list[bytes]) -> NoReturn:
    for number, line in enumerate(lines, start=1):
        label, *entries = line.split()
        try:
            [float(part) for part in (label, *(p for e in entries for p in e.split(b":", 1)))]
            well_formed = all(entry.count(b":") == 1 for entry in entries)
        except ValueError:
            well_formed = False
        if not well_formed:
            raise DataError(
                f"{path}, example {number} is not LIBSVM text: {line[:60]!r}; "
                f"'label index:value index:value ...' is needed"
            )
    raise DataError(f"{path} is not LIBSVM text; 'label index:value index:value ...' is needed")
