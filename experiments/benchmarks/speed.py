"""fedsparse and what people use today, on the same work, in one interleaved pass.

    python -m experiments.benchmarks.speed [--workloads W1,W2] [--programs plain,local-2,flower] [--repeat 3]

Each program runs in its own process tree, the list of programs is gone through --repeat times in rotated order, and
ratios are taken within a repetition. Clients, minibatches and initial weights are the same for all. Rivals live in
virtual environments that are made when they are first wanted: 3 GB, if pip is told of torch's builds for CPUs
(PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu). Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from statistics import median

from experiments.benchmarks import schedule
from experiments.benchmarks.environments import ENVIRONMENTS, FOLDER, default_folder
from experiments.benchmarks.processes import adopt_orphans
from experiments.benchmarks.race import ROOT, Race
from experiments.benchmarks.table import LEGEND, Row, table
from experiments.benchmarks.workloads import PROGRAMS, WORKLOADS, Entry, Workload
from fedsparse.errors import ConfigError
from fedsparse.words import there_are

KERNELS = "W6"
"""Selection and coding, which ``codec.py`` measures in one process."""

_TITLES = {**{name: workload.title for name, workload in WORKLOADS.items()}, KERNELS: "selection and coding"}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, 1 where a program failed or was left out, 2 where it was called wrongly."""
    given = _parser().parse_args(argv)
    try:
        programs = _chosen("--programs", given.programs or ",".join(PROGRAMS), PROGRAMS)
        able = [name for name, workload in WORKLOADS.items() if _entries(workload, programs)]
        able += [] if given.programs else [KERNELS]
        wanted = _chosen("--workloads", given.workloads or ",".join(able), _TITLES)
        workloads = [_reduced(WORKLOADS[name], programs, given.rounds) for name in wanted if name != KERNELS]
    except ConfigError as error:
        print(f"speed: {error}", file=sys.stderr)
        return 2
    failed = False
    adopt_orphans()
    print(_setting(programs))
    with tempfile.TemporaryDirectory() as folder:
        schedule.write_data(Path(folder))
        for workload in workloads:
            before = _ticks()
            rows, peaks = Race(workload, Path(folder), given.envs, _note).run(given.repeat)
            failed = failed or any(None in row.runs for row in rows)
            print("", table(workload, rows, peaks), _machine(peaks, before, _ticks()), sep="\n")
            if workload.name == "W5":
                print(_memory_of_a_client(rows))
    if workloads:
        print(f"\n{LEGEND}")
    if KERNELS in wanted:
        print(f"\n{KERNELS}: {_TITLES[KERNELS]}", flush=True)
        subprocess.run(
            [sys.executable, ROOT / "experiments/benchmarks/codec.py", str(given.repeat)], check=True
        )
    return int(failed)


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("speed", description=__doc__, formatter_class=form)
    described = "; ".join(f"{name}: {title}" for name, title in _TITLES.items()).replace("%", "%%")
    parser.add_argument("--workloads", metavar="W1,...", help=f"all, or some of {described}")
    parser.add_argument("--programs", metavar="NAME,...", help=f"all, or some of {', '.join(PROGRAMS)}")
    parser.add_argument("--rounds", type=_positive, help="timed rounds; slow programs do a share of them")
    parser.add_argument("--repeat", type=_positive, default=3, help="repetitions (3)")
    where = f"folder of the environments (that of {FOLDER}, or in the user's cache)"
    parser.add_argument("--envs", type=Path, default=default_folder(), help=where)
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value}: must be at least 1")
    return value


def _chosen(option: str, text: str, known: Collection[str]) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in known:
            raise ConfigError(f"{option} {name}: there is no such one{there_are(name, known)}")
    return names


def _entries(workload: Workload, programs: Collection[str]) -> tuple[Entry, ...]:
    return tuple(entry for entry in workload.entries if entry.name in programs)


def _reduced(workload: Workload, programs: Collection[str], rounds: int | None) -> Workload:
    entries = _entries(workload, programs)
    if not entries:
        able = ", ".join(dict.fromkeys(entry.name for entry in workload.entries))
        raise ConfigError(f"{workload.name} is run by {able}, and --programs has none of them; add one")
    return replace(workload, entries=entries, rounds=rounds or workload.rounds)


def _setting(programs: Collection[str]) -> str:
    """What machine and what versions this is."""
    homes = {PROGRAMS[name].home for name in programs} - {None}
    rivals = [requirement for home in sorted(filter(None, homes)) for requirement in ENVIRONMENTS[home][:2]]
    own = [f"{name}=={version(name)}" for name in ("fedsparse", "torch", "ray")]
    versions = ", ".join(dict.fromkeys([*own, *rivals]))
    return f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}; {versions}"


def _machine(peaks: Sequence[tuple[float, float]], before: tuple[int, int], after: tuple[int, int]) -> str:
    """What the machine gave."""
    one, two = (median(values) for values in zip(*peaks, strict=True))
    stolen = (after[1] - before[1]) / max(1, after[0] - before[0])
    return (
        f"matrix product: {one:.0f} GFLOP/s on one thread, {two:.0f} on two; {stolen:.0%} of the machine's time taken "
        f"by its host; load {os.getloadavg()[0]:.2f}"
    )


def _ticks() -> tuple[int, int]:
    """All time of all cores so far, and what of it the host gave to others."""
    fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(fields), fields[7]


def _memory_of_a_client(rows: Sequence[Row]) -> str:
    """What one more registered client takes, from the first and the last row."""
    (fewest, least), (most, held) = (
        (row.entry.clients or 0, row.median(lambda run: run.pss)) for row in (rows[0], rows[-1])
    )
    taken = "unknown" if least is None or held is None else f"{(held - least) / (most - fewest):.0f} bytes"
    return f"memory of a registered client, {most:,} against {fewest:,} of them: {taken}"


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
