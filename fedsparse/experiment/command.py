"""The command ``python -m fedsparse.experiment``.

Imports are inside the functions that need them: help and mistakes are to be answered at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedsparse.arguments import Parser
from fedsparse.command import concluded, one_thread, said
from fedsparse.errors import ConfigError

if TYPE_CHECKING:
    from fedsparse.experiment.arms import Arm
    from fedsparse.experiment.stored import Result
    from fedsparse.experiment.study import Study

__all__ = ["main"]

_ABOUT = """\
Runs an experiment and says whether its claim holds. Experiments are YAML files.

  python -m fedsparse.experiment                            those that there are
  python -m fedsparse.experiment scafcom                    runs what is missing; page, table, verdict
  python -m fedsparse.experiment scafcom quick              a short variant, which shows that everything runs
  python -m fedsparse.experiment a9a data_dir=FOLDER        further key=value of all runs, see python -m fedsparse.run
  python -m fedsparse.experiment mine.yaml                  a file of your own
  python -m fedsparse.experiment --table                    only writes the table of experiments/README.md again

Runs are whole: Ctrl-C stops after a round, the same command goes on, and what is finished is only read. Results
are kept in the folder of --out, but for those with changed keys: these stay with the runs.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: the arguments after the command's name; by default those of this process.

    Returns:
        the exit status: 0 also where a claim does not hold; that of the error (see :mod:`fedsparse.errors`); or 130
        after Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    return concluded(lambda: _run(words), verbose=bool({"-v", "--verbose"} & set(words)), only_shows=False)


def _run(words: Sequence[str]) -> int:
    given = _parser().parse_intermixed_args(words)
    one_thread()
    if given.table or not given.words:
        return _overview(given)
    return _experiment(given)


def _parser() -> Parser:
    parser = Parser("fedsparse.experiment", _ABOUT)
    add = parser.add_argument
    add("words", nargs="*", metavar="NAME [quick|full] [KEY=VALUE ...]", help="which experiment, and how")
    add("--runs", type=Path, metavar="FOLDER", help="of its runs; default: runs/experiments/NAME-VARIANT")
    default = Path("experiments", "results")
    add("--out", type=Path, default=default, metavar="FOLDER", help=f"of all results; default: {default}")
    add("--jobs", type=int, metavar="N", help="runs at a time; default: one for each core")
    add("--table", action="store_true", help="only write the table of README.md beside --out again")
    add("-v", "--verbose", action="store_true", help="show the traceback of an error")
    return parser


def _experiment(given: argparse.Namespace) -> int:
    from fedsparse.config import elsewhere
    from fedsparse.experiment.form import VARIANTS
    from fedsparse.experiment.listing import rewritten
    from fedsparse.experiment.reading import read
    from fedsparse.experiment.shelf import find
    from fedsparse.experiment.study import Study
    from fedsparse.experiment.works import cores
    from fedsparse.words import there_are

    name, file = find(given.words[0])
    pairs = [word for word in given.words[1:] if "=" in word]
    variants = [word for word in given.words[1:] if "=" not in word] or ["full"]
    if len(variants) > 1 or variants[0] not in VARIANTS:
        raise ConfigError(
            f"{variants[-1]}: is no variant{there_are(variants[-1], VARIANTS)}; others are key=value"
        )
    if given.jobs is not None and given.jobs < 1:
        raise ConfigError(f"--jobs {given.jobs}: must be at least 1")
    experiment = read(file, variants[0])
    runs: Path = given.runs or Path("runs", "experiments", f"{name}-{variants[0]}")
    study = Study(experiment, pairs, runs, given.jobs or cores(), said)
    said(f"{experiment.title}: {variants[0]}, runs in {runs}")
    arms = study.go()
    changed = [word for word in pairs if not elsewhere(word.partition("=")[0])]
    _conclude(study, arms, name, variants[0], runs if changed else given.out / name)
    if not changed:
        rewritten(given.out)
    return 0


def _overview(given: argparse.Namespace) -> int:
    """The list of all experiments, or the table in the README."""
    from fedsparse.console import console
    from fedsparse.experiment.listing import listing, rewritten

    if not given.table:
        console().print(listing(given.out))
        return 0
    file = rewritten(given.out)
    if file is None:
        raise ConfigError(
            f"--table: {given.out.parent / 'README.md'} has no two lines to write the table between"
        )
    said(f"written: {file}")
    return 0


def _conclude(study: Study, arms: Sequence[Arm], name: str, variant: str, folder: Path) -> None:
    """Writes page, figure, numbers and table, and prints the latter."""
    from fedsparse.experiment.page import figure, pages
    from fedsparse.experiment.tables import one

    result = _result(study, arms, name, variant)
    result.save(folder)
    text = one(study.experiment, result)
    (folder / f"{variant}.md").write_text(text, encoding="utf-8")
    if variant == "full":
        figure(study.experiment, arms, folder / variant)
    shown = pages(study.experiment, arms, study.runs / "page")
    where = f"results: {folder}\npage: {', '.join(map(str, shown))}"
    sys.stdout.write(f"{text}\nstatus: {result.status}\n{where}\n")


def _result(study: Study, arms: Sequence[Arm], name: str, variant: str) -> Result:
    from fedsparse.experiment.stored import End, Result, processor
    from fedsparse.experiment.tables import command
    from fedsparse.recorded import versions

    asked, curves = study.experiment, study.curves(arms)
    judged = [curve for curve in curves if curve.metric == asked.metric]
    words = ["data_dir=FOLDER" if word.startswith("data_dir=") else word for word in study.words]
    return Result(
        variant=variant,
        command=command(name, variant, words),
        asked=asked.decisive,
        versions=versions(),
        processor=processor(),
        seconds=study.seconds(),
        seen=[
            seen
            for trend in asked.expected
            for seen in trend.seen(curves, asked.metric, asked.against, asked.called)
        ],
        ends=[
            End.of(
                curve,
                arm.tuned.chosen if arm.tuned else {},
                asked.targets,
                [each for each in curves if each.metric in asked.columns.values()],
            )
            for arm, curve in zip(arms, judged, strict=True)
        ],
        notes=[warning for arm in arms for warning in arm.warnings],
        curves=curves,
    )
