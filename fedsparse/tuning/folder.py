"""The folder of a tuning: ordinary run folders, and ``tuned.json``.

::

    tuned.json     what was asked, which runs diverged, and in the end the result
    trials/        a run folder for each setting and seed
    report/        a run folder for each method and report seed, with the chosen values
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedsparse.errors import RunFolderError
from fedsparse.files import make_folder, replacing
from fedsparse.words import listed

__all__ = ["TuningFolder"]

_FILE = "tuned.json"

_DECISIVE = ("fedsparse", "torch", "numpy")
"""What results depend on."""


@dataclass
class TuningFolder:
    """A folder and what its ``tuned.json`` says. Made by :meth:`create` or :meth:`resume`.

    Attributes:
        path: the folder.
        words: the words of the command.
        versions: what it was begun with.
        diverged: runs that diverged, by their place in the folder; they leave no summary.
        result: empty while the tuning is not finished.
    """

    path: Path
    words: Sequence[str]
    versions: Mapping[str, str]
    diverged: list[str] = field(default_factory=list)
    result: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def create(cls, path: Path, words: Sequence[str], versions: Mapping[str, str]) -> TuningFolder:
        """Begins a tuning.

        Raises:
            RunFolderError: there is something in the folder.
            ResourceError: it cannot be written.
        """
        if (path / _FILE).exists():
            raise RunFolderError(
                f"{path}: holds a tuning already. Continue it with resume={path}, or give another name."
            )
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunFolderError(f"{path}: a tuning needs a new or empty folder. Give another name.")
        make_folder(path)
        made = cls(path, list(words), dict(versions))
        made.save()
        return made

    @classmethod
    def resume(cls, path: Path, versions: Mapping[str, str]) -> TuningFolder:
        """Takes up a tuning again.

        Raises:
            RunFolderError: there is none in the folder, its file is damaged, or it was begun with other versions.
        """
        file = path / _FILE
        if not file.is_file():
            raise RunFolderError(f"{path}: there is no tuning to resume here (no {_FILE}). Check the path.")
        try:
            found = json.loads(file.read_bytes())
            made = cls(path, found["words"], found["versions"], found["diverged"], found["result"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunFolderError(f"{file}: damaged: {error!r}. Start a new tuning.") from error
        others = [
            f"{name} {made.versions.get(name)}"
            for name in _DECISIVE
            if made.versions.get(name) != versions[name]
        ]
        if others:
            raise RunFolderError(
                f"{path}: was begun with {listed(others)}, other versions than those here, which may give other "
                "results. Use them, or start a new tuning."
            )
        return made

    def save(self) -> None:
        """Writes ``tuned.json`` in one step.

        Raises:
            ResourceError: it cannot be written.
        """
        values = {
            "words": self.words, "versions": self.versions, "diverged": self.diverged, "result": self.result,
        }  # fmt: skip
        data = (json.dumps(values, indent=2) + "\n").encode()
        with replacing(self.path / _FILE, len(data)) as file:
            file.write(data)
