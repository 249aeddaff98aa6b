"""Measured lines and processors, read from a CSV file."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedsparse.errors import DataError

__all__ = ["COLUMNS", "read_trace"]

COLUMNS = ("client", "up_mbps", "down_mbps", "latency_ms", "examples_per_s")
"""The header that a trace must have, in any order; other columns are left alone."""


def read_trace(path: str | Path) -> NDArray[np.float64]:
    """Reads one row for each of the clients 0 .. n-1, in any order; a rate of 0 is one without limit.

    Args:
        path: a CSV file with the header :data:`COLUMNS`.

    Returns:
        ``[n, 4]``, row = client, columns: up and down in Mbit/s, latency in ms, examples per second.

    Raises:
        DataError: the file is missing or empty, lacks a column, names a client twice or leaves one out, or
            holds something that is not a number of at least 0. Names the file and the line.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = _rows(path, csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"the network trace {path} cannot be read: {error}; give a CSV file in network.trace"
        ) from error
    missing = sorted(set(range(len(rows))) - set(rows))
    if not rows or missing:
        problem = f"has no row for client {missing[0]}" if missing else "has no rows"
        raise DataError(
            f"the network trace {path} {problem}: clients must be numbered 0, 1, 2, ... without a gap"
        )
    return np.array([rows[client] for client in range(len(rows))], dtype=np.float64)


def _rows(path: Path, reader: csv.DictReader[str]) -> dict[int, list[float]]:
    absent = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if absent:
        raise DataError(
            f"the network trace {path} has no column {absent[0]}: the first line must be {','.join(COLUMNS)}"
        )
    rows: dict[int, list[float]] = {}
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        client = _client(row["client"], where)
        if client in rows:
            raise DataError(f"{where}: client {client} has a row already; each client has one")
        rows[client] = [_number(row[name], name, where) for name in COLUMNS[1:]]
    return rows


def _client(text: str | None, where: str) -> int:
    if text is None or not (text.strip().isascii() and text.strip().isdigit()):
        raise DataError(f"{where}: client={text!r} must be a whole number from 0 on")
    return int(text)


def _number(text: str | None, column: str, where: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise DataError(f"{where}: {column}={text!r} must be a number of at least 0")
    return value
