"""Where the commands print to."""

from __future__ import annotations

import os

from rich.console import Console

__all__ = ["console"]


class _Plain(Console):
    """A console that leaves a broken pipe to us; rich would end the process."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console() -> Console:
    """A console without colours of its own for numbers; 110 columns wide where it is no terminal."""
    made = _Plain(highlight=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = 110
    return made
