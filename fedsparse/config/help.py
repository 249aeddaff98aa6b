"""The texts of ``--help``: of the command, or of one group, member or key. The first imports no member."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import fields
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedsparse.config.build import accepted_uplinks, compressor_slot
from fedsparse.config.groups import FAULTS, GROUPS
from fedsparse.config.objects import text_of
from fedsparse.config.resolve import keys, plain_keys
from fedsparse.config.settings import Choice, RunConfig
from fedsparse.config.specs import REQUIRED, OptionSpec, shown
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
        _title(console, f"{key}=NAME: {_about(key)}")
        _choices(console, [key])
        if key == "strategy":
            console.print(Text("  --help strategy=all compares what they declare", style="dim"))
        return None
    if key == "faults":
        _title(console, f"faults: {_about(key)}")
        return _options(console, FAULTS.options("faults"), "faults.")
    if key in plain_keys():
        return _options(console, [plain_keys()[key]], "")
    raise ConfigError(f"--help {topic}: there is no key '{key}'{there_are(key, keys())}")


def _overview(console: Console) -> None:
    _title(console, "Runs one simulation of federated learning and counts every byte.")
    console.print(Text(_USAGE))
    _title(console, "\nExamples, after python -m fedsparse.run")
    _columns(console, [(Text(f"  {line}"), Text(what, style="dim")) for line, what in _EXAMPLES])
    _title(console, "\nFlags")
    _columns(console, [(Text(f"  {flag}", style="bold"), Text(what)) for flag, what in _FLAGS])
    _title(
        console, "\nGroups: group=name chooses, group.option=value sets (--help group=name lists the options)"
    )
    _choices(console, GROUPS)
    _title(console, "\nValues")
    _options(console, plain_keys().values(), "")
    _title(console, "\nFaults")
    _options(console, FAULTS.options("faults"), "faults.")


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
    _columns(console, rows)
    console.print(Text("  * taken unless another one is chosen", style="dim"))


def _about(key: str) -> str:
    return next(help_of(f) for f in fields(RunConfig) if f.name == key)


def _member(console: Console, key: str, name: str) -> None:
    _title(console, f"{key}={name}")
    console.print(Text(GROUPS[key].about(name)), soft_wrap=True)
    specs = GROUPS[key].options(name)
    _title(console, "\nOptions" if specs else "\nIt has no options.")
    if specs:
        _options(console, specs, f"{key}.")
    if key == "strategy":
        _uplinks(console, name)
        _declared(console, name)


def _uplinks(console: Console, name: str) -> None:
    slot = compressor_slot(name, "uplink")
    if slot is None:
        console.print(Text("\nWhat clients send is not compressed: uplink cannot be set."))
        return
    _title(console, "\nCompressors of what clients send, uplink=NAME")
    own = text_of(slot.default) if slot.default else "none"
    console.print(Text(f"  {listed(accepted_uplinks(name))}; by default {own}"))
    console.print(Text("  (more with other options than their defaults: --help uplink=NAME)", style="dim"))


def _declared(console: Console, name: str) -> None:
    from fedsparse.config.declared import declaration

    _title(console, "\nWhat it declares, measured by python -m fedsparse.check")
    made = _by_default(name)
    rows = declaration(made) if made is not None else [("", "depends on options that must be given")]
    _columns(console, [(Text(f"  {heading}", style="bold"), Text(text)) for heading, text in rows])


def _declarations(console: Console) -> None:
    """What all strategies declare, a line each."""
    from fedsparse.config.declared import LEGEND, comparison

    _title(console, "What strategies declare (--help strategy=NAME says it in words)")
    made = {name: _by_default(name) for name in GROUPS["strategy"].names()}
    console.print(comparison({name: strategy for name, strategy in made.items() if strategy is not None}))
    console.print(Text(f"  {LEGEND}", style="dim"))


def _by_default(name: str) -> Any:
    """The strategy with its defaults; ``None`` where something must be given, or where it cannot be imported."""
    try:
        return GROUPS["strategy"].member(name)()
    except (TypeError, ConfigError):
        return None


def _options(console: Console, specs: Iterable[OptionSpec], prefix: str) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    table.add_column("  key", no_wrap=True)
    table.add_column("default", overflow="fold")
    table.add_column("what", ratio=3)
    table.add_column("allowed", ratio=2)
    for spec in specs:
        default = "(must be given)" if spec.default is REQUIRED else shown(spec.default)
        table.add_row(
            Text(f"  {prefix}{spec.name}", style="bold"), default, Text(spec.help), Text(spec.allowed)
        )
    console.print(table)


def _columns(console: Console, rows: Sequence[tuple[Text, Text]]) -> None:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(overflow="fold")
    grid.add_column()
    for row in rows:
        grid.add_row(*row)
    console.print(grid)


def _title(console: Console, text: str) -> None:
    console.print(Text(text, style="bold cyan"))
