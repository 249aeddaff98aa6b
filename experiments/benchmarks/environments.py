"""The rivals' virtual environments: made once, with the versions below, in a folder of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

__all__ = ["ENVIRONMENTS", "FOLDER", "Unavailable", "default_folder", "python_of"]

FOLDER = "FEDSPARSE_RIVALS"
"""The environment variable that names the folder of the environments."""

_TORCH = f"torch=={version('torch').partition('+')[0]}"

ENVIRONMENTS = {
    "flower": (_TORCH, "flwr[simulation]==1.41.0"),
    "pfl": (_TORCH, "pfl[pytorch]==0.6.0"),
    # The last FedJAX, with what it ran on when it was made: it breaks with newer versions of JAX.
    "fedjax": (
        "fedjax==0.0.17", "jax==0.4.25", "jaxlib==0.4.25", "dm-haiku==0.0.12", "optax==0.2.2", "chex==0.1.86",
        "numpy<2", "scipy<1.13",
    ),
}  # fmt: skip
"""What pip installs into each environment; torch in the version that fedsparse runs with."""


class Unavailable(Exception):
    """An environment could not be made; says why."""


def default_folder() -> Path:
    """Where environments lie unless something else is said: that of ``FEDSPARSE_RIVALS``, or in the user's cache."""
    if FOLDER in os.environ:
        return Path(os.environ[FOLDER])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fedsparse" / "rivals"


def python_of(name: str, folder: Path, note: Callable[[str], None]) -> Path:
    """The interpreter of an environment, which is made if there is none with these versions.

    Raises:
        Unavailable: pip or venv failed.
    """
    wanted = "\n".join(ENVIRONMENTS[name])
    home = folder / name
    stamp, python = home / "installed.txt", home / "bin" / "python"
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    note(f"making the environment {home}: {', '.join(ENVIRONMENTS[name])} ...")
    shutil.rmtree(home, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(home)])
    _run([str(python), "-m", "pip", "install", "--quiet", *ENVIRONMENTS[name]])
    stamp.write_text(wanted)
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.strip().splitlines() if not line.startswith("WARNING")]
        reason = lines[-1] if lines else "no message"
        raise Unavailable(f"{' '.join(command[1:4])} ... failed: {reason}")
