"""``key=value`` in Hydra's grammar, without its surprises: what it cannot read as anything else is text.

Hydra takes ``cosine(0.1,0.01)`` for a function of its own, and stops at ``~/data`` and at letters outside
ASCII. Such values are put into quotes before it sees them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from hydra import compose, initialize
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fedsparse.errors import ConfigError
from fedsparse.words import nearest, there_are

__all__ = ["composed", "read"]

_HYDRA_FUNCTIONS = frozenset(
    [
        "bool",
        "choice",
        "extend_list",
        "float",
        "glob",
        "int",
        "interval",
        "json_str",
        "range",
        "shuffle",
        "sort",
        "str",
        "tag",
    ]
)
_ROOT = "fedsparse_run"


class _Names:
    """The part of Hydra's configuration loader that ``glob(*)`` asks."""

    def __init__(self, names_of: Callable[[str], list[str]]) -> None:
        self._names_of = names_of

    def get_group_options(self, group_name: str, results_filter: object = None) -> list[str]:  # noqa: ARG002
        return self._names_of(group_name)


def read(text: str, known: Collection[str], names_of: Callable[[str], list[str]]) -> Override:
    """One ``key=value``.

    Args:
        text: as typed.
        known: the keys there are; of a dotted key, what comes before the first dot.
        names_of: the members of a group.

    Raises:
        ConfigError: it is not of that form, or the key is unknown.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"'{text}': write key=value, for example clients=100")
    first = key.partition(".")[0]
    if key[:1] in ("+", "~"):
        raise ConfigError(f"{text}: keys cannot be added or deleted; write key=value")
    if first not in known:
        hint = (
            ""
            if nearest(first, known)
            else "; an option of a group is written group.option, as in strategy.lr"
        )
        raise ConfigError(f"{text}: there is no key '{first}'{there_are(first, known)}{hint}")
    parser = OverridesParser.create(config_loader=_Names(names_of))  # type: ignore[arg-type]
    for attempt in (_quoted_calls(value), _quoted(value)):
        try:
            return parser.parse_overrides([f"{key}={attempt}"])[0]
        except HydraException:
            continue
    raise ConfigError(f"{text}: cannot be read; put the value into quotes, as in {key}=\"'...'\"")


def _quoted_calls(value: str) -> str:
    if "'" in value or '"' in value:
        return value
    return re.sub(
        r"\b([A-Za-z_]\w*)\([^()]*\)", lambda m: m[0] if m[1] in _HYDRA_FUNCTIONS else f"'{m[0]}'", value
    )


def _quoted(value: str) -> str:
    # Hydra reads backslashes as escapes only where they come before a quote, the closing one included.
    escaped = re.sub(r"(\\*)'", lambda m: m[1] * 2 + r"\'", value)
    return "'" + escaped + "\\" * (len(value) - len(value.rstrip("\\"))) + "'"


def composed(start: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The values of ``start`` with what is set, as Hydra composes them.

    Members of groups are chosen already; Hydra would take longer to do that.

    Args:
        start: start values of plain keys, and of options, by group.
        overrides: what is set, in Hydra's grammar; no choices of members.

    Raises:
        ConfigError: Hydra refuses it, for example an interpolation of a key that does not exist.
    """
    store = ConfigStore.instance()
    kept, running = store.repo, GlobalHydra.instance().hydra
    store.repo = dict(kept)
    try:
        store.store(name=_ROOT, node=dict(start))
        GlobalHydra.instance().clear()
        with initialize(version_base="1.3", config_path=None, job_name="fedsparse"):
            made = OmegaConf.to_container(compose(_ROOT, list(overrides)), resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"the configuration cannot be composed: {_one_line(error)}") from None
    finally:
        store.repo = kept
        GlobalHydra.instance().hydra = running
    return made  # type: ignore[return-value]


def _one_line(error: BaseException) -> str:
    causes = [error, error.__cause__] if error.__cause__ else [error]
    lines = [line.strip() for line in str(causes[-1]).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
