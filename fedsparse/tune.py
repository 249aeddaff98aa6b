"""The command ``python -m fedsparse.tune``: the same grid for every method, then runs with what was chosen.

Imports are inside the functions that need them: help and mistakes are to be answered at once, without torch.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedsparse.command import concluded, one_thread, said
from fedsparse.errors import ConfigError, Diverged
from fedsparse.words import listed, there_are

if TYPE_CHECKING:
    from fedsparse.tuning.asked import Tuning
    from fedsparse.tuning.folder import TuningFolder

__all__ = ["main"]

_FLAGS = {"-h": "help", "--help": "help", "-v": "verbose", "--verbose": "verbose"}

USAGE = """\
python -m fedsparse.tune [-v] strategy=NAME,NAME key=a,b,c ... [METHOD:key=a,b ...] [key=value ...]
python -m fedsparse.tune resume=FOLDER
python -m fedsparse.tune --help [group | group=name | key]

Tries every combination of the values with several seeds, for each strategy, and chooses the best by the validation
part. The chosen values are then run with other seeds and judged by the test part. In these runs, too, the validation
part is held back: but for the seed they are what was chosen. A run that diverges with one seed rules its setting out.

  strategy=fedavg,scafcom strategy.lr=0.05,0.1,0.2 validation=0.1     three trials a method
  fedavg:strategy.lr=0.1,0.2,0.4 scafcom:strategy.lr=0.1 scafcom:strategy.beta=0.1,0.2,0.5
                                                  for one method alone; it counts before what is meant for all

What can be tuned is the method: {tunable}
and their options. All other keys are those of python -m fedsparse.run (see its --help) and have one value; name and
runs say where the folder lies. Ctrl-C stops, and resume=FOLDER goes on; it may change where runs take place (engine,
quiet). tuned.json in the folder has the scores of all trials, and every run with chosen values says how it was tuned.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: the arguments after the command's name; by default those of this process.

    Returns:
        the exit status: 0, that of the error (see :mod:`fedsparse.errors`; 11 where no setting of a method worked), or
        130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    flags = {_FLAGS[word] for word in words if word in _FLAGS}
    return concluded(lambda: _command(words, flags), verbose="verbose" in flags, only_shows="help" in flags)


def _command(words: Sequence[str], flags: set[str]) -> int:
    pairs = [word for word in words if word not in _FLAGS]
    for word in pairs:
        if word.startswith("-"):
            raise ConfigError(f"{word}: there is no such flag{there_are(word, _FLAGS)}")
    if "help" in flags:
        return _help(pairs)
    one_thread()
    from fedsparse.tuning.asked import asked

    given = dict(word.partition("=")[::2] for word in pairs)
    if "resume" in given:
        return _resumed(given.pop("resume"), [w for w in pairs if not w.startswith("resume=")])
    tuning = asked(pairs)
    return _go(tuning, _new_folder(tuning, given, pairs), [])


def _help(topics: Sequence[str]) -> int:
    from rich.text import Text

    from fedsparse.config.help import show_help
    from fedsparse.config.tables import options
    from fedsparse.console import console
    from fedsparse.tuning.asked import OPTIONS
    from fedsparse.tuning.grid import TUNABLE

    out = console()
    for topic in topics:
        if topic in OPTIONS:
            options(out, [OPTIONS[topic]], "")
        else:
            show_help(out, topic)
    if topics:
        return 0
    out.print(Text(USAGE.format(tunable=listed(TUNABLE))), soft_wrap=True)
    options(out, OPTIONS.values(), "")
    return 0


def _new_folder(tuning: Tuning, given: dict[str, str], words: Sequence[str]) -> TuningFolder:
    from dataclasses import replace

    from fedsparse.recorded import versions
    from fedsparse.runfolder import default_path
    from fedsparse.tuning.folder import TuningFolder

    task = replace(tuning.task, name=given.get("name"), runs=given.get("runs", "runs"))
    base = Path(task.runs).expanduser()
    path = base / task.name if task.name else default_path(f"tune-{task.data.name}", base)
    _say_how(tuning)
    return TuningFolder.create(path, words, versions())


def _say_how(tuning: Tuning) -> None:
    from fedsparse.tuning.tuner import check_data

    how = check_data(tuning.task)
    if how:
        said(how)


def _resumed(folder: str, extra: Sequence[str]) -> int:
    from fedsparse.config import elsewhere
    from fedsparse.recorded import versions
    from fedsparse.tuning.asked import asked
    from fedsparse.tuning.folder import TuningFolder

    for word in extra:
        if not elsewhere(word.partition("=")[0]) or word.partition("=")[0] in ("name", "runs"):
            raise ConfigError(
                f"{word}: a tuning that is continued is the same; only where its runs take place may change, as in "
                "engine=local or quiet=true"
            )
    found = TuningFolder.resume(Path(folder).expanduser(), versions())
    return _go(asked([*found.words, *extra]), found, extra)


def _go(tuning: Tuning, folder: TuningFolder, elsewhere: Sequence[str]) -> int:
    from fedsparse.console import console
    from fedsparse.tuning.result import warnings_of
    from fedsparse.tuning.table import table_of
    from fedsparse.tuning.tuner import Tuner
    from fedsparse.workers import Workers

    trials = listed([f"{method.name} {len(method.settings)}" for method in tuning.methods])
    seeds = listed([str(seed) for seed in tuning.options.seed])
    said(f"trials: {trials}; each with the seeds {seeds}; folder: {folder.path}")
    with Workers() as workers:
        results = Tuner(tuning, folder, workers, elsewhere, _note).go()
    console().print(table_of(results))
    for warning in warnings_of(results):
        said(warning)
    return 0 if all(result.chosen for result in results) else Diverged.exit_status


def _note(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
