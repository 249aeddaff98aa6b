"""TensorBoard: event files in the folder ``tensorboard`` of the run.

Metrics are there twice: by round, and by thousands of bytes from clients, so that methods can be compared by what they
send. ``tensorboard --logdir runs`` shows all runs of a folder.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedsparse.records import Record
from fedsparse.sinks.base import figures
from fedsparse.summary import Summary

__all__ = ["TensorBoard", "opened"]


class TensorBoard:
    """Writes the event files of one run."""

    def __init__(self, folder: Path, config: Mapping[str, Any], done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Nothing is purged on a resume: steps in bytes would go by the number of a round. What is done again is there
        # twice, with the same values.
        self._writer: Any = SummaryWriter(str(folder))
        if not done:
            text = json.dumps(config, indent=2, default=str)
            self._writer.add_text("config", f"```json\n{text}\n```", 0)

    def round(self, record: Record) -> None:
        """See :class:`fedsparse.sinks.base.Sink`."""
        for name, value in figures(record).items():
            if math.isfinite(value):
                self._writer.add_scalar(name, value, record.round + 1)
        for name, value in record.metrics.items():
            if math.isfinite(value):
                self._writer.add_scalar(f"by_kB_up/{name}", value, record.up_bytes // 1000)
        if record.metrics:
            self._writer.flush()

    def end(self, summary: Summary) -> None:
        """See :class:`fedsparse.sinks.base.Sink`."""
        for name, value in summary.best.items():
            if math.isfinite(value):
                self._writer.add_scalar(f"best/{name}", value, summary.rounds)

    def close(self) -> None:
        """See :class:`fedsparse.sinks.base.Sink`."""
        self._writer.close()


def opened(folder: Path, config: Mapping[str, Any], done: int) -> TensorBoard:
    """The sink of the run in ``folder``."""
    return TensorBoard(folder / "tensorboard", config, done)
