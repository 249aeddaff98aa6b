"""What is asked of a study, and the figures of its runs in a file, so that an interrupted one goes on where it was."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

__all__ = ["HERE", "RESULTS", "Stored", "asked"]

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results" / "sparse"


def asked(
    name: str, argv: Sequence[str], about: str | None
) -> tuple[argparse.Namespace, dict[str, str], dict[str, Any], Path | None]:
    """The flags of a study's command, the words that choose some of its runs, its parameters, and the data's folder."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--study", type=Path, default=HERE / f"{name}.yaml")
    parser.add_argument("--runs", type=Path, default=Path(f"runs/{name}.jsonl"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args(argv)
    only = dict(word.split("=", 1) for word in given.words)
    study = yaml.safe_load(given.study.read_text())
    data_dir = Path(only.pop("data_dir")) if "data_dir" in only else None
    study["rounds"] = int(only.pop("rounds", study["rounds"]))
    return given, only, study, data_dir


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
