"""``python -m fedsparse.data``: what there is, getting it, and who would hold what.

::

    python -m fedsparse.data                                       all sets, and where their files are
    python -m fedsparse.data mnist data_dir=~/data                 download, checked
    python -m fedsparse.data digits partition=dirichlet clients=100 partition.alpha=0.1 plot=out.png

Keys: data_dir, partition, clients, seed, validation, plot, ``data.OPTION`` and ``partition.OPTION``.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fedsparse.data import SETS, Dataset, Divisible, load, names
from fedsparse.data.download import download
from fedsparse.data.files import VARIABLE, Files, data_root
from fedsparse.data.partition import partition
from fedsparse.data.validation import held_back
from fedsparse.errors import ConfigError, FedSparseError

__all__ = ["main"]

KEYS = ("data_dir", "partition", "clients", "seed", "validation", "plot")
Value = str | int | float | bool | list[int]


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Args:
        arguments: a name and ``key=value`` words.

    Returns:
        The exit status: 0, or that of the error whose text was written to standard error.
    """
    try:
        if {"-h", "--help"} & set(arguments):
            _say((__doc__ or "").strip())
        elif not arguments or "=" in arguments[0]:
            _list(_parsed(arguments))
        else:
            _one(arguments[0], _parsed(arguments[1:]))
        sys.stdout.flush()
    except FedSparseError as error:
        sys.stderr.write(f"fedsparse: {error}\n")
        return error.exit_status
    except BrokenPipeError:
        # Whoever read has seen enough, as in "| head"; the interpreter's own flush must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _parsed(words: Sequence[str]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or (key not in KEYS and not key.startswith(("data.", "partition."))):
            raise ConfigError(
                f"{word!r} is not understood; write key=value with one of {', '.join(KEYS)}, "
                f"data.OPTION or partition.OPTION"
            )
        values[key] = text if key in {"data_dir", "partition", "plot"} else _literal(text)
    return values


def _literal(text: str) -> Value:
    try:
        value: Value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value


def _list(values: dict[str, Value]) -> None:
    root = data_root(str(values.get("data_dir", "")))
    _say(f"data folder: {root or f'none (data_dir=FOLDER, or {VARIABLE})'}\n")
    for name in names():
        module = SETS.module(name)
        about = (module.__doc__ or "").partition("\n")[0]
        _say(f"{name}: {about}")
        _say(f"    {_state(getattr(module, 'FILES', None), root)}")
    _say("\nA set's files: python -m fedsparse.data NAME data_dir=FOLDER")


def _state(files: Files | None, root: Path | None) -> str:
    if files is None:
        return "needs no files"
    folders = [root / folder for folder in files.folders if folder != "."] if root else []
    for folder in folders:
        if folder.is_dir():
            return f"in {folder}"
    looked = ", ".join(str(folder) for folder in folders) or "no data folder is set"
    return f"not found ({looked}){', can be downloaded' if files.sources else ''}"


def _one(name: str, values: dict[str, Value]) -> None:
    if "partition" in values:
        _summarise(name, values)
        return
    unused = [key for key in values if key != "data_dir"]
    if unused:
        raise ConfigError(f"{', '.join(unused)}: only used with partition=NAME, which is missing")
    _get(name, str(values.get("data_dir", "")))


def _get(name: str, data_dir: str) -> None:
    module = SETS.module(name)
    files: Files | None = getattr(module, "FILES", None)
    if files is None:
        _say(f"{name} needs no files")
        return
    root = Path(data_dir).expanduser() if data_dir else data_root(None)
    if root is None:
        raise ConfigError(f"no data folder is set; add data_dir=FOLDER or set {VARIABLE}")
    verify = getattr(module, "verify", None)
    for path, present in download(files, root):
        if verify is not None:
            verify(path)
        _say(f"{path}: {'already there' if present else 'downloaded'}, checked")


def _summarise(name: str, values: dict[str, Value]) -> None:
    seed, clients = _number(values, "seed"), _number(values, "clients")
    dataset = load(name, str(values.get("data_dir", "")), seed, **_group(values, "data."))
    if isinstance(dataset, Divisible):
        dataset = dataset.dataset
    if not isinstance(dataset, Dataset):
        raise ConfigError(
            f"partition={values['partition']}: {name} is given by formulas, there is nothing to divide"
        )
    dataset = held_back(dataset, _share(values), seed)
    held = partition(str(values["partition"]), dataset, clients, seed, **_group(values, "partition."))
    _say(f"{dataset.name}: inputs {dataset.example_shape} {dataset.x.dtype}, {dataset.classes} classes")
    _say(held.table(dataset.y, dataset.classes))
    if "plot" in values:
        held.plot(str(values["plot"]), dataset.y, dataset.classes)
        _say(f"plot: {values['plot']}")


def _number(values: dict[str, Value], key: str) -> int:
    value = values.get(key, 0)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigError(f"{key}={value!r}: must be a whole number")
    return value


def _share(values: dict[str, Value]) -> float:
    value = values.get("validation", 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ConfigError(f"validation={value!r}: must be a number of at least 0 and below 1")
    return value


def _group(values: dict[str, Value], prefix: str) -> dict[str, Value]:
    return {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
