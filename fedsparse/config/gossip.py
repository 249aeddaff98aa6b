"""Which keys have a meaning with a server, and which without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from fedsparse.config.settings import RunConfig
from fedsparse.errors import ConfigError
from fedsparse.gossip import Gossip

__all__ = ["check_kind"]

_SERVERS = {
    "deadline": "nobody waits for more than its own neighbours; leave it out",
    "over_select": "all clients take part; leave it out",
    "sampler": "all clients take part; leave it out, clients that are away are faults.dropout",
    "aggregator": "messages are mixed with the weights of the topology; leave it out",
    "downlink": "there is no server to send anything; leave it out",
    "personal": "every client's own model is tested on the common test examples; leave it out",
}
"""Keys without a meaning where there is no server, and what to do about them."""

_LOSSES = ("uplink_loss", "downlink_loss")


def check_kind(config: RunConfig, made: Mapping[str, Any]) -> None:
    """Refuses a strategy that does not go with the topology, and keys that would have no effect.

    Args:
        config: the configuration.
        made: its objects, by group.

    Raises:
        ConfigError: says what to do.
    """
    name, topology, gossips = config.strategy.name, config.topology.name, isinstance(made["strategy"], Gossip)
    if gossips == made["topology"].server:
        raise ConfigError(
            f"topology={topology}: strategy={name} has no server, its clients talk to each other; choose a graph, "
            "as in topology=ring"
            if gossips
            else f"topology={topology}: strategy={name} needs a server; leave topology out, or choose a strategy for "
            "gossip, such as dpsgd"
        )
    check = _check_gossip if gossips else _check_server
    check(config, f"strategy={name} topology={topology}")


def _check_gossip(config: RunConfig, who: str) -> None:
    defaults = {entry.name: entry.default for entry in fields(RunConfig)}
    for key, why in _SERVERS.items():
        given = getattr(config, key)
        plain = defaults[key]
        if getattr(given, "name", given) != getattr(plain, "name", plain):
            raise ConfigError(f"{key}={getattr(given, 'name', given)}: in gossip ({who}) {why}")
    for key in _LOSSES:
        if config.faults[key]:
            raise ConfigError(
                f"faults.{key}={config.faults[key]}: in gossip ({who}) messages get lost between neighbours, "
                "which is faults.link_loss"
            )
    if config.cohort != config.clients:
        raise ConfigError(
            f"cohort={config.cohort}: in gossip ({who}) all clients={config.clients} take part; leave cohort out, "
            "clients that are away are faults.dropout"
        )


def _check_server(config: RunConfig, who: str) -> None:
    given = {
        "mixing": config.mixing and config.mixing.name,
        "init": None if config.init == "common" else config.init,
        "judged": config.judged,
        "faults.link_loss": config.faults["link_loss"] or None,
        "faults.symmetric": config.faults["symmetric"] or None,
    }
    for key, value in given.items():
        if value is not None:
            raise ConfigError(
                f"{key}={value}: is about gossip, and {who} has a server; leave it out, or choose a strategy for "
                "gossip, such as dpsgd"
            )
