"""Flower's ServerApp: a run like ``python -m fedsparse.run``, whose clients are Flower's nodes.

Its run-config has the same keys; see :mod:`fedsparse.flower.settings`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedsparse.command import one_thread
from fedsparse.flower.settings import check_devices, overrides_of

if TYPE_CHECKING:
    from fedsparse.engine.session import Place
    from fedsparse.flower.server import DeviceSession
    from fedsparse.parts import Parts
    from fedsparse.summary import Summary

__all__ = ["app", "run_on", "server_app"]


def server_app() -> ServerApp:
    """A ServerApp for any strategy with a server."""
    made = ServerApp()
    made.main()(_main)
    return made


def run_on(grid: Grid, overrides: list[str]) -> Summary:
    """Runs a configuration on the nodes of ``grid``.

    Args:
        grid: Flower's way to them.
        overrides: ``key=value``, as on the command line.

    Raises:
        FedSparseError: see :mod:`fedsparse.errors`; the run folder is left so that it can be resumed.
    """
    one_thread()
    import torch

    from fedsparse import config
    from fedsparse.recorded import run

    torch.set_num_threads(1)
    found = config.parse(overrides)
    check_devices(found)
    return run(found, host=partial(_session, grid))


def _main(grid: Grid, context: Context) -> None:
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    run_on(grid, overrides_of(context.run_config))


def _session(grid: Grid, parts: Parts, place: Place, note: Callable[[str], None]) -> DeviceSession:
    del place  # devices keep their states themselves
    from fedsparse.flower.server import DeviceSession

    return DeviceSession(parts.plan, parts.config, parts.workload, grid, note)


app = server_app()
