"""The command ``python -m fedsparse.report``.

Imports are inside the functions that need them: help and mistakes are to be answered at once.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from fedsparse.arguments import Parser
from fedsparse.command import concluded
from fedsparse.errors import ConfigError
from fedsparse.report.asked import FORMATS, Asked
from fedsparse.units import UNITS, amount
from fedsparse.words import listed, there_are

__all__ = ["main"]

_ABOUT = """\
Compares runs: tables here; in the folder of --out a page for the browser, Markdown, CSV, if asked for also figures.

  python -m fedsparse.report runs/*                           what differs is found, seeds are put together
  python -m fedsparse.report runs --where data=digits         of all runs in a folder those on one data set
  python -m fedsparse.report runs/* --target 0.9 --budget 500kB,2MB
  python -m fedsparse.report runs/* --formats all             PNG and SVG figures and Parquet, too
  python -m fedsparse.report runs/* --follow                  while they run
  python -m fedsparse.report runs/* --network 10Mbps/1Mbps,50ms
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: the arguments after the command's name; by default those of this process.

    Returns:
        the exit status: 0, that of the error (see :mod:`fedsparse.errors`), or 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    return concluded(lambda: _run(words), verbose=bool({"-v", "--verbose"} & set(words)), only_shows=True)


def _run(words: Sequence[str]) -> int:
    given = _parser().parse_args(words)
    asked = _asked(given)
    if given.follow:
        from fedsparse.report.follow import follow

        follow(asked, given.every)
        return 0
    from fedsparse.console import console
    from fedsparse.report.terminal import show
    from fedsparse.report.write import compared, write

    c = compared(asked)
    out = console()
    show(out, c)
    files = write(c, asked)
    if files:
        out.print(
            f"\nwritten to {asked.out}: {listed([str(file.relative_to(asked.out)) for file in files])}",
            style="dim",
        )
    return 0


def _parser() -> Parser:
    from fedsparse.report.axes import AXES

    parser = Parser("fedsparse.report", _ABOUT)
    add = parser.add_argument
    add("paths", nargs="*", metavar="RUN", help="run folders, or folders that hold some")
    add("--metric", help="what is judged; default: accuracy, distance or what all runs have")
    add("--target", type=float, help="value to reach; default: that of the runs, if it is the same in all")
    add("--axis", default="up_bytes", help=f"what a budget is of: {listed(AXES)}")
    add("--budget", default="", metavar="A,B", help="amounts of it, as 500kB,2MB or 100 (rounds) or 2min")
    add(
        "--by",
        default="",
        metavar="KEY,KEY",
        help="what is meant to differ, with its options, as strategy or partition.alpha",
    )
    add(
        "--where",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="only runs with this value; may be repeated",
    )
    add("--unfinished", action="store_true", help="count runs that have not come to their end, too")
    add("--network", metavar="DOWN/UP,DELAY", help="price the runs over other links, as 10Mbps/1Mbps,50ms")
    add(
        "--codec",
        metavar="TYPE",
        help="count the bytes with values of another type: fp64, fp32, fp16 or bf16",
    )
    add(
        "--out",
        type=Path,
        default=Path("report"),
        metavar="FOLDER",
        help="where files are written; default: report",
    )
    add(
        "--formats",
        default="html,md,csv",
        metavar="A,B",
        help=f"{', '.join(FORMATS)}, all or none; default: html,md,csv",
    )
    add("--follow", action="store_true", help="show it again and again until all runs have ended")
    add("--every", type=float, default=5.0, metavar="SECONDS", help="how often, with --follow; default: 5")
    add("-v", "--verbose", action="store_true", help="show the traceback of an error")
    return parser


def _asked(given: argparse.Namespace) -> Asked:
    from fedsparse.report.axes import AXES

    if not given.paths:
        raise ConfigError(
            "which runs? Give run folders or folders that hold some, as in python -m fedsparse.report runs/*"
        )
    if given.axis not in AXES:
        raise ConfigError(f"--axis {given.axis}: there is no such axis{there_are(given.axis, list(AXES))}")
    if not (math.isfinite(given.every) and given.every >= 0.1):
        raise ConfigError(f"--every {given.every:g}: must be at least 0.1 seconds")
    if given.target is not None and not math.isfinite(given.target):
        raise ConfigError(f"--target {given.target}: must be a finite number")
    return Asked(
        paths=[Path(path).expanduser() for path in given.paths],
        metric=given.metric,
        target=given.target,
        axis=given.axis,
        budgets=sorted(_amount(text) for text in _parts(given.budget)),
        by=_parts(given.by),
        where=[_condition(text) for text in given.where],
        unfinished=given.unfinished or given.follow,
        network=given.network,
        codec=given.codec,
        out=given.out.expanduser(),
        formats=_formats(given.formats),
    )


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _amount(text: str) -> float:
    """``500kB``, ``2 min``, ``100``."""
    value = amount(text)
    if value is None:
        raise ConfigError(
            f"--budget {text}: must be an amount above 0, as 500kB, 2MB, 90s or 100; units are "
            f"{listed([unit for unit in UNITS if unit])}"
        )
    return value


def _condition(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"--where {text}: write KEY=VALUE, as in --where data=digits")
    return key, value


def _formats(text: str) -> list[str]:
    named = _parts(text)
    if named in (["all"], ["none"]):
        return list(FORMATS) if named == ["all"] else []
    for name in named:
        if name not in FORMATS:
            raise ConfigError(
                f"--formats {name}: there is no such format{there_are(name, [*FORMATS, 'all', 'none'])}"
            )
    return named
