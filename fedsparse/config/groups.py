"""The groups of a configuration, by key."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module

from fedsparse import registry, sources
from fedsparse.config.kinds import PROFILES, Dataclasses, Functions, Group, Networks
from fedsparse.config.objects import compressor_class
from fedsparse.config.settings import Flower, Local, Ray
from fedsparse.config.trials import try_model, try_partition

__all__ = ["DIRECTIONS", "FAULTS", "GROUPS", "OPTIONAL"]


def _registered(members: registry.Registry) -> Callable[[], dict[str, str]]:
    return lambda: {name: members.summary(name) for name in members.names()}


def _files(package: str) -> Callable[[], dict[str, str]]:
    return lambda: {name: sources.first_line(file) for name, file in sources.modules(package).items()}


def _in_module(module: str) -> Callable[[str], type]:
    def get(name: str) -> type:
        found: type = import_module(module).get(name)
        return found

    return get


def _compressors(key: str) -> Dataclasses:
    def members() -> dict[str, str]:
        return sources.subclasses("fedsparse.compress", "Compressor")

    return Dataclasses(key, members, partial(compressor_class, key=key))


def _engines() -> dict[str, str]:
    return {name: (cls.__doc__ or "").splitlines()[0] for name, cls in _ENGINES.items()}


def _faults(_: str) -> type:
    from fedsparse.engine.faults import Faults

    return Faults


_ENGINES: dict[str, type] = {"local": Local, "ray": Ray, "flower": Flower}

DIRECTIONS = ("uplink", "downlink")
"""The groups of compressors. A strategy may have a field of the same name, which the choice then fills."""

OPTIONAL = (*DIRECTIONS, "mixing", "trainer")
"""The groups of which nothing may be chosen: what to take follows from others then."""

GROUPS: dict[str, Group] = {
    "strategy": Dataclasses(
        "strategy",
        _registered(registry.strategies),
        registry.strategies.get,
        schedules=True,
        elsewhere=frozenset(DIRECTIONS),
    ),
    "uplink": _compressors("uplink"),
    "downlink": _compressors("downlink"),
    "aggregator": Dataclasses(
        "aggregator",
        partial(sources.table, "fedsparse.aggregate"),
        _in_module("fedsparse.aggregate"),
        paths=False,
    ),
    "topology": Dataclasses("topology", _registered(registry.topologies), registry.topologies.get),
    "mixing": Dataclasses("mixing", _registered(registry.mixings), registry.mixings.get),
    "data": Functions(
        "data",
        _files("fedsparse.data.sets"),
        function="fedsparse.data.sets.{}:load",
        given=frozenset({"data_dir", "seed"}),
        caller="fedsparse.data:load",
    ),
    "partition": Functions(
        "partition",
        _files("fedsparse.data.partitions"),
        function="fedsparse.data.partitions.{}:divide",
        given=frozenset({"dataset", "clients", "seed"}),
        caller="fedsparse.data.partition:partition",
        trial=try_partition,
    ),
    "model": Functions(
        "model",
        _files("fedsparse.models"),
        function="fedsparse.models.{}:build",
        given=frozenset({"example_shape", "classes", "seed"}),
        caller="fedsparse.models:build",
        trial=try_model,
    ),
    "trainer": Dataclasses("trainer", _registered(registry.trainers), registry.trainers.get),
    "sampler": Dataclasses(
        "sampler",
        partial(sources.table, "fedsparse.engine.sampling"),
        _in_module("fedsparse.engine.sampling"),
        paths=False,
    ),
    "network": Networks("network", lambda: {name: line for name, (line, _) in PROFILES.items()}, paths=False),
    "engine": Dataclasses("engine", _engines, _ENGINES.__getitem__, paths=False),
}
"""The groups by key, in the order of the help."""

FAULTS: Group = Dataclasses("faults", lambda: {"faults": ""}, _faults, paths=False)
"""Not a choice but a set of options: its only member has its own name."""
