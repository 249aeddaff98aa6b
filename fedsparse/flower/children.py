"""Processes that end with this one, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import distribution
from pathlib import Path

from fedsparse.errors import ResourceError
from fedsparse.files import make_folder
from fedsparse.flower.nursery import WRAPPER
from fedsparse.process import die_with_parent

__all__ = ["Child", "door", "surroundings"]

_OFFLINE = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Nothing goes to the internet."""

_QUICK = {"FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1"}
"""Seconds between two looks for work; Flower's own default is one second."""


_OF_NURSERY = ("flwr-clientapp", "flwr-serverapp")
"""What Flower starts for each task."""

_PROGRAM = """#!{python}
import sys
from {module} import {name} as program
"""

_TIED = """
from fedsparse.process import die_with_parent
die_with_parent()
"""
"""Flower's own watch over the parent asks a task to stop, which a round that waits for a dead SuperLink cannot."""

_RUN = """
sys.exit(program())
"""


def door(folder: Path) -> Path:
    """The socket of the nursery of a deployment in ``folder``."""
    return folder / "nursery"


def surroundings(folder: Path) -> dict[str, str]:
    """The environment of Flower's processes: their own home, this Python, these modules, no internet.

    Flower starts its helpers by name. So that it finds those of this Python whatever the path says, they are made in
    ``folder``; those that it starts for each task come from a nursery, see :data:`fedsparse.flower.nursery.WRAPPER`.
    """
    commands, real = folder / "bin", folder / "bin" / "real"
    make_folder(real)
    for entry in distribution("flwr").entry_points:
        if entry.group == "console_scripts":
            module, _, name = entry.value.partition(":")
            text = _PROGRAM.format(python=sys.executable, module=module, name=name)
            if entry.name in _OF_NURSERY:
                own = {"python": sys.executable, "program": str(real / entry.name), "door": str(door(folder))}
                _program(real / entry.name, text + _TIED + _RUN)
                text = WRAPPER.format(**own)
            else:
                text += _RUN
            _program(commands / entry.name, text)
    environment = dict(os.environ) | _OFFLINE | {k: os.environ.get(k, v) for k, v in _QUICK.items()}
    environment["FLWR_HOME"] = str(folder / "home")
    environment["PATH"] = f"{commands}{os.pathsep}{environment.get('PATH', os.defpath)}"
    # What the user's folder has is found on devices, too: a trial has no other machine.
    paths = [str(Path.cwd()), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return environment


class Child:
    """One process with a log.

    Args:
        command: its words.
        log: the file that it writes to.
        environment: see :func:`surroundings`.

    Raises:
        ResourceError: it cannot be started.
    """

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.log, self._name = log, Path(command[0]).name
        make_folder(log.parent)
        found = Path(environment["PATH"].partition(os.pathsep)[0]) / command[0]
        words = [str(found), *command[1:]] if found.exists() else list(command)
        try:
            with log.open("ab") as file:
                self.process = subprocess.Popen(  # noqa: S603 - Flower's own programs
                    words,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    env=dict(environment),
                    start_new_session=True,  # Ctrl-C is ours
                    preexec_fn=die_with_parent,  # noqa: PLW1509 - no thread is started before
                )
        except OSError as error:
            raise ResourceError(f"{command[0]} cannot be started: {error.strerror}") from error

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None

    def tail(self, lines: int = 12) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def stop(self, patience: float = 5.0) -> None:
        """Ends it and all that it started."""
        if self.alive:
            self.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + patience
        while self.alive and time.monotonic() < end:
            time.sleep(0.05)
        self.kill()

    def kill(self) -> None:
        """Ends it at once, and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def _program(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
