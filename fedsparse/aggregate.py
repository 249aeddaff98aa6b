"""How the accepted messages of a phase become one vector: the inbox, and the rules it can apply."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from fedsparse.errors import ConfigError, ProtocolError
from fedsparse.message import Dense, MaskedDense, Payload, Ragged, SeededSparse, Sparse, concatenate
from fedsparse.options import option, validate
from fedsparse.words import there_are

__all__ = [
    "SPARSE",
    "Aggregator",
    "Inbox",
    "Mean",
    "Median",
    "Share",
    "TrimmedMean",
    "get",
    "in_turn",
    "name_of",
    "names",
]

Weighting = Literal["examples", "one"]

Share: TypeAlias = Callable[[Sequence[Callable[[], None]]], None]
"""Runs parts of a work, in any order or side by side."""

_RANGES, _WORTH, _ALIGNED = 4, 1 << 20, 64
"""Column ranges of a large sum; numbers from which on it is one; columns that a range is a multiple of, so that each
is computed as if there were only one range."""


def in_turn(work: Sequence[Callable[[], None]]) -> None:
    """Runs the parts one after the other."""
    for part in work:
        part()


SPARSE: tuple[type[Payload], ...] = (Sparse, SeededSparse, MaskedDense, Ragged)
"""Payloads that leave most coordinates out, which makes coordinate-wise rules worthless."""


@dataclass(frozen=True)
class Aggregator(ABC):
    """What ``inbox.mean`` does with the names that a strategy declares robust."""

    linear: ClassVar[bool] = False
    """Whether the rule is the plain weighted mean, which never needs the dense messages."""

    max_norm: float | None = option(
        None, "messages with a larger Euclidean norm are rejected; none by default", above=0
    )

    def __post_init__(self) -> None:
        validate(self, "aggregator.")

    @property
    def least(self) -> int:
        """Messages that the rule needs; a round with fewer is skipped."""
        return 1

    @abstractmethod
    def combine(self, rows: Tensor, coefficients: Tensor) -> Tensor:
        """One vector ``[d]`` from the messages ``[M, d]`` with coefficients ``[M]``."""


@dataclass(frozen=True)
class Mean(Aggregator):
    """The weighted mean. One dishonest client can move it anywhere."""

    linear: ClassVar[bool] = True

    def combine(self, rows: Tensor, coefficients: Tensor) -> Tensor:
        """The weighted sum, in ascending order of the rows."""
        out = torch.zeros_like(rows[0])
        for row, coefficient in zip(rows, coefficients.tolist(), strict=True):
            out.add_(row, alpha=coefficient)
        return out


@dataclass(frozen=True)
class Median(Aggregator):
    """The coordinate-wise median (Yin, Chen, Ramchandran, Bartlett, ICML 2018); weights play no part."""

    def combine(self, rows: Tensor, coefficients: Tensor) -> Tensor:
        """The middle value of each coordinate; the mean of the two middle ones where M is even."""
        ordered = rows.sort(dim=0).values
        middle = len(rows) // 2
        value = ordered[middle] if len(rows) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
        return value * coefficients.sum().to(rows.dtype)


@dataclass(frozen=True)
class TrimmedMean(Aggregator):
    """The coordinate-wise mean without the ``trim`` largest and smallest values (Yin et al. 2018)."""

    trim: int = option(1, "values left out at each end of every coordinate", at_least=0)

    @property
    def least(self) -> int:
        """Messages of which one is left."""
        return 2 * self.trim + 1

    def combine(self, rows: Tensor, coefficients: Tensor) -> Tensor:
        """The mean of what is left of at least ``least`` rows."""
        kept = rows.sort(dim=0).values[self.trim : len(rows) - self.trim]
        return kept.mean(dim=0) * coefficients.sum().to(rows.dtype)


_RULES: dict[str, type[Aggregator]] = {"mean": Mean, "median": Median, "trimmed_mean": TrimmedMean}


def names() -> list[str]:
    """The rules there are, in alphabetical order."""
    return list(_RULES)


def get(name: str) -> type[Aggregator]:
    """The rule of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in _RULES:
        raise ConfigError(f"aggregator={name}: no such rule{there_are(name, _RULES)}")
    return _RULES[name]


def name_of(rule: Aggregator) -> str:
    """The name that :func:`get` knows a rule by; of one that is not ours its class's name."""
    return next((name for name, cls in _RULES.items() if type(rule) is cls), type(rule).__name__)


class Inbox:
    """The accepted messages of a phase; implements :class:`fedsparse.protocol.Inbox`.

    Sums run over single messages in ascending order of their senders, in the dtype of the messages: the result does
    not depend on how clients were cut into blocks. Messages stay in their sparse form unless a rule needs them dense.
    """

    def __init__(
        self,
        senders: Tensor,
        examples: Tensor,
        weights: Tensor,
        parts: Sequence[Mapping[str, Payload]],
        rule: Aggregator,
        robust: tuple[str, ...] | None = None,
        ages: Tensor | None = None,
        share: Share = in_turn,
    ) -> None:
        """Makes an inbox.

        Args:
            senders: ids ``[M]``, ascending.
            examples: of each sender, ``[M]``.
            weights: coefficients of ``by="examples"``, ``[M]`` float64.
            parts: batches of messages in the same order, M rows in all.
            rule: what ``mean`` does.
            robust: the names that it applies to; ``None``: all.
            ages: of what each sender heard, in server versions, ``[M]``; zero by default.
            share: runs parts of a sum.
        """
        self.senders, self.examples, self.weights = senders, examples, weights
        self.ages = torch.zeros_like(senders) if ages is None else ages
        self._parts, self._rule, self._robust, self._share = parts, rule, robust, share

    def mean(self, name: str, by: Weighting = "examples") -> Tensor:
        """Sum of coefficient times message ``[d]``, or what the configured rule makes of them."""
        ones = torch.full_like(self.weights, 1 / len(self.senders))
        coefficients = _choose(by, self.weights, ones)
        if self._rule.linear or (self._robust is not None and name not in self._robust):
            return self._reduce(name, coefficients)
        if isinstance(self._named(name)[0][name], SPARSE):
            raise ConfigError(
                f"aggregator={name_of(self._rule)}: message '{name}' is sparse, so the middle value of "
                "almost every coordinate would be zero; use uplink=identity, or aggregator=mean"
            )
        return self._rule.combine(self.stack(name), coefficients)

    def sum(self, name: str, by: Weighting = "one") -> Tensor:
        """Sum ``[d]`` of the messages, each counted once or as often as its sender has examples."""
        examples = self.examples.to(self.weights.dtype)
        return self._reduce(name, _choose(by, examples, torch.ones_like(self.weights)))

    def stack(self, name: str, columns: slice = slice(None)) -> Tensor:
        """All messages, dense, ``[M, d]``, or some columns of them."""
        return torch.cat([part[name].dense()[:, columns] for part in self._named(name)])

    def payload(self, name: str) -> Payload:
        """All messages as one payload of M rows."""
        return concatenate([part[name] for part in self._named(name)])

    def _reduce(self, name: str, coefficients: Tensor) -> Tensor:
        payloads = [part[name] for part in self._named(name)]
        out = torch.zeros(payloads[0].size, dtype=payloads[0].dtype)
        dense = [p.dense() for p in payloads if isinstance(p, Dense)]
        if dense:
            factors = coefficients.to(out.dtype).tolist()
            ranges = _ranges(out.numel(), len(factors))
            self._share([partial(_add_rows, dense, factors, out, columns) for columns in ranges])
            return out
        first = 0
        for payload in payloads:
            last = first + payload.rows
            payload.accumulate(out, coefficients[first:last])
            first = last
        return out

    def _named(self, name: str) -> Sequence[Mapping[str, Payload]]:
        if name not in self._parts[0]:
            raise ProtocolError(f"inbox: no message is named '{name}'; there are {', '.join(self._parts[0])}")
        return self._parts


def _ranges(size: int, rows: int) -> list[slice]:
    """Columns that are summed by themselves: few, and one range alone where a sum is no work."""
    width = -(-size // _RANGES) if size * rows > _WORTH else size
    width = -(-width // _ALIGNED) * _ALIGNED
    return [slice(first, min(first + width, size)) for first in range(0, size, width or 1)]


def _add_rows(batches: Sequence[Tensor], factors: Sequence[float], out: Tensor, columns: slice) -> None:
    """Adds factor times row to ``out [d]``, for some columns, row by row: as :meth:`Payload.accumulate` does it.

    One call for a batch ``[C, d]``, in which no other thread has to wait for the interpreter; on a processor it goes
    through the list in order.
    """
    into, one, first = out[columns], out.new_ones(1), 0
    for batch in batches:
        rows = batch[:, columns].unbind(0)
        last = first + len(rows)
        torch._foreach_addcmul_([into] * len(rows), rows, [one] * len(rows), factors[first:last])
        first = last


def _choose(by: str, examples: Tensor, one: Tensor) -> Tensor:
    if by not in {"examples", "one"}:
        raise ProtocolError(f"inbox: by='{by}' is not a weighting; there are 'examples' and 'one'")
    return examples if by == "examples" else one
