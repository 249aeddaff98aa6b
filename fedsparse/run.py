"""The command ``python -m fedsparse.run``: one run, a sweep, the resolved configuration, or help.

Imports are inside the functions that need them: help and mistakes are to be answered at once, without torch.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fedsparse.command import BROKEN_PIPE, BUG, INTERRUPTED, concluded, one_thread, report, said
from fedsparse.errors import ConfigError
from fedsparse.words import nearest

if TYPE_CHECKING:
    from fedsparse.config import Job, RunConfig
    from fedsparse.summary import Summary
    from fedsparse.sweep import Outcome
    from fedsparse.workers import Workers

__all__ = ["BROKEN_PIPE", "BUG", "INTERRUPTED", "main"]

_FLAGS = {
    "-h": "help", "--help": "help", "--cfg": "cfg", "-m": "sweep", "--multirun": "sweep", "-v": "verbose",
    "--verbose": "verbose",
}  # fmt: skip


@dataclass
class _Arguments:
    flags: set[str] = field(default_factory=set)
    overrides: list[str] = field(default_factory=list)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: the arguments after the command's name; by default those of this process.

    Returns:
        the exit status: 0, that of the error (see :mod:`fedsparse.errors`), or 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    flags = {_FLAGS[word] for word in words if word in _FLAGS}
    return concluded(
        lambda: _run(_split(words)), verbose="verbose" in flags, only_shows=bool(flags & {"help", "cfg"})
    )


def _split(argv: Sequence[str]) -> _Arguments:
    arguments = _Arguments()
    for text in argv:
        if text in _FLAGS:
            arguments.flags.add(_FLAGS[text])
        elif text.startswith("-"):
            raise ConfigError(_unknown_flag(text))
        else:
            arguments.overrides.append(text)
    return arguments


def _unknown_flag(text: str) -> str:
    name, equals, value = text.partition("=")
    if equals:
        return f"{text}: keys have no dashes; write {name.lstrip('-')}={value}"
    near = nearest(text, _FLAGS)
    hint = f"; did you mean '{near}'?" if near else ""
    return f"{text}: there is no such flag{hint}; flags are {', '.join(_FLAGS)}; everything else is key=value"


def _run(arguments: _Arguments) -> int:
    if "help" in arguments.flags:
        return _help(arguments.overrides)
    one_thread()
    from fedsparse import config
    from fedsparse.console import console
    from fedsparse.progress import final_table

    if "sweep" in arguments.flags:
        found = config.jobs(arguments.overrides)
    else:
        found = [config.Job("", config.parse(arguments.overrides))]
    if "cfg" in arguments.flags:
        print("---\n".join(config.to_yaml(job.config) for job in found), end="")
        return 0
    if "sweep" in arguments.flags:
        return _sweep(found, "verbose" in arguments.flags)
    console().print(final_table(_experiment(found[0].config)))
    return 0


def _help(topics: Sequence[str]) -> int:
    from fedsparse.config.help import show_help
    from fedsparse.console import console

    out = console()
    for topic in topics or (None,):
        show_help(out, topic)
    return 0


def _experiment(config: RunConfig, workers: Workers | None = None) -> Summary:
    from fedsparse.recorded import run

    return run(config, workers=workers)


def _sweep(found: Sequence[Job], verbose: bool) -> int:
    """Runs one job after the other, whatever becomes of each; gives the status of the first failure."""
    from fedsparse.console import console
    from fedsparse.sweep import table_of
    from fedsparse.workers import Workers

    outcomes: list[Outcome] = []
    with Workers() as workers:
        _run_all(found, workers, outcomes, verbose)
    console().print(table_of(outcomes))
    return next((outcome.status for outcome in outcomes if outcome.status), 0)


def _run_all(found: Sequence[Job], workers: Workers, outcomes: list[Outcome], verbose: bool) -> None:
    """Adds an outcome for each job, until Ctrl-C."""
    from fedsparse.sweep import Outcome

    for number, job in enumerate(found, start=1):
        print(f"[{number}/{len(found)}] {job.label}", file=sys.stderr)
        try:
            outcomes.append(Outcome(job.label, 0, _experiment(job.config, workers)))
        except Exception as error:  # noqa: BLE001 - it is reported, and the other runs are worth having
            outcomes.append(Outcome(job.label, report(error, verbose), None))
        except KeyboardInterrupt:
            said("interrupted")
            outcomes.append(Outcome(job.label, INTERRUPTED, None))
        if outcomes[-1].status == INTERRUPTED:
            break


if __name__ == "__main__":
    sys.exit(main())
