"""The checkpoints of a run: the last two, each everything that is needed to go on after its round."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fedsparse.archive import Array, Chunked, read, write
from fedsparse.errors import CheckpointError
from fedsparse.files import TEMPORARY, make_folder

__all__ = ["Array", "CheckpointFolder", "Chunked", "compare", "read", "write"]


def compare(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two configurations, one line for each key: ``"strategy.lr: was 0.1, is 0.2"``.

    Nested keys are joined with dots; lists and tuples are the same thing.
    """
    old, new = dict(_leaves(was)), dict(_leaves(now))
    keys = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return [f"{key}: was {old.get(key, 'absent')}, is {new.get(key, 'absent')}" for key in keys]


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            # As text, NaN equals itself and True differs from 1.
            yield f"{prefix}{key}", json.dumps(value, sort_keys=True)


class CheckpointFolder:
    """The checkpoints of one run, ``round-000012.ckpt`` and the one before.

    Only one process may write to it at a time (the run folder's lock sees to that).

    Args:
        folder: where they lie; created with the first one.
        keep: how many to keep.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep

    def save(self, round: int, meta: Mapping[str, Any], arrays: Mapping[str, Array | Chunked]) -> Path:  # noqa: A002
        """Write the checkpoint of a finished round, then delete those that are no longer kept.

        ``meta["round"]`` is set to ``round``.

        Raises:
            CheckpointError, ResourceError: as :func:`write`; the earlier checkpoints are then untouched.
        """
        make_folder(self.folder)
        for leftover in self.folder.glob(f"*{TEMPORARY}"):
            leftover.unlink(missing_ok=True)
        path = self.folder / f"round-{round:06d}.ckpt"
        write(path, {**meta, "round": round}, arrays)
        for old in self._paths()[: -self.keep]:
            old.unlink(missing_ok=True)
        return path

    def latest(self) -> Path | None:
        """The checkpoint of the highest round, or None."""
        return next(reversed(self._paths()), None)

    def load_latest(self, expect: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Array]]:
        """Read the newest checkpoint.

        Args:
            expect: what its meta dictionary must say under these keys, e.g.
                ``{"config": {...}, "version": "0.1.0"}``.

        Returns:
            Meta dictionary and arrays, as :func:`read`.

        Raises:
            CheckpointError: there is none; or it is damaged (the text offers the one before, which is never
                used silently); or it says something else than expected (the text lists the differing keys).
        """
        paths = self._paths()
        if not paths:
            raise CheckpointError(f"{self.folder}: no checkpoint here. Start the run again without resume.")
        try:
            meta, arrays = read(paths[-1])
        except CheckpointError as error:
            raise CheckpointError(f"{error} {self._way_out(paths)}") from error
        differences = compare({key: meta[key] for key in expect if key in meta}, expect)
        if differences:
            raise CheckpointError(
                f"{paths[-1]}: the checkpoint belongs to another configuration or version:\n  "
                + "\n  ".join(differences)
                + "\nResume with the old settings, or start a new run."
            )
        return meta, arrays

    def _paths(self) -> list[Path]:
        """All checkpoints, ascending round."""
        found = [
            (re.fullmatch(r"round-(\d{6,})\.ckpt", path.name), path)
            for path in self.folder.glob("round-*.ckpt")
        ]
        return [path for _, path in sorted((int(match[1]), path) for match, path in found if match)]

    def _way_out(self, paths: list[Path]) -> str:
        """What to do about the last of ``paths``, which is damaged."""
        for earlier in reversed(paths[:-1]):
            try:
                read(earlier)
            except CheckpointError:
                continue
            return f"The previous checkpoint {earlier.name} is whole: to use it, delete {paths[-1].name}."
        return "No earlier checkpoint is whole: start a new run."
