"""MLflow: parameters, metrics by round, and the result.

Goes to the server that ``MLFLOW_TRACKING_URI`` names, else to the folder ``mlflow`` of the run; into the experiment
``MLFLOW_EXPERIMENT_NAME``, else ``fedsparse``. A resumed run goes on where it was: the folder keeps the id of its run.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedsparse.errors import ResourceError
from fedsparse.records import Record
from fedsparse.sinks.base import figures
from fedsparse.summary import Summary

__all__ = ["MLflow", "opened"]

_ID = "mlflow-run"
_LONGEST = 500
"""Characters of a parameter that every server takes."""


class MLflow:
    """Logs one run."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        address = os.environ.get("MLFLOW_TRACKING_URI")
        if address is None:
            # Since its version 3.7 MLflow asks those who keep runs in plain files to say so.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            address = (folder / "mlflow").resolve().as_uri()
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        self._mistake = MlflowException
        self._client = MlflowClient(tracking_uri=address)
        self._address = address
        self._run = self._guarded(lambda: self._found(folder, config))

    def round(self, record: Record) -> None:
        """See :class:`fedsparse.sinks.base.Sink`."""
        self._log(figures(record), record.round + 1)

    def end(self, summary: Summary) -> None:
        """See :class:`fedsparse.sinks.base.Sink`."""
        self._log({f"best/{name}": value for name, value in summary.best.items()}, summary.rounds)
        self._guarded(lambda: self._client.set_terminated(self._run))

    def close(self) -> None:
        """See :class:`fedsparse.sinks.base.Sink`."""

    def _found(self, folder: Path, config: Mapping[str, Any]) -> str:
        """The id of the run, which is made where there is none yet."""
        file = folder / _ID
        if file.exists():
            return file.read_text(encoding="utf-8").strip()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "fedsparse")
        experiment = self._client.get_experiment_by_name(name)
        identity = experiment.experiment_id if experiment else self._client.create_experiment(name)
        made: str = self._client.create_run(identity, run_name=folder.name).info.run_id
        file.write_text(made + "\n", encoding="utf-8")
        for key, value in config.items():
            self._client.log_param(made, key, str(value)[:_LONGEST])
        return made

    def _log(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        found = [
            Metric(name, float(value), now, step) for name, value in values.items() if math.isfinite(value)
        ]
        self._guarded(lambda: self._client.log_batch(self._run, metrics=found))

    def _guarded(self, act: Any) -> Any:
        try:
            return act()
        except (self._mistake, OSError) as error:
            raise ResourceError(
                f"sinks=mlflow: {self._address} does not take it: {' '.join(str(error).split())[:300]}. Resume the run "
                "with another MLFLOW_TRACKING_URI, or with sinks=[]"
            ) from error


def opened(folder: Path, config: Mapping[str, Any], done: int) -> MLflow:  # noqa: ARG001 - a step is written over
    """The sink of the run in ``folder``."""
    return MLflow(folder, config)
