"""A trial on this machine: real processes of Flower, one for each device, and a run folder like any other."""

from __future__ import annotations

import json
import os
import shlex
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fedsparse import config as configuration
from fedsparse.config import RunConfig
from fedsparse.errors import ConfigError, Interrupted, WorkerError
from fedsparse.flower.children import Child
from fedsparse.flower.deployment import Deployment
from fedsparse.flower.new import make_app
from fedsparse.flower.settings import OPTIONS, check_devices, overrides_of
from fedsparse.interrupts import Interrupts
from fedsparse.progress import Progress
from fedsparse.records import Record
from fedsparse.runfolder import default_path, read_rounds, read_summary

__all__ = ["run_of", "trial"]

_LOOK = 0.3
"""Seconds between two looks at the run folder."""


def trial(words: Sequence[str], secure: bool = False) -> Path:
    """Runs a configuration on as many processes as it has clients.

    Args:
        words: ``key=value``, as for ``python -m fedsparse.run``.
        secure: with TLS and registered nodes.

    Returns:
        the run folder.

    Raises:
        ConfigError: nobody said how many clients there shall be.
        FedSparseError: see :mod:`fedsparse.errors`; where the run failed, with the end of its log.
    """
    config = configuration.parse(overrides_of({OPTIONS: " ".join(words)}))
    check_devices(config)
    if not config.resume and not any(word.startswith("clients=") for word in words):
        raise ConfigError(
            "a trial starts processes of Flower for each client; say how many there shall be, as in clients=4"
        )
    folder = _folder(config)
    own = [] if config.resume else [f"name={folder.name}", f"runs={folder.parent}"]
    with Progress(config.rounds, quiet=config.quiet) as progress:
        progress.note(f"starting a SuperLink and {config.clients} SuperNodes on this machine ...")
        deployment = Deployment(config.clients, folder / "devices", secure)
        with deployment, Interrupts(deployment.close) as interrupts:
            _watch(run_of(deployment, [*words, *own]), folder, progress, interrupts)
    return folder


def run_of(deployment: Deployment, words: Sequence[str]) -> Child:
    """Starts a run with these settings on a deployment."""
    app = deployment.folder / "trial"
    if not app.exists():
        make_app(app, own_task=False, publisher="fedsparse")
    settings = deployment.folder / f"run-{len(list(deployment.folder.glob('run-*.toml')))}.toml"
    # What the app says is not given: a trial has the defaults of every other run.
    empty = {"strategy": "", "clients": "", "rounds": ""}
    absolute = [_absolute(word) for word in words]
    texts = {**empty, OPTIONS: shlex.join(absolute)}
    settings.write_text(
        "".join(f"{key} = {json.dumps(text)}\n" for key, text in texts.items()), encoding="utf-8"
    )
    return deployment.run(app, settings)


def _absolute(word: str) -> str:
    """Flower's processes may work in other folders than the user."""
    key, _, value = word.partition("=")
    file, colon, name = value.partition(":")
    if key in ("runs", "resume", "data_dir") or file.endswith(".py"):
        return f"{key}={Path(file).expanduser().resolve()}{colon}{name}"
    return word


def _folder(config: RunConfig) -> Path:
    if config.resume:
        return Path(config.resume).resolve()
    base = Path(config.runs).resolve()
    return (
        base / config.name
        if config.name
        else default_path(f"{config.strategy.name}-flower-s{config.seed}", base)
    )


def _watch(child: Child, folder: Path, progress: Progress, interrupts: Interrupts) -> None:
    """Shows rounds as they are done, until the run is over.

    Raises:
        Interrupted: after Ctrl-C, when the round is done and saved.
        WorkerError: the run failed.
    """
    shown = len(read_rounds(folder)) if (folder / "config.yaml").exists() else 0  # of a run that is resumed
    stopping = False
    while True:
        ended = not child.alive
        begun = (folder / "config.yaml").exists()
        rounds = read_rounds(folder)[shown:] if begun else []
        for values in rounds:
            progress.round(Record.of(values))
        shown += len(rounds)
        if begun and read_summary(folder) is not None:
            return
        if interrupts.asked is not None and (ended or not begun):
            raise Interrupted(
                f"stopped by {interrupts.asked.name}; go on with: python -m fedsparse.flower trial resume={folder}"
            )
        if interrupts.asked is not None and not stopping:
            stopping = True
            with suppress(ProcessLookupError):
                os.kill(int((folder / "lock").read_text(encoding="ascii")), signal.SIGTERM)
        if ended:
            raise WorkerError(f"the run ended without a result; its log ends with:\n{child.tail()}")
        time.sleep(_LOOK)
