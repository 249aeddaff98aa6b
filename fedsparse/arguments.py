"""The parser of the commands that have options, ``--name value``."""

from __future__ import annotations

import argparse
from typing import NoReturn

from fedsparse.errors import ConfigError

__all__ = ["Parser"]


class Parser(argparse.ArgumentParser):
    """A parser whose errors are ours.

    Args:
        module: of the command, as ``fedsparse.report``.
        about: its description, shown as it stands.
    """

    def __init__(self, module: str, about: str) -> None:
        form = argparse.RawDescriptionHelpFormatter
        super().__init__(f"python -m {module}", description=about, formatter_class=form, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Refuses what was given.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"{message}; see {self.prog} --help")
