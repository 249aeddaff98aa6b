"""Figures of single runs in a file, one line each, so that an interrupted study goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["Stored"]


class Stored:
    """What is known of runs; a run is named by some words, such as its method and seed.

    Args:
        path: of the file; it is made when there is something to write.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.runs: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def of(self, words: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The runs with these words among theirs."""
        return [run for run in self.runs if all(run.get(key) == value for key, value in words.items())]

    def add(self, words: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        """Writes down what a run came to, and says it."""
        self.runs.append({**words, **figures})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.runs[-1]) + "\n")
        print(self.runs[-1], flush=True)
