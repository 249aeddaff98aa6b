"""A SuperLink and SuperNodes on this machine, reachable from it alone."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from fedsparse.errors import ResourceError
from fedsparse.files import make_folder
from fedsparse.flower.children import Child, door, surroundings
from fedsparse.flower.keys import Keys, make_keys
from fedsparse.flower.line import VARIABLE, Meter
from fedsparse.process import alive, start_time

__all__ = ["Deployment"]

_START = 120.0
"""Seconds for a SuperLink to come up."""

_HOST = "127.0.0.1"

_PREFIX = "fedsparse-flower-"
"""What names of temporary folders begin with; the id and start of their process follow."""


class Deployment:
    """Processes of Flower; a context manager that ends them all.

    Args:
        nodes: how many nodes; node i is client i.
        states: folder of what devices keep.
        secure: with TLS, and nodes that are registered by their keys.

    Raises:
        ResourceError: the SuperLink does not come up.
    """

    def __init__(self, nodes: int, states: Path, secure: bool = False) -> None:
        _remove_stale()
        pid = os.getpid()
        self._temporary = tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{pid}-{start_time(pid)}-")
        self.folder = Path(self._temporary.name)
        self.environment = surroundings(self.folder) | {VARIABLE: str(self.folder / "meter")}
        self._states, self._total = states, nodes
        self._keys: Keys | None = None
        self.nodes: dict[int, Child] = {}
        self._others: list[Child] = []
        try:
            if secure:
                self._keys = make_keys(self.folder / "keys", nodes)
            nursery = [sys.executable, "-m", "fedsparse.flower.nursery", str(door(self.folder))]
            self._nursery = Child(nursery, self.folder / "logs" / "tasks.log", self.environment)
            self._others.append(self._nursery)
            self.link = self._start_link()
            self._door = self._start_relay()
            if self._keys is not None:
                for number in range(nodes):
                    self.register(self._keys.node(number).with_suffix(".pub"))
            for number in range(nodes):
                self.start_node(number)
        except BaseException:
            self.close()
            raise

    def start_node(self, number: int, key: Path | None = None) -> Child:
        """Starts a node, or starts it again.

        Args:
            number: which client it is.
            key: its secret key, where it is not its own.
        """
        log = self.folder / "logs" / f"node-{number}.log"
        config = f'client-id={number} state-dir="{self._states / f"device-{number}"}"'
        words = [
            "flower-supernode",
            "--superlink",
            self._door,
            "--host",
            _HOST,
            "--port",
            str(_free_port()),
        ]
        if self._keys is None:
            words += ["--insecure"]
        else:
            words += ["--root-certificates", str(self._keys.authority), *self._tls(self._keys)]
            words += ["--auth-supernode-private-key", str(key or self._keys.node(number))]
        child = Child([*words, "--node-config", config], log, self.environment)
        if key is None:
            self.nodes[number] = child
        else:
            self._others.append(child)
        return child

    def register(self, public: Path) -> None:
        """Makes a node's key known to the SuperLink.

        Raises:
            ResourceError: the SuperLink refuses.
        """
        words = ["flwr", "supernode", "register", str(public), "here"]
        child = Child(words, self.folder / "logs" / "register.log", self.environment)
        if child.process.wait(_START) != 0:
            raise ResourceError(f"a node's key could not be registered: {child.tail(3)}")

    def run(self, app: Path, settings: Path) -> Child:
        """Starts a run: what ``flwr run`` is, with its log.

        Args:
            app: folder of a Flower app.
            settings: a TOML file with the run-config; its name is that of the log.
        """
        end = time.monotonic() + _START
        while not door(self.folder).exists() and self._nursery.alive and time.monotonic() < end:
            time.sleep(0.1)  # tasks would start without it, and slowly
        words = ["flwr", "run", str(app), "here", "--stream", "--run-config", str(settings)]
        child = Child(words, self.folder / "logs" / f"{settings.stem}.log", self.environment)
        self._others.append(child)
        return child

    def close(self) -> None:
        """Ends everything, and removes what Flower kept; twice does no harm."""
        for child in (*self._others, *self.nodes.values()):
            child.stop()
        if hasattr(self, "link"):
            self.link.stop()
        self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start_link(self) -> Child:
        port = _free_port()
        self._address = f"{_HOST}:{port}"
        words = [
            "flower-superlink",
            "--host",
            _HOST,
            "--port",
            str(port),
            "--disable-runtime-dependency-installation",
        ]
        if self._keys is None:
            words += ["--insecure"]
        else:
            words += [*self._tls(self._keys), "--enable-supernode-auth"]
        link = Child(words, self.folder / "logs" / "link.log", self.environment)
        _await(link, port, "SuperLink")
        self._name_link()
        return link

    def _start_relay(self) -> str:
        """The address that nodes come to, behind which their bytes are counted."""
        port, target = _free_port(), self._address.rpartition(":")[2]
        meter = self.environment[VARIABLE]
        Meter(Path(meter))  # it is there before anybody reads it
        words = [sys.executable, "-m", "fedsparse.flower.line", str(port), target, meter]
        relay = Child(words, self.folder / "logs" / "relay.log", self.environment)
        self._others.append(relay)
        _await(relay, port, "relay")
        return f"{_HOST}:{port}"

    def _name_link(self) -> None:
        """Tells the command ``flwr`` where the SuperLink is."""
        home = self.folder / "home"
        make_folder(home)
        safe = "insecure = true" if self._keys is None else f'root-certificates = "{self._keys.authority}"'
        text = f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "{self._address}"\n{safe}\n'
        (home / "config.toml").write_text(text, encoding="utf-8")

    @staticmethod
    def _tls(keys: Keys) -> Sequence[str]:
        return [
            *("--ssl-certfile", str(keys.certificate)),
            *("--ssl-keyfile", str(keys.secret)),
            *("--ssl-ca-certfile", str(keys.authority)),
        ]


def _remove_stale() -> None:
    """Removes what deployments left that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        match = re.fullmatch(rf"{_PREFIX}(\d+)-(\d+)-.+", folder.name)
        if match and not alive(int(match[1]), int(match[2])):
            shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind((_HOST, 0))
        port: int = found.getsockname()[1]
        return port


def _await(child: Child, port: int, name: str) -> None:
    """Waits until a program listens.

    Raises:
        ResourceError: it does not come up.
    """
    end = time.monotonic() + _START
    while not _listens(port):
        if not child.alive or time.monotonic() > end:
            text = child.tail()
            child.stop()
            raise ResourceError(f"the {name} does not come up on {_HOST}:{port}: {text}")
        time.sleep(0.1)


def _listens(port: int) -> bool:
    with socket.socket() as knock:
        knock.settimeout(1.0)
        return knock.connect_ex((_HOST, port)) == 0
