"""From Flower's run-config to ``key=value``.

Flower lets a run set only what the app's ``pyproject.toml`` lists under ``[tool.flwr.app.config]``. So it lists every
key of :class:`~fedsparse.config.RunConfig` that makes sense there, with an empty text for "not given", and options of
groups come together in one text, ``options = "strategy.beta=0.5 uplink.fraction=0.05"``; a key with a dot may be listed
as well.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fedsparse.errors import ConfigError

if TYPE_CHECKING:
    from fedsparse.config import RunConfig

__all__ = ["OPTIONS", "check_devices", "overrides_of"]

OPTIONS = "options"
"""The key of the run-config that holds further ``key=value`` pairs."""

_ALWAYS = {"engine": "flower", "wire": "encode"}
"""What a run on devices is."""


def overrides_of(run_config: Mapping[str, bool | float | int | str]) -> list[str]:
    """``key=value`` for everything that is given, options last.

    Raises:
        ConfigError: another engine or wire than there is on devices.
    """
    given = {key: value for key, value in run_config.items() if value != "" and key != OPTIONS}
    options = shlex.split(str(run_config.get(OPTIONS, "")))
    for key, value in _ALWAYS.items():
        for found in (given.get(key), *(o.partition("=")[2] for o in options if o.startswith(f"{key}="))):
            if found not in (None, value):
                raise ConfigError(f"{key}={found}: on devices it is {key}={value}; leave it out")
    texts = {
        key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in given.items()
    }
    return [*(f"{key}={value}" for key, value in {**texts, **_ALWAYS}.items()), *options]


def check_devices(config: RunConfig) -> None:
    """Refuses what devices cannot do.

    Raises:
        ConfigError: real time without a server, or examples where nobody has those of all.
    """
    if config.calibration and config.partition.name == "own":
        raise ConfigError(
            f"calibration={config.calibration}: the server evaluates, and with partition=own it has none of the "
            "devices' training examples; leave calibration out"
        )
    if config.topology.name != "star" and config.engine.options.get("clock") == "real":
        raise ConfigError(
            f"engine.clock=real: without a server (strategy={config.strategy.name}) nobody waits for all others, and "
            "time is what the network model says; leave engine.clock out"
        )
