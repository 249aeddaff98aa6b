"""The texts of ``--help``: of the command, or of one group, member or key. The first imports no member."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from typing import Any

from rich.console import Console
from rich.text import Text

from fedsparse.config.build import accepted_uplinks, compressor_slot
from fedsparse.config.groups import FAULTS, GROUPS
from fedsparse.config.objects import text_of
from fedsparse.config.resolve import keys, plain_keys
from fedsparse.config.settings import Choice, RunConfig
from fedsparse.config.tables import columns, member, options, title
from fedsparse.errors import ConfigError
from fedsparse.options import help_of
from fedsparse.words import listed, there_are

__all__ = ["show_help"]

_USAGE = """\
python -m fedsparse.run [-m] [--cfg] [-v] [key=value ...]
python -m fedsparse.run --help [group | group=name | key]"""

_EXAMPLES = (
    ("strategy=scafcom clients=100", "one run"),
    ("strategy=scafcom strategy.lr=cosine(0.1,0.01) uplink.fraction=0.05", "with options"),
    ("data=fashion_mnist data_dir=data model=cnn partition.alpha=0.1", "on other data"),
    ("-m strategy=fedavg,scafcom seed=0,1,2", "a sweep: six runs"),
    ("resume=runs/NAME", "continue a run"),
    ("--cfg strategy=scafcom", "print the whole configuration, run nothing"),
)

_FLAGS = (
    ("-m, --multirun", "run all combinations of key=a,b and key=range(0,3)"),
    ("--cfg", "print the resolved configuration as YAML, run nothing"),
    ("-v, --verbose", "show the traceback of an error"),
    ("-h, --help", "this text; with a group, a choice or a key: all about it"),
)


def show_help(console: Console, topic: str | None = None) -> None:
    """Prints help.

    Args:
        console: where to.
        topic: a group (``strategy``), a member (``strategy=scafcom``), a key, or ``None`` for the overview.

    Raises:
        ConfigError: there is no such topic.
    """
    if topic is None:
        return _overview(console)
    key, _, name = topic.partition("=")
    if topic == "strategy=all":
        return _declarations(console)
    if key in GROUPS and name:
        GROUPS[key].check(name)
        return _member(console, key, name)
    if key in GROUPS:
        title(console, f"{key}=NAME: {_about(key)}")
        _choices(console, [key])
        if key == "strategy":
            console.print(Text("  --help strategy=all compares what they declare", style="dim"))
        return None
    if key == "faults":
        title(console, f"faults: {_about(key)}")
        return options(console, FAULTS.options("faults"), "faults.")
    if key in plain_keys():
        return options(console, [plain_keys()[key]], "")
    raise ConfigError(f"--help {topic}: there is no key '{key}'{there_are(key, keys())}")


def _overview(console: Console) -> None:
    title(console, "Runs one simulation of federated learning and counts every byte.")
    console.print(Text(_USAGE))
    title(console, "\nExamples, after python -m fedsparse.run")
    columns(console, [(Text(f"  {line}"), Text(what, style="dim")) for line, what in _EXAMPLES])
    title(console, "\nFlags")
    columns(console, [(Text(f"  {flag}", style="bold"), Text(what)) for flag, what in _FLAGS])
    title(
        console, "\nGroups: group=name chooses, group.option=value sets (--help group=name lists the options)"
    )
    _choices(console, GROUPS)
    title(console, "\nValues")
    options(console, plain_keys().values(), "")
    title(console, "\nFaults")
    options(console, FAULTS.options("faults"), "faults.")


def _choices(console: Console, shown_keys: Collection[str]) -> None:
    rows = []
    alone = len(shown_keys) == 1
    for key in shown_keys:
        default = getattr(RunConfig, key)
        rows.append((Text(f"  {key}", style="bold"), Text(_about(key), style="italic")))
        if key == "downlink" and not alone:
            rows.append((Text("     ..."), Text("as for uplink")))
            continue
        for name in GROUPS[key].names():
            mark = "*" if isinstance(default, Choice) and default.name == name else " "
            rows.append((Text(f"   {mark} {name}"), Text(GROUPS[key].summary(name))))
    columns(console, rows)
    console.print(Text("  * taken unless another one is chosen", style="dim"))


def _about(key: str) -> str:
    return next(help_of(f) for f in fields(RunConfig) if f.name == key)


def _member(console: Console, key: str, name: str) -> None:
    member(console, GROUPS[key], key, name)
    if key == "strategy":
        _uplinks(console, name)
        _declared(console, name)


def _uplinks(console: Console, name: str) -> None:
    slot = compressor_slot(name, "uplink")
    if slot is None:
        console.print(Text("\nWhat clients send is not compressed: uplink cannot be set."))
        return
    title(console, "\nCompressors of what clients send, uplink=NAME")
    own = text_of(slot.default) if slot.default else "none"
    console.print(Text(f"  {listed(accepted_uplinks(name))}; by default {own}"))
    console.print(Text("  (more with other options than their defaults: --help uplink=NAME)", style="dim"))


def _declared(console: Console, name: str) -> None:
    from fedsparse.config.declared import declaration

    title(console, "\nWhat it declares, measured by python -m fedsparse.check")
    made = _by_default(name)
    rows = declaration(made) if made is not None else [("", "depends on options that must be given")]
    columns(console, [(Text(f"  {heading}", style="bold"), Text(text)) for heading, text in rows])


def _declarations(console: Console) -> None:
    """What all strategies declare, a line each."""
    from fedsparse.config.declared import LEGEND, comparison

    title(console, "What strategies declare (--help strategy=NAME says it in words)")
    made = {name: _by_default(name) for name in GROUPS["strategy"].names()}
    console.print(comparison({name: strategy for name, strategy in made.items() if strategy is not None}))
    console.print(Text(f"  {LEGEND}", style="dim"))


def _by_default(name: str) -> Any:
    """The strategy with its defaults; ``None`` where something must be given, or where it cannot be imported."""
    try:
        return GROUPS["strategy"].member(name)()
    except (TypeError, ConfigError):
        return None
