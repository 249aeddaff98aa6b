"""Where experiments are found: those of this folder, of a clone, or those that are installed with the package."""

from __future__ import annotations

from pathlib import Path

from fedsparse.errors import ConfigError
from fedsparse.words import there_are

__all__ = ["find", "names"]

_FOLDER = "experiments"


def names() -> dict[str, Path]:
    """The files by name, in the order of the alphabet; those of the present folder count before others."""
    package = Path(__file__).resolve().parents[1]
    found: dict[str, Path] = {}
    for place in (Path(_FOLDER), package.parent / _FOLDER, package / _FOLDER):
        for file in sorted(place.glob("*.yaml")):
            found.setdefault(file.stem, file)
    return dict(sorted(found.items()))


def find(name: str) -> tuple[str, Path]:
    """The name and the file of an experiment.

    Args:
        name: a name, or a path to a YAML file.

    Raises:
        ConfigError: there is none.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name).expanduser()
        if not path.is_file():
            raise ConfigError(f"{name}: there is no such file")
        return path.stem, path
    known = names()
    if name not in known:
        raise ConfigError(
            f"{name}: there is no such experiment{there_are(name, list(known))}; or give a YAML file"
        )
    return name, known[name]
