"""The command ``python -m fedsparse.flower``: a trial on this machine, a new app, keys."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fedsparse.command import concluded, one_thread
from fedsparse.errors import ConfigError

__all__ = ["main"]

_USAGE = """python -m fedsparse.flower COMMAND ...

  trial KEY=VALUE ... [--tls]       a run on this machine: a SuperLink, a SuperNode for each client, all on 127.0.0.1.
                                    Keys are those of python -m fedsparse.run; --tls: encrypted, with registered nodes.
  new FOLDER                        a Flower app around a model and data of your own, for flwr run
  keys FOLDER nodes=N host=NAME     certificates for a SuperLink that is reached as NAME, and keys for N nodes

docs/flower.md has the whole way from a simulation to devices."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: the arguments after the command's name; by default those of this process.

    Returns:
        the exit status, see :mod:`fedsparse.errors`.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    verbose = bool({"-v", "--verbose"} & set(words))
    words = [word for word in words if word not in ("-v", "--verbose")]
    helps = not words or bool({"-h", "--help"} & set(words))
    return concluded(lambda: _help() if helps else _run(words), verbose=verbose, only_shows=helps)


def _help() -> int:
    sys.stdout.write(_USAGE + "\n")
    return 0


def _run(words: list[str]) -> int:
    commands: dict[str, Callable[[list[str]], int]] = {"trial": _trial, "new": _new, "keys": _keys}
    if words[0] not in commands:
        raise ConfigError(f"{words[0]}: there is no such command; commands are {', '.join(commands)}")
    return commands[words[0]](words[1:])


def _trial(words: list[str]) -> int:
    one_thread()
    flags = [word for word in words if word.startswith("-")]
    if set(flags) - {"--tls"}:
        raise ConfigError(
            f"{flags[0]}: there is no such flag; there is --tls, and everything else is key=value"
        )
    from fedsparse.console import console
    from fedsparse.flower.trial import trial
    from fedsparse.progress import final_table
    from fedsparse.records import Record
    from fedsparse.runfolder import read_rounds
    from fedsparse.summary import summarise
    from fedsparse.units import bytes_text

    folder = trial([word for word in words if word not in flags], secure="--tls" in flags)
    records = [Record.of(values) for values in read_rounds(folder)]
    console().print(final_table(summarise(records)))
    up, down = (
        sum(record.flower.get(f"{way}_flower_bytes", 0) for record in records) for way in ("up", "down")
    )
    sys.stdout.write(f"in Flower's own form: up {bytes_text(up)}, down {bytes_text(down)}\n")
    sys.stdout.write(f"run folder: {folder}\n")
    return 0


def _new(words: list[str]) -> int:
    if len(words) != 1:
        raise ConfigError("new: give the folder of the app, as in python -m fedsparse.flower new my-app")
    from fedsparse.flower.new import make_app

    folder = make_app(Path(words[0]))
    package = folder.name.replace("-", "_")
    sys.stdout.write(f"{folder}: change {package}/task.py, then flwr run {folder}\n")
    return 0


def _keys(words: list[str]) -> int:
    if not words or "=" in words[0]:
        raise ConfigError(
            "keys: give a folder, as in python -m fedsparse.flower keys keys nodes=2 host=10.0.0.1"
        )
    given = dict(word.partition("=")[::2] for word in words[1:])
    if set(given) - {"nodes", "host"} or not given.get("nodes", "1").isdecimal():
        raise ConfigError(f"{' '.join(words[1:])}: allowed are nodes=N and host=NAME or host=NAME,NAME")
    from fedsparse.flower.keys import make_keys

    hosts = [host for host in given.get("host", "").split(",") if host]
    keys = make_keys(Path(words[0]), int(given.get("nodes", "1")), hosts)
    sys.stdout.write(f"{keys.folder}: {', '.join(sorted(path.name for path in keys.folder.iterdir()))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
