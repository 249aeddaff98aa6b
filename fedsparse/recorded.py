"""From a configuration to a run folder: runs it, writes it down, and resumes it."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fedsparse import config as configuration
from fedsparse.config import RunConfig
from fedsparse.errors import ConfigError, Diverged, Interrupted, RunFolderError
from fedsparse.interrupts import Interrupts
from fedsparse.parts import Parts, build
from fedsparse.progress import Progress
from fedsparse.records import Record, plain
from fedsparse.runfolder import RunFolder, default_path, read_rounds
from fedsparse.sinks import Sinks, require
from fedsparse.summary import Summary, summarise
from fedsparse.workers import Workers, wanted_workers

if TYPE_CHECKING:
    from fedsparse.engine.block import Workload
    from fedsparse.engine.pool import Pool
    from fedsparse.engine.session import Engine, Place, Session
    from fedsparse.engine.suits import Settled

__all__ = ["Host", "Sitting", "run", "versions"]

_CHECKPOINTS = 10
"""Checkpoints of a run that does not say how often."""


class Sitting(Protocol):
    """A run with its clients, wherever they are; closed by whoever opened it."""

    @property
    def engine(self) -> Engine:
        """What makes the rounds."""

    @property
    def workload(self) -> Workload:
        """What clients optimise, as the driver has it."""

    def begin(self, done: int) -> None:
        """The rounds begin; ``done`` of them are done."""

    def saved(self, number: int) -> None:
        """A checkpoint was made after round ``number``."""

    def close(self) -> None:
        """Gives the memory back; twice does no harm."""


Host = Callable[[Parts, "Place", Callable[[str], None]], Sitting]
"""Brings a run to where its clients are: ``(parts, place of states, note) -> sitting``."""


def run(
    config: RunConfig,
    *,
    workers: Workers | None = None,
    tuning: Mapping[str, Any] | None = None,
    host: Host | None = None,
) -> Summary:
    """Runs a configuration, or goes on with the run in ``config.resume``.

    Args:
        config: the resolved configuration.
        workers: workers to use, which stay open unless the run fails on them; by default the run has its own.
        tuning: how its values were chosen, which is written down with it; a run that is resumed keeps its own.
        host: where its clients are, instead of on workers.

    Returns:
        the summary that was written to the run folder.

    Raises:
        FedSparseError: see :mod:`fedsparse.errors`; the run folder is left so that it can be resumed.
    """
    from fedsparse.engine.suits import notes_of

    if host is None:
        _check_here(config)
    with ExitStack() as stack:
        require(config.sinks)
        folder = stack.enter_context(_resumed(Path(config.resume))) if config.resume else None
        parts = build(config)
        config = parts.config
        if folder is None:
            folder = stack.enter_context(_created(config, parts.settled, tuning))
        progress = stack.enter_context(Progress(config.rounds, quiet=config.quiet))
        progress.note(f"run folder: {folder.path}")
        if not parts.arrays:
            unused = "model has" if parts.divided else "partition, model and batch have"
            progress.note(f"data={config.data.name} is given by formulas: {unused} no meaning here")
        for line in notes_of(parts.settled, parts.workload):
            progress.note(line)
        if host is not None:
            try:
                return _Run(config, parts, folder, progress, host).go()
            except ConfigError:
                # Only devices knew what forbids the run, as how many examples they have.
                if not config.resume:
                    folder.withdraw()
                raise
        workers = workers or stack.enter_context(Workers())
        numbers = parts.workload.start.x.numel() * parts.plan.cohort
        pool = workers.pool(config.engine, config.device, numbers, progress.note)
        try:
            return _Run(config, parts, folder, progress, partial(_on_workers, pool)).go()
        except (Diverged, Interrupted):
            raise  # between two calls: no worker is busy
        except BaseException:
            workers.close()  # they may still be busy with the run that failed
            raise


def _on_workers(pool: Pool, parts: Parts, place: Place, note: Callable[[str], None]) -> Session:
    from fedsparse.engine.session import Session

    patience = parts.config.engine.options["patience"]
    return Session(parts.plan, parts.recipe, parts.arrays, pool, place, note, parts.workload, patience)


def _resumed(path: Path) -> RunFolder:
    folder = RunFolder.resume(path)
    if folder.finished:
        folder.close()
        raise RunFolderError(f"{path}: this run is finished, its result is in summary.json")
    return folder


def _created(config: RunConfig, settled: Settled, tuning: Mapping[str, Any] | None) -> RunFolder:
    base = Path(config.runs)
    path = base / config.name if config.name else default_path(_title(config), base)
    theory = None if settled.lr is None else {"strategy.lr": settled.reason}
    surroundings = {"theory": theory, "versions": versions(), "tuning": tuning}
    return RunFolder.create(path, configuration.to_yaml(config, surroundings))


def _check_here(config: RunConfig) -> None:
    """A run on workers of this program must make sense there."""
    if config.engine.name == "flower":
        raise ConfigError(
            "engine=flower: devices are reached from a Flower app: flwr run, or for a trial on this machine "
            "python -m fedsparse.flower trial"
        )
    if config.partition.name == "own":
        raise ConfigError(
            "partition=own: is for devices, each of which has data of its own; choose another one"
        )
    if config.engine.name == "ray" and ":" in config.device:
        raise ConfigError(
            f"device={config.device}: under Ray each worker has a device of its own, which it sees as the only one; "
            "use device=cuda, with CUDA_VISIBLE_DEVICES for some of them, or engine=local"
        )
    wanted_workers(config.engine, config.device)


@dataclass
class _Run:
    """One run, from its first or its checkpointed round to its end."""

    config: RunConfig
    parts: Parts
    folder: RunFolder
    progress: Progress
    host: Host

    def go(self) -> Summary:
        from fedsparse.engine.session import Place

        place = Place(_path(self.config.engine.options.get("state_dir")), self.folder.path)
        with closing(self.host(self.parts, place, self.progress.note)) as session:
            records = self._resume(session.engine) if self.config.resume else []
            values = configuration.flat(self.config)
            with (
                Sinks(self.config.sinks, self.folder.path, values, len(records)) as sinks,
                Interrupts(session.close) as interrupts,
            ):
                self._rounds(session, records, interrupts, sinks)
                tuning = configuration.tuning_of(self.folder.config)
                summary = replace(summarise(records, self.config.target), tuning=tuning)
                sinks.end(summary)
            self._save_model(session)
            self.folder.write_summary(plain(summary))
        self.progress.close()
        return summary

    def _rounds(self, session: Sitting, records: list[Record], interrupts: Interrupts, sinks: Sinks) -> None:
        session.begin(len(records))
        every = self.config.checkpoint_every or max(1, self.config.rounds // _CHECKPOINTS)
        for number in range(len(records), self.config.rounds):
            record = session.engine.round(number)
            records.append(record)
            self.folder.append(plain(record))
            self.progress.round(record)
            sinks.round(record)
            last = number + 1 == self.config.rounds
            if interrupts.asked is not None and not last:
                self._save(session, number)
                raise Interrupted(
                    f"stopped by {interrupts.asked.name} after round {number + 1} of {self.config.rounds}; go on with: "
                    f"python -m fedsparse.run resume={self.folder.path}"
                )
            if last or (number + 1) % every == 0:
                self._save(session, number)

    # ---- checkpoints

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint must have been made with: everything but where it ran."""
        own = configuration.flat(self.config)
        result = {key: value for key, value in own.items() if not configuration.elsewhere(key)}
        return {"config": result, "versions": {k: version(k) for k in ("fedsparse", "torch", "numpy")}}

    def _save(self, session: Sitting, number: int) -> None:
        self.folder.sync()
        self.folder.checkpoints.save(number, self._identity(), session.engine.arrays())
        session.saved(number)

    def _resume(self, engine: Engine) -> list[Record]:
        if self.folder.checkpoints.latest() is None:
            self.folder.truncate_after(-1)
            self.progress.note("no checkpoint yet: starting again from round 1")
            return []
        meta, arrays = self.folder.checkpoints.load_latest(self._identity())
        engine.restore(arrays)
        done = int(meta["round"]) + 1
        self.folder.truncate_after(done - 1)
        records = [Record.of(values) for values in read_rounds(self.folder.path)]
        if [record.round for record in records] != list(range(done)):
            raise RunFolderError(
                f"{self.folder.path}: rounds.jsonl has {len(records)} of the {done} rounds up to the checkpoint: lines "
                "were lost. Start a new run."
            )
        return records

    def _save_model(self, session: Sitting) -> None:
        from safetensors.torch import save_file

        start = session.workload.start
        x, statistics = session.engine.evaluated(self.config.rounds - 1)
        own, merged = start.layout.parted(x)
        if own.shape != start.x.shape or merged.numel() not in (0, start.layout.products.size):
            # More than the module's parameters: only the strategy knows what it means.
            save_file({"x": x.contiguous()}, self.folder.path / "model.safetensors")
            return
        parts = [(start.layout, own), (start.buffer_layout, statistics)]
        parts += [(start.layout.products, merged)] if merged.numel() else []
        tensors = {name: value for layout, flat in parts for name, value in layout.split(flat).items()}
        shapes = {f.name: f.shape for layout, _ in parts for f in layout}
        save_file(
            {name: t.reshape(shapes[name]).contiguous() for name, t in tensors.items()},
            self.folder.path / "model.safetensors",
        )


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _title(config: RunConfig) -> str:
    names = (config.strategy.name, config.data.name)
    return "-".join(Path(n.rpartition(":")[2] or n).stem for n in names) + f"-s{config.seed}"


def versions() -> dict[str, str]:
    """What a run is made with: packages, Python, and the commit of fedsparse."""
    packages = {name: version(name) for name in ("fedsparse", "torch", "numpy", "ray", "flwr")}
    return packages | {"python": platform.python_version(), "commit": _commit()}


def _commit() -> str:
    """The git commit of the source tree that is running; ``unknown`` for an installed wheel."""
    here = Path(__file__).resolve().parent.parent
    command = ["git", "-C", str(here), "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return found.stdout.strip() if found.returncode == 0 and (here / "pyproject.toml").exists() else "unknown"
