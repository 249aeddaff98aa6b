"""The command ``python -m fedsparse.topology``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from fedsparse.command import concluded
from fedsparse.errors import ConfigError
from fedsparse.options import option, validate

if TYPE_CHECKING:
    from rich.console import Console

    from fedsparse.config import Group, OptionSpec
    from fedsparse.graphs import Matrices

__all__ = ["Settings", "main"]

USAGE = """\
python -m fedsparse.topology                                     all topologies and mixing rules
python -m fedsparse.topology NAME [key=value ...]                degrees, spectral gap and bytes of a graph
python -m fedsparse.topology NAME mixing=RULE topology.OPTION=VALUE mixing.OPTION=VALUE n=64 draw=FILE.png
python -m fedsparse.topology --help [NAME | mixing=RULE ...]     this text, or all about one of them"""


@dataclass(frozen=True)
class Settings:
    """The keys that are plain values.

    Raises:
        ConfigError: a value is out of range.
    """

    n: int = option(16, "clients", at_least=2, at_most=10_000_000)
    seed: int = option(0, "random graphs follow from it", at_least=0, at_most=2**63 - 1)
    parameters: int = option(1_000_000, "parameters of the model that travels, 4 bytes each", at_least=1)
    draw: str | None = option(None, "picture to be written, for example graph.png")

    def __post_init__(self) -> None:
        validate(self)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: the arguments after the command's name; by default those of this process.

    Returns:
        the exit status: 0, or that of the error whose text was written to standard error.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    return concluded(lambda: _run(words), verbose=False, only_shows=True)


def _run(words: Sequence[str]) -> int:
    from fedsparse.console import console

    topics = [word for word in words if word not in {"-h", "--help"}]
    if len(topics) < len(words) or not words:
        _help(console(), topics)
        return 0
    name, given = _parsed(words)
    settings = _settings(given)
    matrices = _matrices(name, given, settings)
    from fedsparse.topology.terminal import show

    show(console(), matrices, settings.parameters)
    if settings.draw is not None:
        from fedsparse.topology.drawing import draw

        draw(matrices, settings.draw)
    return 0


@cache
def _groups() -> dict[str, Group]:
    from fedsparse.config.groups import GROUPS

    return {"topology": GROUPS["topology"], "mixing": GROUPS["mixing"]}


def _plain() -> dict[str, OptionSpec]:
    from fedsparse.config.specs import of_dataclass

    return {spec.name: spec for spec in of_dataclass(Settings)}


def _parsed(words: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The topology, and the other values as typed, by dotted key."""
    from fedsparse.config.overrides import read

    given: dict[str, Any] = {}
    for place, word in enumerate(words):
        text = f"topology={word}" if place == 0 and "=" not in word else word
        override = read(text, [*_groups(), *_plain()], lambda group: _groups()[group].names())
        if override.is_sweep_override():
            raise ConfigError(f"{word}: has several values; give one, or put a list into [..]")
        given[override.key_or_group] = override.value()
    if "topology" not in given:
        raise ConfigError("which topology? give its name first, as in python -m fedsparse.topology ring n=64")
    return str(given.pop("topology")), given


def _settings(given: dict[str, Any]) -> Settings:
    for key in given:
        first, dot, _ = key.partition(".")
        if dot and first in _plain():
            raise ConfigError(f"{key}: {first} is a value and has no options")
    return Settings(**{key: spec.read(given[key]) for key, spec in _plain().items() if key in given})


def _matrices(name: str, given: dict[str, Any], settings: Settings) -> Matrices:
    from fedsparse.graphs import Matrices

    def built(group: str, member: str) -> Any:
        options = {k.removeprefix(f"{group}."): v for k, v in given.items() if k.startswith(f"{group}.")}
        _groups()[group].check(member)
        return _groups()[group].build(member, options)

    stray = [key for key in given if key.startswith("mixing.")]
    if stray and "mixing" not in given:
        raise ConfigError(f"{stray[0]}: there is no rule to set it for; choose one, as in mixing=lazy")
    mixing = built("mixing", str(given["mixing"])) if "mixing" in given else None
    return Matrices(built("topology", name), settings.n, mixing, settings.seed)


def _help(out: Console, topics: Sequence[str]) -> None:
    from rich.text import Text

    from fedsparse.config.tables import columns, member, options, title

    for topic in topics:
        key, equals, name = topic.partition("=")
        key, name = (key, name) if equals and key in _groups() else ("topology", topic)
        _groups()[key].check(name)
        member(out, _groups()[key], key, name)
    if topics:
        return
    title(out, "Says what a gossip graph costs and how fast it mixes.")
    out.print(Text(USAGE), soft_wrap=True)
    for key, heading in (("topology", "Topologies"), ("mixing", "Mixing rules, mixing=RULE")):
        title(out, f"\n{heading}")
        group = _groups()[key]
        columns(out, [(Text(f"  {name}"), Text(group.summary(name))) for name in group.names()])
    title(out, "\nValues")
    options(out, _plain().values(), "")
