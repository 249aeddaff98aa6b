"""Run folders as runs write them, with courses that are made up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from fedsparse.records import Record, plain
from fedsparse.report.course import Run
from fedsparse.report.reading import read_run
from fedsparse.runfolder import RunFolder

UP, DOWN = 1000, 4000
"""Bytes a round, all clients together."""

CONFIG: dict[str, Any] = {
    "strategy": {"name": "scafcom", "options": {"lr": 0.1}},
    "uplink": {"name": "topk", "options": {"fraction": 0.01}},
    "downlink": None,
    "data": {"name": "digits", "options": {}},
    "network": {
        "name": "constant",
        "options": {"up": 10.0, "down": 50.0, "latency": 20.0, "speed": 1000.0, "jitter": 0.0},
    },
    "engine": {"name": "local", "options": {"workers": 1}},
    "clients": 100,
    "rounds": 4,
    "seed": 0,
    "target": None,
    "name": None,
    "versions": {"torch": "2.13.0", "commit": "0123456789abcdef"},
}


def made(
    path: Path,
    values: Sequence[float | None],
    *,
    metric: str = "accuracy",
    up: int = UP,
    finished: bool = True,
    **config: Any,
) -> Path:
    """A run folder: ``values`` of its metric round by round, ``None`` where it was not evaluated."""
    text = yaml.safe_dump({**CONFIG, "rounds": len(values), **config}, sort_keys=False)
    with RunFolder.create(path, text) as folder:
        for number, value in enumerate(values):
            folder.append(plain(record(number, {} if value is None else {metric: value}, up)))
        if finished:
            folder.write_summary({})
    return path


def record(number: int, metrics: Mapping[str, float], up: int = UP) -> Record:
    """A round of ten clients that took two seconds."""
    traffic = {
        "up_payload_bytes": up - 100,
        "up_header_bytes": 100,
        "up_dense_bytes": 4 * up,
        "up_messages": 10,
        "down_payload_bytes": DOWN - 100,
        "down_header_bytes": 100,
        "down_dense_bytes": DOWN - 100,
        "down_messages": 10,
    }
    return Record(
        round=number,
        virtual_s=2.0 * (number + 1),
        cohort=10,
        accepted=10,
        traffic=traffic,
        traffic_total={key: count * (number + 1) for key, count in traffic.items()},
        gradient_calls=50,
        examples=500,
        train_loss=1.0,
        metrics=metrics,
    )


def method(name: str, **options: Any) -> dict[str, Any]:
    """A strategy of the configuration."""
    return {"strategy": {"name": name, "options": options}}


def three(folder: Path, name: str, ends: Sequence[float], **config: Any) -> list[Run]:
    """Runs with the seeds 0, 1, ... that rise to their end over four rounds, evaluated in each."""
    paths = [
        made(
            folder / f"{name}-{seed}",
            [end * share for share in (0.4, 0.6, 0.8, 1.0)],
            seed=seed,
            **{**method(name), **config},
        )
        for seed, end in enumerate(ends)
    ]
    return [read_run(path) for path in paths]
