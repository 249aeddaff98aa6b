"""What a sink is, and all those of a run together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from fedsparse.errors import ConfigError
from fedsparse.records import Record
from fedsparse.summary import Summary
from fedsparse.words import there_are

__all__ = ["NAMES", "Sink", "Sinks", "figures", "named", "require"]

NAMES = ("tensorboard", "mlflow")
"""Each is a module of this package, and the name of the package and of the extra that it needs."""


class Sink(Protocol):
    """Takes in the rounds of one run."""

    def round(self, record: Record) -> None:
        """A round that is done."""

    def end(self, summary: Summary) -> None:
        """What the run came to."""

    def close(self) -> None:
        """The run stops here, at its end or before; may be called twice."""


def named(sinks: Sequence[str] | str) -> list[str]:
    """The names in ``sinks``, each once.

    Raises:
        ConfigError: there is no such sink.
    """
    found = list(dict.fromkeys([sinks] if isinstance(sinks, str) else sinks))
    for name in found:
        if name not in NAMES:
            raise ConfigError(f"sinks={name}: there is no such sink{there_are(name, NAMES)}")
    return found


def require(sinks: Sequence[str] | str) -> None:
    """Refuses sinks whose packages are not installed, before anything is trained.

    Raises:
        ConfigError: there is no such sink, or its package is missing.
    """
    for name in named(sinks):
        if find_spec(name) is None:
            raise ConfigError(
                f"sinks={name}: needs {name}, which is not installed; pip install 'fedsparse[{name}]', or leave it out"
            )


def figures(record: Record) -> dict[str, float]:
    """What a sink shows of a round, by name."""
    costs = {
        "bytes/up": record.up_bytes,
        "bytes/down": record.down_bytes,
        "network_seconds": record.virtual_s,
    }
    clients = {"clients/accepted": record.accepted, "clients/lost": record.lost, "clients/late": record.late}
    return {"train_loss": record.train_loss, **record.metrics, **record.scalars, **costs, **clients}


class Sinks:
    """The sinks of a run. A context manager.

    Args:
        names: which.
        folder: of the run.
        config: the configuration by dotted key.
        done: rounds that are there already, of a run that is resumed.
    """

    def __init__(
        self, names: Sequence[str] | str, folder: Path, config: Mapping[str, Any], done: int
    ) -> None:
        self._sinks: list[Sink] = []
        self._stack = ExitStack()
        for name in named(names):
            sink: Sink = import_module(f"fedsparse.sinks.{name}").opened(folder, config, done)
            self._stack.callback(sink.close)
            self._sinks.append(sink)

    def round(self, record: Record) -> None:
        """A round that is done."""
        for sink in self._sinks:
            sink.round(record)

    def end(self, summary: Summary) -> None:
        """What the run came to."""
        for sink in self._sinks:
            sink.end(summary)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
