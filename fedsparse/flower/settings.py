"""From Flower's run-config to ``key=value``.

Flower lets a run set only what the app's ``pyproject.toml`` lists under ``[tool.flwr.app.config]``. So it lists every
key of :class:`~fedsparse.config.RunConfig` that makes sense there, with an empty text for "not given", and options of
groups come together in one text, ``options = "strategy.beta=0.5 uplink.fraction=0.05"``; a key with a dot may be listed
as well.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from fedsparse.errors import ConfigError

if TYPE_CHECKING:
    from fedsparse.config import RunConfig
    from fedsparse.gossip import Gossip

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
        ConfigError: tests of the clients one by one; gossip in which all hear all, or that is to be timed.
    """
    from fedsparse.config import build
    from fedsparse.gossip import Gossip

    if config.personal:
        raise ConfigError(
            f"personal={config.personal}: devices are not tested one by one; leave personal out"
        )
    strategy = build(config, "strategy")
    if isinstance(strategy, Gossip):
        _check_gossip(config, strategy)


def _check_gossip(config: RunConfig, strategy: Gossip) -> None:
    name, clock = config.strategy.name, config.engine.options.get("clock", "virtual")
    if clock != "virtual":
        raise ConfigError(
            f"engine.clock={clock}: in gossip ({name}) nobody waits for more than its own neighbours, and through one "
            "server that is not measured; use engine.clock=virtual, whoever does not answer within engine.patience is "
            "away"
        )
    met = _meeting(config, strategy)
    if met is not None:
        raise ConfigError(
            f"strategy={name}: in round {met + 1} everybody is to hear everybody, by an all-reduce, and devices reach "
            "their neighbours only; choose a strategy that has none, such as dpsgd, or single_merging with "
            "strategy.merge=never"
        )


def _meeting(config: RunConfig, strategy: Gossip) -> int | None:
    """The first round in which all hear all; None where there is none."""
    import torch

    from fedsparse.protocol import Context, Layout

    ids = torch.arange(config.clients)
    for number in range(config.rounds):
        own = strategy.at(number, config.rounds)
        ctx = Context(config.seed, number, "", ids, config.clients, 0, Layout(()), config.rounds)
        if any(own.audience(replace(ctx, phase=phase)) == "all" for phase in own.phases(ctx)):
            return number
    return None
