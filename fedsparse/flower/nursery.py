"""Processes of a trial that begin with everything imported.

Flower starts a process for each task of a device, and each would import PyTorch for seconds. In a trial, where all
devices are on one machine, they are forks of one process that has done it. They are what they would be otherwise:
processes of their own that run Flower's own program, with nothing in common but what was imported.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import socket
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

__all__ = ["WRAPPER", "main"]

_PRELOAD = (
    "flwr.superlink.cli",
    "flwr.supernode.cli",
    "flwr.supernode.runtime.run_clientapp",
    "flwr.server.run_serverapp",
    "fedsparse.config",
    "fedsparse.simulation",
    "fedsparse.flower.client_app",
    "fedsparse.flower.device",
    "fedsparse.flower.server",
    "fedsparse.flower.server_app",
)

_MOST = 1 << 20
"""Bytes of a request at most."""

WRAPPER = """#!{python} -IS
import json, os, socket, sys
request = dict(program={program!r}, words=sys.argv[1:], folder=os.getcwd(), environment=dict(os.environ))
try:
    nursery = socket.socket(socket.AF_UNIX)
    nursery.connect({door!r})
    nursery.sendall(json.dumps(request).encode())
    nursery.shutdown(socket.SHUT_WR)
    nursery.recv(1)
except OSError:
    os.execv({program!r}, [{program!r}, *sys.argv[1:]])
"""
"""A program that asks the nursery behind ``door`` for a process that runs another one, and starts that where there is
none."""


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until it is ended.

    Args:
        argv: the path of its socket, which nobody but this user can open.
    """
    door = Path((sys.argv[1:] if argv is None else argv)[0])
    for module in _PRELOAD:
        import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    with socket.socket(socket.AF_UNIX) as listener:
        before = os.umask(0o177)
        listener.bind(str(door))
        os.umask(before)
        listener.listen(64)
        while True:
            caller, _ = listener.accept()
            with caller:
                _answer(caller, listener)


def _answer(caller: socket.socket, listener: socket.socket) -> None:
    data = b""
    while (part := caller.recv(1 << 16)) and len(data) < _MOST:
        data += part
    if os.fork() == 0:
        caller.sendall(b".")
        caller.close()
        listener.close()
        _become(json.loads(data))


def _become(request: dict[str, object]) -> None:
    """Runs a program in this process, and ends it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    status = 1
    try:
        os.setsid()
        os.chdir(str(request["folder"]))
        environment, words, program = request["environment"], request["words"], str(request["program"])
        if isinstance(environment, dict) and isinstance(words, list):
            os.environ.clear()
            os.environ.update(environment)
            sys.argv = [program, *words]
            runpy.run_path(program, run_name="__main__")
            status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
