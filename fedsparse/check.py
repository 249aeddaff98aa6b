"""The command ``python -m fedsparse.check strategy=NAME``: holds a strategy against the protocol."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fedsparse.command import concluded, one_thread
from fedsparse.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from fedsparse.testing import Report

__all__ = ["main"]

USAGE = """\
python -m fedsparse.check [-v] strategy=NAME [strategy.OPTION=VALUE ...] [uplink=NAME ...]

Holds a strategy against the protocol, on small problems of its own; takes seconds. NAME is a strategy, all,
package.module:Class or path/to/file.py. The exit status is 0 where every check passes and 1 where one fails; -v shows
the traceback of an error.
"""

_GROUPS = ("strategy", "uplink")
_STYLES = {"passed": "green", "failed": "bold red", "skipped": "dim"}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: the arguments after the command's name; by default those of this process.

    Returns:
        the exit status: 0, 1 where a check failed, or that of an error (2: there is no such strategy).
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    verbose = bool({"-v", "--verbose"} & set(arguments))
    if {"-h", "--help"} & set(arguments):
        sys.stdout.write(USAGE)
        return 0
    pairs = [text for text in arguments if text not in {"-v", "--verbose"}]
    return concluded(lambda: _run(pairs), verbose=verbose, only_shows=True)


def _run(pairs: Sequence[str]) -> int:
    for text in pairs:
        key, equals, _ = text.partition("=")
        if not equals or key.partition(".")[0] not in _GROUPS:
            raise ConfigError(
                f"{text}: must be strategy=NAME, strategy.OPTION=VALUE or uplink=NAME; see --help"
            )
    if not any(text.startswith("strategy=") for text in pairs):
        raise ConfigError("which strategy? give strategy=NAME, strategy=path/to/file.py, or strategy=all")
    one_thread()  # the trials are small, and many threads would only wait for each other
    from fedsparse.console import console

    out = console()
    failed = []
    for name, report in _reports(pairs):
        _show(out, name, report)
        failed += [] if report.passed else [name]
    if failed:
        out.print(f"failed: {', '.join(failed)}", style="bold red")
    return 1 if failed else 0


def _reports(pairs: Sequence[str]) -> Iterator[tuple[str, Report]]:
    from fedsparse import config
    from fedsparse.gossip import Gossip
    from fedsparse.registry import strategies
    from fedsparse.testing import Finding, Report, check_strategy

    if "strategy=all" not in pairs:
        name = next(text for text in reversed(pairs) if text.startswith("strategy=")).partition("=")[2]
        graph = ["topology=ring"] if issubclass(strategies.get(name), Gossip) else []
        parsed = config.parse([*pairs, *graph])
        yield parsed.strategy.name, check_strategy(config.build(parsed, "strategy"))
        return
    if len(pairs) > 1:
        raise ConfigError("strategy=all: takes no options; choose one strategy to set some")
    for name in strategies.names():
        try:
            yield name, check_strategy(name)
        except ConfigError as error:
            # One broken plug-in does not keep the others from being checked.
            yield name, Report("not loaded", (Finding("import", "failed", str(error)),))


def _show(console: Console, name: str, report: Report) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=f"{name} ({report.strategy})", title_justify="left", box=None, pad_edge=False, show_header=False
    )
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in report.findings:
        style = _STYLES[finding.outcome]
        table.add_row(finding.name, Text(finding.outcome, style=style), Text(finding.explanation))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
