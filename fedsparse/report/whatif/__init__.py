"""Recorded runs under other links or other types of values, without training again.

What was learned stays what it was; only bytes and virtual seconds are counted anew, as far as the records allow it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fedsparse.errors import RunFolderError
from fedsparse.report.course import Run, Unread
from fedsparse.report.whatif.links import Line, own_line, parse_line, seconds
from fedsparse.report.whatif.rounds import every_round
from fedsparse.report.whatif.values import parse_kind, recoded

__all__ = ["priced_anew"]


def priced_anew(
    runs: Sequence[Run], network: str | None, codec: str | None
) -> tuple[list[Run], list[Unread], list[str]]:
    """The runs at other costs, those that cannot be had so, and how it was done, a sentence each.

    Args:
        runs: as recorded.
        network: links as typed; ``None``: their own.
        codec: a type of values as typed; ``None``: their own.

    Raises:
        ConfigError: one of the texts makes no sense.
    """
    line = None if network is None else parse_line(network)
    kind = None if codec is None else parse_kind(codec)
    done: list[Run] = []
    refused: list[Unread] = []
    doubts: dict[str, list[str]] = {}
    for run in runs:
        try:
            priced, why = _one(run, line, kind)
        except RunFolderError as error:
            refused.append(Unread(run.path, str(error)))
            continue
        done.append(priced)
        for doubt in why:
            doubts.setdefault(doubt, []).append(str(run.path))
    notes = []
    if kind is not None:
        notes.append(
            f"Bytes are counted as if values were sent as {kind}; what that does to the training is not known."
        )
    if line is not None:
        notes.append(
            f"Network time is that over {line}. It is exact where the clients of a round send messages of one length."
        )
    notes += [f"Not exact for {len(paths)} of {len(done)} runs: {doubt}." for doubt, paths in doubts.items()]
    return done, refused, notes


def _one(run: Run, line: Line | None, kind: str | None) -> tuple[Run, list[str]]:
    """A run at its new costs, and why its network time may not be exact."""
    over = line or own_line(run)
    if over is None:
        raise RunFolderError("its own links differ from client to client; give --network, too")
    recorded = every_round(run)
    sent = recorded if kind is None else recoded(run, recorded, kind)
    time, doubts = seconds(run, recorded, sent, over)
    at = run.course.costs["rounds"].astype(np.int64) - 1
    up, both = np.cumsum(sent.up), np.cumsum(sent.up + sent.down)
    costs = {"up_bytes": up[at], "total_bytes": both[at], "virtual_s": np.cumsum(time)[at]}
    return replace(run, course=run.course.with_costs(costs)), doubts
