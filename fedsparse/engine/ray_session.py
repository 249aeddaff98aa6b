"""Starting Ray, or connecting to a cluster; where the workers go; leaving nothing behind."""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import socket
import tempfile
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

from fedsparse.errors import ConfigError, ResourceError

__all__ = ["RaySession"]

THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Each worker computes with one thread, whatever the user's shell says: the bits depend on it."""

DEFAULTS = {
    "RAY_worker_niceness": "0",  # the default of 15 starves workers beside other programs
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AUTH_MODE": "token",
}
"""For a Ray of our own; what the user has set stays."""

LONGEST_TEMPORARY = 27
"""Characters of a folder in which Ray's socket paths stay under the system's limit of 107."""

KNOCK = 5.0
"""Seconds for a cluster to accept a connection."""

SETTLE = 10.0
"""Seconds for the CPUs of an earlier run to become free."""


class RaySession:
    """A connection to Ray; one at a time in a process, made on the main thread.

    Without an address this starts a Ray of its own on this machine, whatever ``RAY_ADDRESS`` or an earlier
    ``ray start`` offer, with its own temporary folder and, unless ``RAY_AUTH_MODE`` forbids, its own token.

    Args:
        workers: how many; None for one per CPU.
        address: a cluster's ``host:port`` or "auto"; None starts a Ray here.
        store: bytes of shared memory for arrays that travel (only of a Ray of our own).

    Attributes:
        places: for each worker the id of its node, None for "here".
        node: id of the driver's node.

    Raises:
        ConfigError: the address or the number of workers make no sense.
        ResourceError: Ray cannot be started, or its CPUs are taken.
    """

    def __init__(self, workers: int | None, address: str | None, store: int, unit: str = "CPU") -> None:
        _check(workers, address)
        self._unit = unit
        self.places: list[str | None] = []
        self._before = dict(os.environ)
        self._changed: set[str] = set()
        self._folder: Path | None = None
        self._ray: Any = None
        try:
            if address is None:
                self._start(workers or len(os.sched_getaffinity(0)), store)
            else:
                self._connect(workers, address)
            # Ray adds some of its own, among them what breakpoint() calls.
            self._changed |= {name for name, value in os.environ.items() if self._before.get(name) != value}
            self.node = self._own_node()
        except BaseException:
            self.close()
            raise

    @property
    def own(self) -> bool:
        """Whether this Ray is ours, and ends with us."""
        return self._folder is not None

    def living(self, place: str | None) -> bool:
        """Whether a worker can be started there."""
        return place is None or place in {node["NodeID"] for node in self._nodes()}

    def signal(self, pid: int) -> str | None:
        """The signal of which a worker of our own Ray died (SIGBUS, say), if that was written down."""
        if self._folder is None:
            return None
        found: str | None = None
        for log in self._folder.glob(f"ray/session_2*/logs/worker-*-{pid}.err"):
            for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
                if match := re.search(r"\*\*\* (SIG[A-Z]+) received", line):
                    found = match[1]
        return found

    def close(self) -> None:
        """Disconnect; end and remove what was started. A second call does nothing."""
        if self._ray is not None:
            self._ray.shutdown()
            self._ray = None
        for name in self._changed:
            os.environ.pop(name, None)
        os.environ.update({name: self._before[name] for name in self._changed if name in self._before})
        self._changed = set()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _start(self, workers: int, store: int) -> None:
        chosen = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
        base = chosen if len(chosen) <= LONGEST_TEMPORARY else "/tmp"  # noqa: S108 - mkdtemp makes it safe
        self._folder = Path(tempfile.mkdtemp(prefix="fs-", dir=base))
        self._set(DEFAULTS | {name: value for name, value in os.environ.items() if name in DEFAULTS})
        self._set(THREADS | {"RAY_TMPDIR": str(self._folder)})
        if not any(name.startswith("RAY_AUTH_TOKEN") for name in os.environ):
            self._set({"RAY_AUTH_TOKEN": _token()})  # else Ray writes one into the home
        ray = _import_ray()
        try:
            ray.init(
                address="local",
                num_cpus=workers,
                object_store_memory=store,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.WARNING,
            )
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise ResourceError(
                f"Ray cannot be started on this machine: {error}; or compute with threads"
            ) from error
        self._ray = ray
        self.places = [None] * workers

    def _connect(self, workers: int | None, address: str) -> None:
        _knock(address)
        ray = _import_ray()
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.WARNING,
                runtime_env={"env_vars": THREADS},
            )
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise ResourceError(
                f"cannot join the Ray cluster at {address!r}: {error}. The driver must run on one of its "
                "machines; leave the address out to start a Ray on this one"
            ) from error
        self._ray = ray
        units = [n["NodeID"] for n in self._nodes() for _ in range(int(n["Resources"].get(self._unit, 0)))]
        if not units or (workers or 0) > len(units):
            raise ConfigError(
                f"{workers or 'all'} workers asked for; the Ray cluster at {address!r} has {len(units)} {self._unit}s"
            )
        self.places = list(units[:workers])
        for unit in dict.fromkeys(("CPU", self._unit)):
            self._await(unit, address)

    def _own_node(self) -> str:
        node: str = self._ray.get_runtime_context().get_node_id()
        return node

    def _nodes(self) -> list[dict[str, Any]]:
        """The living machines, in an order that does not depend on who came first."""
        return sorted(
            (node for node in self._ray.nodes() if node["Alive"]), key=lambda node: str(node["NodeID"])
        )

    def _await(self, unit: str, address: str) -> None:
        """Ray would let workers without a CPU, or a GPU that they want, wait for ever, in silence."""
        until = time.monotonic() + SETTLE
        while (free := int(self._ray.available_resources().get(unit, 0))) < len(self.places):
            if time.monotonic() > until:
                raise ResourceError(
                    f"{len(self.places)} workers asked for; the Ray cluster at {address!r} has only {free} "
                    f"free {unit}s. Ask for {free} workers, or end the other jobs"
                )
            time.sleep(0.1)

    def _set(self, variables: dict[str, str]) -> None:
        for name, value in variables.items():
            self._changed.add(name)
            os.environ[name] = value


@cache
def _token() -> str:
    """One for the life of the process: Ray's client reads it once, and a second Ray must accept the same."""
    return secrets.token_hex(32)


def _check(workers: int | None, address: str | None) -> None:
    if workers is not None and workers < 1:
        raise ConfigError(f"{workers} workers; at least 1 is needed")
    if address is not None and address.startswith("ray://"):
        raise ConfigError(
            f"the address {address!r} is for Ray Client, another protocol; run this on one of the cluster's "
            "machines and give host:port, as in 10.0.0.1:6379"
        )
    if threading.current_thread() is not threading.main_thread():
        # Its processes die with the thread that started them.
        raise ResourceError("Ray must be started on the main thread; use threads as workers elsewhere")


def _knock(address: str) -> None:
    """See whether anybody is there: Ray itself would go on trying for many minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(
            f"{address!r} is not the address of a Ray cluster; give host:port, as in 10.0.0.1:6379"
        )
    try:
        socket.create_connection((host, int(port)), timeout=KNOCK).close()
    except (OSError, OverflowError) as error:
        raise ResourceError(
            f"nobody answers at {address!r}: {error}; `ray status` on that machine tells whether Ray runs there. "
            "Leave the address out to start a Ray on this machine"
        ) from error


def _import_ray() -> Any:
    try:
        import ray  # only who computes with Ray pays for it, and its settings are read here
    except ImportError as error:
        raise ResourceError(
            f"Ray cannot be imported: {error}; install it, or compute with threads"
        ) from error
    if ray.is_initialized():
        raise ResourceError(
            "Ray is already in use in this process; close the other pool, or call ray.shutdown()"
        )
    return ray
