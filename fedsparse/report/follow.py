"""A report that is shown again and again while runs go on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from fedsparse.console import console
from fedsparse.errors import ConfigError, RunFolderError
from fedsparse.report.asked import Asked
from fedsparse.report.course import Run, Unread
from fedsparse.report.reading import folders, read_run
from fedsparse.report.terminal import on_terminal
from fedsparse.report.write import put_together, write

__all__ = ["follow"]


class _Watch:
    """Reads run folders again where their files have changed."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._seen: dict[Path, tuple[object, Run | Unread]] = {}

    def look(self) -> tuple[list[Run], list[Unread]]:
        """All runs as they are now, those that have begun since included."""
        found = [self._one(path) for path in folders(self._asked.paths)]
        return [x for x in found if isinstance(x, Run)], [x for x in found if isinstance(x, Unread)]

    def _one(self, path: Path) -> Run | Unread:
        state = tuple(_state(path / name) for name in ("config.yaml", "rounds.jsonl", "summary.json"))
        known = self._seen.get(path)
        if known is not None and known[0] == state:
            return known[1]
        try:
            run: Run | Unread = read_run(path)
        except RunFolderError as error:
            run = Unread(path, str(error).removeprefix(f"{path}: "))
        self._seen[path] = (state, run)
        return run


def follow(asked: Asked, every_s: float, sleep: Callable[[float], None] = time.sleep) -> None:
    """Shows the report and writes its files, until every run has ended; or until Ctrl-C.

    Args:
        asked: what is shown; runs that have not ended count.
        every_s: seconds between two looks.
        sleep: waits.
    """
    watch, out = _Watch(asked), console()
    with Live(console=out, auto_refresh=False, vertical_overflow="visible") as live:
        while True:
            runs, unread = watch.look()
            going = [run for run in runs if not run.finished]
            shown = _shown(asked, runs, unread, None if runs and not going else every_s)
            live.update(
                Group(shown, _state_text(runs, going)), refresh=out.is_terminal or (bool(runs) and not going)
            )
            if runs and not going:
                return
            sleep(every_s)


def _shown(asked: Asked, runs: list[Run], unread: list[Unread], every_s: float | None) -> RenderableType:
    try:
        c = put_together(runs, unread, asked)
    except ConfigError as error:
        return Text(str(error))  # nothing was evaluated yet
    write(c, asked, refresh_s=None if every_s is None else math.ceil(every_s))
    return on_terminal(c)


def _state_text(runs: list[Run], going: list[Run]) -> Text:
    done = len(runs) - len(going)
    where = ", ".join(f"{run.path.name} {run.rounds}/{run.config.get('rounds', '?')}" for run in going[:4])
    more = f" and {len(going) - 4} more" if len(going) > 4 else ""
    return Text(
        f"{done} of {len(runs)} runs have ended{f'; going on: {where}{more}' if going else ''}", style="dim"
    )


def _state(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
