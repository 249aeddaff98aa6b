"""What is kept of an experiment: ``VARIANT.json`` (all about it) and ``VARIANT.csv`` (points of its curves)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fedsparse.errors import ConfigError
from fedsparse.experiment.curve import Curve, from_csv, to_csv
from fedsparse.experiment.trends import Seen, status
from fedsparse.files import make_folder, replacing

__all__ = ["End", "Result", "load", "processor"]


@dataclass(frozen=True)
class End:
    """Where a method came to, with the experiment's metric.

    Attributes:
        panel: where.
        method: which.
        chosen: values that were tuned, by key.
        rounds: how many there were.
        cost: on the experiment's axis.
        lowest: smallest value over seeds; ``None`` where it diverged, as the next two.
        mean: the mean.
        highest: the largest.
        to: by target, the cost until all seeds were there; ``None`` where that never was.
        figures: by name, the mean of what else is shown; what it has not is not there.
    """

    panel: str
    method: str
    chosen: Mapping[str, Any]
    rounds: int
    cost: float
    lowest: float | None
    mean: float | None
    highest: float | None
    to: Mapping[str, float | None]
    figures: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        curve: Curve,
        chosen: Mapping[str, Any],
        targets: Sequence[float],
        others: Sequence[Curve] = (),
    ) -> End:
        """The end of a curve, with those of further ones of the same method on the same panel among ``others``."""
        known = not curve.diverged and len(curve.rounds) > 0
        low, mean, high = (float(of[-1]) if known else None for of in (curve.low, curve.mean, curve.high))
        reached = {f"{target:g}": _finite(curve.to(target)) for target in targets}
        rounds = int(curve.rounds[-1]) if len(curve.rounds) else 0
        where = curve.panel, curve.method, dict(chosen), rounds, curve.spent
        own = [each for each in others if (each.panel, each.method) == where[:2] and math.isfinite(each.end)]
        return cls(*where, low, mean, high, reached, {each.metric: each.end for each in own})


@dataclass(frozen=True)
class Result:
    """An experiment's outcome.

    Attributes:
        variant: which of it.
        command: that made it.
        asked: all that it depends on, see :attr:`fedsparse.experiment.form.Experiment.decisive`.
        versions: what it was made with; its ``commit`` is that of fedsparse.
        processor: what PyTorch found the processor to be capable of: other ones may round otherwise.
        seconds: of a processor, for all runs; ``None`` where that was not recorded.
        seen: each statement that was expected, and what was found.
        ends: of all methods.
        notes: what a reader should know.
        curves: points of them.
    """

    variant: str
    command: str
    asked: Mapping[str, Any]
    versions: Mapping[str, str]
    processor: str
    seconds: float | None
    seen: Sequence[Seen]
    ends: Sequence[End]
    notes: Sequence[str] = ()
    curves: Sequence[Curve] = field(default_factory=list)

    @property
    def status(self) -> str:
        """Whether the claim holds."""
        return status(self.seen)

    def save(self, folder: Path) -> list[Path]:
        """Writes both files; each appears whole.

        Raises:
            ResourceError: one could not be written.
        """
        make_folder(folder)
        told = {key: value for key, value in asdict(self).items() if key != "curves"}
        texts = {"json": json.dumps(told, indent=1, ensure_ascii=False) + "\n", "csv": to_csv(self.curves)}
        return [_written(folder / f"{self.variant}.{kind}", text) for kind, text in texts.items()]


def load(folder: Path, variant: str) -> Result | None:
    """What was stored; ``None`` where nothing was.

    Raises:
        ConfigError: it is damaged.
    """
    file = folder / f"{variant}.json"
    if not file.exists():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        found["seen"] = [Seen(**each) for each in found["seen"]]
        found["ends"] = [End(**each) for each in found["ends"]]
        curves = from_csv(file.with_suffix(".csv").read_text(encoding="utf-8"))
        return Result(**found, curves=curves)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file}: damaged: {error!r}; run the experiment again") from error


def processor() -> str:
    """What PyTorch found this processor to be capable of, such as ``AVX2``."""
    import torch

    return str(torch.backends.cpu.get_cpu_capability())


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _written(path: Path, text: str) -> Path:
    data = text.encode()
    with replacing(path, len(data)) as file:
        file.write(data)
    return path
