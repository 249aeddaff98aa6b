"""From a configuration to objects, and whether they go together."""

from __future__ import annotations

from dataclasses import MISSING, fields, replace
from typing import Any, NamedTuple, get_args, get_type_hints

from fedsparse.config.groups import DIRECTIONS, FAULTS, GROUPS
from fedsparse.config.settings import Choice, RunConfig
from fedsparse.errors import ConfigError

__all__ = ["Slot", "accepted_uplinks", "build", "check", "compressor_slot"]

_SIZES = (1_000, 1_000_000_000)
"""Lengths of vectors for which a compressor is tried; its class may depend on the length."""


class Slot(NamedTuple):
    """A field of a strategy for a compressor.

    Attributes:
        default: the strategy's own compressor, ``None``, or ``MISSING``.
        optional: whether it may be ``None``.
    """

    default: Any
    optional: bool


def build(config: RunConfig, key: str) -> Any:
    """The object that one group, or ``faults``, stands for; ``None`` where nothing is chosen.

    A strategy comes with the compressors that it has fields for; a downlink that is among them is not given
    once more. Of ``data``, ``partition`` and ``model`` it is the function that loads or makes them, with its
    options.

    Args:
        config: as made by :func:`fedsparse.config.parse`.
        key: a group, or ``"faults"``.

    Raises:
        ConfigError: the options make no sense, or the uplink does not suit the strategy.
    """
    if key == "faults":
        return FAULTS.build("faults", config.faults)
    if key == "downlink" and compressor_slot(config.strategy.name, key) is not None:
        return None
    made = _chosen(config, key)
    return _with_compressors(made, config) if key == "strategy" else made


def check(config: RunConfig) -> None:
    """Makes every part once.

    Raises:
        ConfigError: options make no sense, or the uplink, the cohort or the step size does not suit the strategy.
    """
    from fedsparse.config.gossip import check_kind
    from fedsparse.engine.suits import check_formula, check_participation, check_trainer

    made = {key: build(config, key) for key in (*GROUPS, "faults")}
    name = config.strategy.name
    check_kind(config, made)
    check_participation(made["strategy"], name, made["sampler"], config.cohort, config.clients)
    check_formula(made["strategy"], name)
    if made["trainer"] is not None:
        check_trainer(made["strategy"], made["trainer"], config.init != "common")


def _chosen(config: RunConfig, key: str) -> Any:
    choice: Choice | None = getattr(config, key)
    return None if choice is None else GROUPS[key].build(choice.name, choice.options)


def compressor_slot(strategy: str, key: str) -> Slot | None:
    """The field of a strategy that a choice of compressor fills; ``None`` where it has none.

    Args:
        strategy: its name.
        key: ``"uplink"`` or ``"downlink"``.
    """
    cls = GROUPS["strategy"].member(strategy)
    entry = next((f for f in fields(cls) if f.name == key), None)
    if entry is None:
        return None
    default = entry.default_factory() if entry.default_factory is not MISSING else entry.default
    return Slot(default, type(None) in get_args(get_type_hints(cls)[key]))


def accepted_uplinks(strategy: str) -> list[str]:
    """The compressors that suit a strategy with their default options; none where it has no uplink to set."""
    if compressor_slot(strategy, "uplink") is None:
        return []
    wanted = GROUPS["strategy"].member(strategy).uplink_class
    names = GROUPS["uplink"].names()
    return [name for name in names if _refusal(GROUPS["uplink"].member(name)(), wanted, strategy) is None]


def _with_compressors(strategy: Any, config: RunConfig) -> Any:
    from fedsparse import compress

    mine = [key for key in DIRECTIONS if compressor_slot(config.strategy.name, key) is not None]
    made = {key: _chosen(config, key) for key in mine}
    for key, compressor in made.items():
        if compressor is None:
            continue
        refusal = _refusal(compressor, getattr(strategy, f"{key}_class"), config.strategy.name, key)
        if refusal is not None:
            raise ConfigError(f"{key}={compress.name_of(type(compressor))}: {refusal}")
    return replace(strategy, **made)


def _refusal(compressor: Any, wanted: Any, strategy: str, direction: str = "uplink") -> str | None:
    """Why a compressor is not of the wanted class for vectors of any length; ``None`` where it is."""
    from fedsparse.compress import require

    texts = []
    for size in _SIZES:
        try:
            require(compressor, wanted, size, f"strategy={strategy}", direction)
        except ConfigError as error:
            texts.append(str(error))
    return texts[-1] if len(texts) == len(_SIZES) else None
