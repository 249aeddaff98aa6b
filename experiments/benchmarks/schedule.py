"""The work that all programs are given: data, clients, minibatches and initial weights.

The images are made up, so that nothing has to be downloaded; their number and shape are MNIST's. Who trains when, and
on which examples, is what fedsparse draws for itself in the same run.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from experiments.benchmarks.workloads import Workload
from fedsparse import data, models
from fedsparse.cohort.batches import Batches
from fedsparse.data.partition import partition
from fedsparse.engine.sampling import Uniform

__all__ = ["LR", "command", "write_data", "write_work"]

SEED, LR = 0, 0.05
EXAMPLES, HELD_OUT, CLASSES = 60_000, 10, 10
SCALE = 1 / 255


def write_data(folder: Path, examples: int = EXAMPLES) -> None:
    """Writes made-up images of ten classes as the data set ``arrays`` reads them.

    As in MNIST a fifth of the pixels is lit. Brighter images would put these step sizes at the edge of stability, where
    rounding errors grow until no two programs agree.
    """
    draw = np.random.default_rng(SEED)
    shapes = draw.random((CLASSES, 1, 28, 28)) < 0.2
    for suffix, count in (("", examples), ("_test", HELD_OUT)):
        y = draw.integers(CLASSES, size=count)
        light = draw.integers(0, 256, (count, 1, 28, 28), dtype=np.uint8)
        np.save(folder / f"x{suffix}.npy", light * shapes[y])
        np.save(folder / f"y{suffix}.npy", y)


def write_work(folder: Path, workload: Workload, rounds: int) -> Path:
    """Writes what the programs of ``workload`` are to do in ``rounds`` rounds, for the data in ``folder``."""
    dataset = data.load("arrays", None, SEED, folder=str(folder), scale=SCALE)
    assert isinstance(dataset, data.Dataset)
    held = partition(workload.partition, dataset, workload.clients, SEED)
    cohorts = np.stack(
        [Uniform().draw(SEED, number, workload.clients, workload.cohort) for number in range(rounds)]
    )
    batches = np.empty((rounds, workload.cohort, workload.steps, workload.batch), dtype=np.int64)
    for number, ids in enumerate(cohorts):
        own = [held.examples(int(i)) for i in ids]
        drawn = Batches(SEED, number, ids.tolist(), np.array([len(at) for at in own]), workload.batch)
        for place, at in enumerate(own):
            for step in range(workload.steps):
                batches[number, place, step] = at[drawn.of(place, step)]
    options = {"hidden": (200, 200)} if workload.model == "mlp" else {}
    module = models.build(workload.model, dataset.example_shape, CLASSES, SEED, **options)
    start = {f"start/{name}": value.detach().numpy() for name, value in module.named_parameters()}
    path = folder / f"{workload.name}.npz"
    values = {"model": workload.model, "lr": LR, "clients": workload.clients, "scale": SCALE}
    np.savez(path, cohorts=cohorts, batches=batches, **values, **start)  # type: ignore[arg-type]
    return path


def command(folder: Path, workload: Workload, clients: int) -> list[str]:
    """What ``python -m fedsparse.run`` is to be told for the same work; FedAvg unless something else is said later."""
    return [
        "strategy=fedavg", f"strategy.lr={LR}", f"strategy.steps={workload.steps}", f"batch={workload.batch}",
        f"seed={SEED}",
        f"clients={clients}", f"cohort={workload.cohort}", f"partition={workload.partition}",
        "data=arrays", f"data.folder={folder}", f"data.scale={SCALE!r}",
        f"model={workload.model}", *workload.options,
    ]  # fmt: skip
