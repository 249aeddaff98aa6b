"""The check of names, shapes and dtypes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fedsparse.gossip import Gossip
from fedsparse.message import Payload
from fedsparse.protocol import Strategy
from fedsparse.testing.problem import Springs
from fedsparse.testing.report import ConformanceError, Finding, passed
from fedsparse.testing.trial import Setting, opened
from fedsparse.testing.watch import Call, watched

__all__ = ["check_stable"]

Kind = tuple[object, ...]
"""Shape, or class and size; and last the dtype."""


def _whole(strategy: Strategy, name: str) -> bool:
    """Whether a function's values keep their first axis from call to call: those of the server, and of one client."""
    return name == "init" or (name == "aggregate" and not isinstance(strategy, Gossip))


def check_stable(strategy: Strategy) -> Finding:
    """Keys, shapes and dtypes of states and messages stay the same, and are those of the problem's dtype.

    Raises:
        ConformanceError: names the function, the value and the difference.
    """
    short, long = (_kinds(strategy, dtype) for dtype in (torch.float32, torch.float64))
    for where in short.keys() | long.keys():
        if found := _unlike(short.get(where, {}), long.get(where, {}), widened=True):
            raise ConformanceError(
                f"{where}: {found.format('in a float32 problem', 'in a float64 one')}; make tensors with "
                "torch.zeros_like(start.x) and the like"
            )
    count = sum(map(len, short.values()))
    return passed("stable", f"{count} states and payloads keep their kind, in float32 and float64")


def _kinds(strategy: Strategy, dtype: torch.dtype) -> Mapping[str, Mapping[str, Kind]]:
    """The values that each function gives in each phase, over three rounds."""
    first: dict[str, Mapping[str, Kind]] = {}
    wrong: list[str] = []

    def observer(now: Strategy, name: str, call: Call, args: tuple[Any, ...]) -> Any:
        result = call(*args)
        if name == "audience":
            return result
        ctx = args[-1]
        parts = (
            dict(zip(("state", "message"), result, strict=True))
            if isinstance(result, tuple)
            else {"": result}
        )
        for part, values in parts.items():
            where = " ".join(filter(None, (name, part, f"({args[0] if name == 'init' else ctx.phase})")))
            kinds = {key: _kind(value, _whole(now, name)) for key, value in values.items()}
            if found := _unlike(first.setdefault(where, kinds), kinds):
                wrong.append(
                    f"{where}: {found.format('at first', f'in round {ctx.round}')}; it must stay what it is"
                )
        return result

    problem = Springs.drawn(dtype=dtype)
    with opened(watched(strategy, observer), problem, Setting(rounds=3)) as session:
        for number in range(3):
            session.engine.round(number)
        model = session.engine.model(2)
    if wrong:
        raise ConformanceError(wrong[0])
    if model.shape != problem.start.shape or model.dtype != dtype:
        raise ConformanceError(
            f"model gave {tuple(model.shape)} {model.dtype}; the problem's parameters are "
            f"{tuple(problem.start.shape)} {dtype}"
        )
    return first


def _kind(value: Tensor | Payload, whole: bool) -> Kind:
    if isinstance(value, Payload):
        return type(value).__name__, value.size, value.dtype
    return tuple(value.shape if whole else value.shape[1:]), value.dtype


def _unlike(one: Mapping[str, Kind], other: Mapping[str, Kind], widened: bool = False) -> str:
    """The first difference, with two gaps for the circumstances; empty where there is none."""
    for key in sorted(one.keys() | other.keys()):
        a, b = one.get(key), other.get(key)
        wider = widened and a and b and (*a[:-1], torch.float64) == b and a[-1] == torch.float32
        if a != b and not wider:
            return f"'{key}' is {_words(a)} {{}} and {_words(b)} {{}}"
    return ""


def _words(kind: Kind | None) -> str:
    return "absent" if kind is None else " ".join(str(word) for word in kind)
